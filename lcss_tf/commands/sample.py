"""Samples from a run."""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import files, plots
from lcss_tf.commands import _cli, _conditions, _gin, _runs
from lcss_tf.commands._inputs import Inputs, read_examples, read_inputs
from lcss_tf.commands.flags.sample import FLAGS
from lcss_tf.control import AveragePooling, Greyscale, Identity, Mask
from lcss_tf.control.guidance import as_guidance, interval_of
from lcss_tf.display import say, tolerated
from lcss_tf.errors import UsageError
from lcss_tf.inference import interpolate, read_condition, require_condition
from lcss_tf.model import ScoreModel
from lcss_tf.random import check_seed
from lcss_tf.registry import METHODS, OPERATORS
from lcss_tf.training.workdir import only_process
from lcss_tf.typing import Array

TRAJECTORY_STEPS = 32  # states beside the samples
_HIDDEN = (88, 122, 158)  # the colour of what is hidden: no grey level
_MOST_NAMED = 20  # classes whose names are printed
_HIGHEST = 1e30  # noise level: above it there is none


def main(_: Sequence[str]) -> None:
    """The command."""
    _cli.check_finite(FLAGS, "guidance", "noise_std", "strength")
    check_seed(FLAGS.seed, "--seed")
    if FLAGS.out:
        for suffix in ("", ".npz"):
            files.check_writable(FLAGS.out.removesuffix(suffix) + suffix)
    bindings = _cli.bindings(FLAGS) + _guidance()
    _runs.load_configuration(FLAGS.workdir, bindings, FLAGS["import"].value)
    model = _runs.load_model(FLAGS.workdir, FLAGS.checkpoint)
    count, task = FLAGS.num_samples, FLAGS.task
    label = None if FLAGS.label is None else model.info.class_number(FLAGS.label)
    data = functools.partial(_data, model)
    condition = truth = None
    if FLAGS.condition is not None:
        spec = model.state.condition
        condition, truth = _conditions.read_conditions(FLAGS.condition, spec, model.info, data)
    told = _told(model, label, condition)
    if task != "sample" and FLAGS.trajectory:
        raise UsageError("--trajectory draws the way of free samples: leave --task out.")
    if task == "sample":
        if count is None:  # one for each condition
            several = condition is not None and len(told) > 1
            count = len(told) if several else plots.num_samples(model.info)
        out = output_path(FLAGS.out, FLAGS.workdir, f"seed_{FLAGS.seed}", model)
        asked = {"num_samples": count, "seed": FLAGS.seed, "label": label, "condition": condition}
        make = lambda: sample(model, out, asked, FLAGS.trajectory, truth)
    elif task == "encode":
        out = output_path(FLAGS.out, FLAGS.workdir, "latents", model)
        make = lambda: encode(model, out, read_examples(FLAGS.input, model.info, data), condition)
    elif task == "interpolate":
        out = output_path(FLAGS.out, FLAGS.workdir, "interpolation", model)
        x = read_examples(FLAGS.input, model.info, data)
        if condition is not None and len(told) > 1:
            raise UsageError(
                "--task=interpolate takes one --condition for all, which the points between share; "
                f"got {len(told)}."
            )
        make = lambda: interpolation(model, out, x, 9 if count is None else count, condition)
    else:
        operators: dict[str, Any] = {
            "inpaint": lambda: Mask(FLAGS.mask),
            "colourise": Greyscale,
            "superresolve": lambda: AveragePooling(FLAGS.factor),
            "operator": lambda: _gin.made(OPERATORS, FLAGS.operator),
            "edit": Identity,
        }
        operator = operators[task]()
        called = task if task == "edit" else FLAGS.operator or type(operator).__name__
        name = f"{called.lower()}_seed_{FLAGS.seed}"
        out = output_path(FLAGS.out, FLAGS.workdir, name, model)
        observed = FLAGS.observed or task == "edit"
        noise = (FLAGS.noise_std, FLAGS.seed)
        given = read_inputs(FLAGS.input, model.info, data, operator, noise, observed)
        options = _gin.posterior() | {"operator": operator, "noise_std": FLAGS.noise_std}
        if task == "edit":
            options["method"] = _gin.made(METHODS, "SDEdit", strength=FLAGS.strength)
        asked = {"num_samples": 4 if count is None else count, "seed": FLAGS.seed}
        asked |= {"label": label, "condition": condition}
        make = lambda: posterior(model, out, given, options, asked)
    with only_process(out.parent, out.name):
        paths = make()
    for path in paths:
        say(f"Wrote {path}")
    if task == "sample" and condition is None:
        for line in classes_drawn(model, label):
            say(line)


def _guidance() -> list[str]:
    """The bindings of --guidance, --guidance_interval and --weaker."""
    if FLAGS.guidance is None:
        return []
    if FLAGS.guidance_interval is None and FLAGS.weaker is None:
        return [f"sample.guidance = {FLAGS.guidance}"]
    lines = ["sample.guidance = @Guidance()", f"Guidance.scale = {FLAGS.guidance}"]
    if FLAGS.guidance_interval is not None:
        lowest, highest = interval_of(FLAGS.guidance_interval)
        # gin has no word for infinity.
        lines.append(f"Guidance.interval = ({lowest!r}, {min(highest, _HIGHEST)!r})")
    if FLAGS.weaker is not None:
        lines.append(f"Guidance.weaker = {FLAGS.weaker!r}")
        lines.append(f"Guidance.checkpoint = {FLAGS.weaker_checkpoint!r}")
    return lines


def _told(model: ScoreModel, label: int | None, condition: Any) -> Any:
    """The conditions as the network takes them, [M, ...]; None where none is given.

    Raises:
      UsageError: they do not fit, or the network takes one and none is given.
    """
    if label is None and as_guidance(_gin.sample()["guidance"]).needs_condition:
        require_condition(model.network, model.info, condition)
    return read_condition(model.network, model.info, condition, label)


def _data(model: ScoreModel) -> Any:
    """The run's data; they need not be there unless held-out examples are asked for."""
    return _runs.data_for(model, _gin.fit()["data"])


def sample(
    model: ScoreModel,
    out: Path,
    asked: Mapping[str, Any],
    trajectory: bool = False,
    truth: Array | None = None,
) -> list[Path]:
    """Writes samples: an array in the data's own units, and the picture that says most of them.

    Args:
      model: the model.
      out: a path without suffix.
      asked: num_samples, seed, label and condition of `ScoreModel.sample`. Without a label classes
        come in turn, a column each. Of M conditions sample i is drawn given row i mod M.
      trajectory: also write the way from noise to them, as a GIF and as a picture.
      truth: the examples that have these conditions, [M, ...], where they are known. The picture
        shows them beside the samples.

    Returns:
      The paths written.
    """
    info, state = model.info, model.state
    num_samples, seed, label = asked["num_samples"], asked["seed"], asked["label"]
    if trajectory:
        plots.check_trajectory(info)
    draw = model.sampling(**_gin.sample())
    steps = min(TRAJECTORY_STEPS, draw.sampler.num_steps) if trajectory else 0
    told = _told(model, label, asked["condition"])
    drawn = draw(num_samples, seed, told, steps)
    samples = info.unscale(drawn.x)
    path = out.with_name(out.name + ".npz")
    arrays = {"samples": samples, "step": state.step, "seed": seed}
    spec = state.condition
    turns: int | None = None
    given: plots.Given | None = None
    shown_classes: Sequence[int] = []
    if spec is not None and spec.is_class:
        shown_classes = range(spec.size) if told is None else [k for k in told if k < spec.size]
    if shown_classes:
        arrays["labels"] = np.resize(np.asarray(shown_classes, np.int64), num_samples)
    elif told is not None and info.condition is not None:
        rows = np.arange(num_samples) % len(told)
        own = np.asarray(info.condition.unscale(told))
        arrays["condition"] = own[rows]
        if truth is not None:
            arrays["truth"] = truth[rows]
        if np.isfinite(told).all():  # not the null condition
            given = plots.Given(own, truth)
    written = [files.write_arrays(path, arrays)]
    titles = [info.class_title(k) for k in shown_classes]
    if titles and told is None:
        titles = plots.column_titles(titles, num_samples)
        turns = len(titles)
    log_density = getattr(_gin.fit()["data"], "log_density", None)
    written += _picture(out, samples, info, turns, titles, log_density, given)
    if drawn.trajectory is not None:
        times = draw.sampler.trajectory_times(state.sde, steps)
        parts = out, drawn.trajectory, info, times, log_density
        written += tolerated("The trajectory", plots.write_trajectory, *parts) or []
    return written


def classes_drawn(model: ScoreModel, label: int | None) -> list[str]:
    """A line that names the samples' classes: "Class 3: cat"; none of a network without classes."""
    info, spec = model.info, model.state.condition
    if spec is None or not spec.is_class:
        return []
    count = spec.size
    if label is not None:
        return [f"Class {info.class_title(label)}"]
    named = ", ".join(info.class_title(k) for k in range(min(count, _MOST_NAMED)))
    return [f"Classes, a column each: {named}{' …' if count > _MOST_NAMED else ''}"]


def encode(model: ScoreModel, out: Path, x: Array, condition: Any = None) -> list[Path]:
    """Writes the latents of normalised examples, and the examples that these decode to.

    ``<out>.npz`` holds ``latents`` and, in the data's own units, ``examples`` and ``decoded``; of
    images ``<out>.png`` shows the examples above what their latents decode to.
    """
    info = model.info
    examples = info.unscale(x)
    latents = model.encode(examples, condition=condition)
    decoded = model.decode(latents, condition=condition)
    arrays = {"latents": latents, "examples": examples, "decoded": decoded, "step": model.step}
    rows = np.concatenate([examples, decoded])
    heading = "above: examples; below: what their latents decode to"
    return _written(out, arrays, rows, info, len(x), [heading])


def interpolation(
    model: ScoreModel, out: Path, x: Array, count: int = 9, condition: Any = None
) -> list[Path]:
    """Writes ways from each example to the next, on the arc between their latents.

    ``<out>.npz`` holds ``samples`` [pairs, count, ...] in the data's own units; of images
    ``<out>.png`` has a row for each pair. The ends are the examples themselves, decoded.

    Raises:
      UsageError: fewer than two examples, or fewer than two points.
    """
    if len(x) < 2 or count < 2:
        raise UsageError(
            "An interpolation takes two examples or more (--input=test:2, or files) and "
            f"--num_samples of two or more; got {len(x)} and {count}."
        )
    info = model.info
    latents = model.encode(info.unscale(x), condition=condition)
    ways = interpolate(model.sde, latents[:-1], latents[1:], np.linspace(0.0, 1.0, count))
    ways = np.moveaxis(ways, 1, 0)
    decoded = model.decode(ways.reshape(-1, *model.state.shape), condition=condition)
    samples = decoded.reshape(*ways.shape[:2], *decoded.shape[1:])
    titles = ["example", *(f"{u:.2f}" for u in np.linspace(0, 1, count)[1:-1]), "the next"]
    arrays = {"samples": samples, "step": model.step}
    return _written(out, arrays, decoded, info, count, titles)


def posterior(
    model: ScoreModel,
    out: Path,
    given: Inputs,
    options: Mapping[str, Any],
    asked: Mapping[str, Any],
) -> list[Path]:
    """Writes samples given observations.

    ``<out>.npz`` holds ``samples`` [N, num_samples, ...], ``observed`` and, where it is known,
    ``truth``, in the data's own units; of images ``<out>.png`` has a row for each input: what is
    observed, truth, and the samples. What an operator does not keep in units is written as it is.

    Args:
      model: the model.
      out: a path without suffix.
      given: the observations and, where it is known, what they are of; normalised.
      options: of `ScoreModel.posterior`, but y.
      asked: of `Posterior.sample`.

    Returns:
      The paths written.
    """
    info, (truth, observed), operator = model.info, given, options["operator"]
    # Not as bytes, which would round the noise and clip it.
    y = info.scaling.invert(tf.constant(observed)) if operator.keeps_units else observed
    samples = model.posterior(np.asarray(y), **options).sample(**asked)
    arrays: dict[str, Any] = {
        "samples": samples,
        "observed": info.unscale(observed) if operator.keeps_units else observed,
        "step": model.step,
        "seed": asked["seed"],
    }
    if truth is not None:
        arrays["truth"] = info.unscale(truth)
    written = [files.write_arrays(out.with_name(out.name + ".npz"), arrays)]
    if info.kind != "image":
        flat = samples.reshape(-1, *samples.shape[2:])
        return written + _picture(out, flat, info)
    draw = lambda: rows_of(arrays.get("truth"), shown(observed, operator, info), samples)
    return written + _drawn(out.with_name(out.name + ".png"), draw)


def output_path(out: str | None, workdir: str | Path, name: str, model: ScoreModel) -> Path:
    """The path, without a suffix, of what is written: `out`, or ``<workdir>/samples/<name>``.

    Of several workers the chief alone writes there, the others to a folder that ends with them.
    """
    if not model.distribution.is_chief:
        return Path(_discarded().name) / name
    path = Path(out) if out else Path(workdir) / "samples" / name
    return path.with_suffix("") if path.suffix in (".png", ".npz", ".gif") else path


def shown(observed: Array, operator: Any, info: Any) -> Array | None:
    """Observations of images as uint8 RGB images of the data's size; None where they are none."""
    examples = operator.shown(tf.constant(observed), info.shape)
    if examples is None:
        return None
    pictures = plots.rgb(info.unscale(examples))
    known = operator.known(info.shape)
    if known is not None:
        pictures = np.where(
            known.any(axis=-1, keepdims=True), pictures, np.array(_HIDDEN, np.uint8)
        )
    return pictures


def rows_of(truth: Array | None, observed: Array | None, samples: Array) -> Array:
    """Two grids side by side with a row for each input: what is given, and what is drawn."""
    given_by = {"observed": observed, "truth": truth}
    known = {name: shown for name, shown in given_by.items() if shown is not None}
    return plots.beside(known, samples, "samples given what is observed")


def _written(
    out: Path, arrays: dict, pictures: Array, info: Any, columns: int, titles: Sequence[str]
) -> list[Path]:
    written = [files.write_arrays(out.with_name(out.name + ".npz"), arrays)]
    if info.kind != "image":
        return written
    return written + _picture(out, pictures, info, columns, titles)


def _picture(
    out: Path,
    samples: Array,
    info: Any,
    columns: int | None = None,
    titles: Sequence[str] = (),
    log_density: Callable | None = None,
    given: plots.Given | None = None,
) -> list[Path]:
    """Writes the picture that says most of the samples; [its path], or [] where there is none.

    `titles` stand above a grid of images, one for each column, or one for all. Of points in the
    plane `log_density` is the true one, where it is known. What they are drawn given is `given`.
    """

    def draw() -> Array | None:
        picture = plots.main_view(
            samples, info, columns=columns, log_density=log_density, given=given
        )
        if picture is not None and info.kind == "image" and titles:
            return plots.titled(picture, titles[: len(samples)])
        return picture

    return _drawn(out.with_name(out.name + ".png"), draw)


def _drawn(path: Path, draw: Callable[[], Array | None]) -> list[Path]:
    """Draws and writes a picture; [] if there is none, or if it fails: the samples are written."""
    picture = tolerated(f"The picture {path}", draw)
    if picture is None:
        return []
    written = tolerated(f"The picture {path}", plots.write_png, path, picture)
    return [written] if written else []


@functools.cache
def _discarded() -> Any:
    return tempfile.TemporaryDirectory()
