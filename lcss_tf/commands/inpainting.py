"""The inpainting RMSE: how far what is filled in lies from what was hidden."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np

from lcss_tf import files
from lcss_tf.commands import _gin, _runs
from lcss_tf.commands.flags.inpainting import FLAGS
from lcss_tf.control import (
    DPS,
    DiffPIR,
    Mask,
    NullSpace,
    PseudoinverseGuidance,
    Replacement,
    TimeTravel,
    TweedieGuidance,
)
from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.inference import PosteriorSampling, conditions_of
from lcss_tf.random import check_seed
from lcss_tf.training.workdir import only_process
from lcss_tf.typing import Array


def main(_: Sequence[str]) -> None:
    """The command."""
    _runs.load_configuration(FLAGS.workdir, FLAGS.gin_bindings)
    out = FLAGS.out or FLAGS.workdir
    files.check_writable(out, folder=True)
    with only_process(out, "inpainting"):
        text, paths = inpainting(FLAGS.workdir, out)
    say("\n  ".join([f"\n{text}\nWritten:", *map(str, paths)]))


_CANDIDATES = 50_000  # training images among which the nearest is sought, at most
_ENDLESS = 256  # held-out images of data without end
_NEAREST = "nearest training image"
_METHODS: dict[str, Any] = {
    "NullSpace": NullSpace,
    "PseudoinverseGuidance": PseudoinverseGuidance,
    "TweedieGuidance": TweedieGuidance,
    "DiffPIR": DiffPIR,
    "DPS": DPS,
    "Replacement": Replacement,
    "TimeTravel of Replacement": TimeTravel,
    "TimeTravel of PseudoinverseGuidance": lambda: TimeTravel(PseudoinverseGuidance()),
}


@gin.configurable(denylist=["workdir", "out"])
def inpainting(
    workdir: str | Path,
    out: str | Path,
    masks: Sequence[str] = ("half", "box", "random"),
    methods: Mapping[str, Any] | None = None,
    num_images: int | None = None,
    averages: Sequence[int] = (1, 4),
    seed: int = 0,
) -> tuple[str, list[Path]]:
    """Root mean square error of hidden pixels over held-out images, for each mask and method.

    In units of the data's range (1 is black for white). Beside the methods, fills that
    need no model: the training images' mean, and the training image that is nearest on the
    visible pixels. Of each method several errors: of one sample, and of means of several.
    Let truth and samples come from p(x | y), with a variance v. Then the mean of n samples has the
    expected squared error (1 + 1/n) v. One draw has twice that of the posterior's mean, with which
    a fill of least squared error is to be compared.

    A second table says by how many standard errors of the difference, image by image, each fill
    is nearer (+) or farther (−) in squared error than the nearest training image.

    Args:
      workdir: the run's directory.
      out: the directory of the table.
      masks: as `Mask` takes them.
      methods: {name: an object of `METHODS`}; all that are shipped by default.
      num_images: of the test split; None: all.
      averages: of how many samples of each image the means are taken; 1: of none.
      seed: of the samples.

    Returns:
      (the tables as Markdown, the paths of them and of the numbers).

    Raises:
      UsageError: no averages or images, or less than one; a run's data, or a mask, that do not fit.
    """
    if not averages or min(averages) < 1:
        raise UsageError(f"inpainting.averages must be numbers from 1 up; got {averages}.")
    if num_images is not None and num_images < 1:
        raise UsageError(
            f"inpainting.num_images must be at least 1; got {num_images}. Leave it out for all."
        )
    check_seed(seed, "inpainting.seed")
    model = _runs.load_model(workdir)
    data, info = _runs.data_for(model, _gin.fit()["data"]), model.info
    methods = methods or {name: make() for name, make in _METHODS.items()}
    data.require("test")
    count = num_images or data.size("test") or _ENDLESS
    truth = np.asarray(data.some_examples(count, "test"))
    given = conditions_of(model.network, data, count)  # of the test split, as the images
    train = np.asarray(data.some_examples(_CANDIDATES, "train"))
    rows: dict[str, dict] = {}
    for mask in masks:
        operator = Mask(mask)
        known = operator.known(info.shape)
        observed = operator.apply(truth).numpy()
        fills = {
            "mean of the training images": np.broadcast_to(train.mean(0), truth.shape),
            _NEAREST: train[nearest(truth, train, known)],
        }
        for name, method in methods.items():
            options = _gin.sample() | {"method": method}
            draw = PosteriorSampling(model.state, operator, **options)
            drawn = draw(observed, max(averages), seed, given, progress=False)
            x = drawn.x
            for n in averages:
                fills[f"{name}, {f'mean of {n}' if n > 1 else 'one'}"] = x[:, :n].mean(1)
            say(f"{mask}: {name}, {drawn.nfe:,.0f} NFE")
        squares = {name: _squares(fill, truth, known, info) for name, fill in fills.items()}
        for name, values in squares.items():
            at = {"error": _error(values), "gain": _gain(squares[_NEAREST], values)}
            rows.setdefault(name, {})[str(mask)] = at
    text = table(rows)
    paths = [Path(out) / "inpainting.md", Path(out) / "inpainting.json"]
    files.write_text(paths[0], text)
    files.write_json(paths[1], {"images": len(truth), "rows": rows})
    return text, paths


def nearest(images: Array, candidates: Array, known: Array) -> Array:
    """Index of the candidate nearest to each image [N, ...] on its known pixels, int [N]."""
    a, b = images[:, known].astype(np.float64), candidates[:, known].astype(np.float64)
    distances = (b**2).sum(1)[None, :] - 2.0 * a @ b.T
    return distances.argmin(1)


def table(rows: Mapping[str, dict]) -> str:
    """Markdown, a line for each fill and a column for each mask: the errors ± one standard error,
    and what is gained over the nearest training image."""
    errors = lambda at: f"{at['error'][0]:.3f} ± {at['error'][1]:.3f}"
    gains = lambda at: f"{at['gain']:+.1f}"
    compared = {name: at for name, at in rows.items() if name != _NEAREST}
    masks = list(next(iter(rows.values())))
    block = lambda title, rows, text: files.markdown_table(
        [title, *masks], [[name, *[text(at[mask]) for mask in masks]] for name, at in rows.items()]
    )
    first = block("RMSE of hidden pixels", rows, errors)
    second = block(f"nearer than the {_NEAREST}, standard errors", compared, gains)
    return f"{first}\n\n{second}\n"


def _squares(fill: Array, truth: Array, known: Array, info: Any) -> Array:
    """Mean squared error of the hidden pixels of each image, in units of the data's range."""
    span = info.scaling.high - info.scaling.low
    return np.square((fill - truth)[:, ~known] / span).mean(axis=1)


def _error(squares: Array) -> tuple[float, float]:
    """(RMSE, its standard error) over images."""
    rmse = float(np.sqrt(squares.mean()))
    return rmse, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2.0 * rmse))


def _gain(reference: Array, squares: Array) -> float:
    """How much less than the reference's, in standard errors of the mean difference."""
    difference = reference - squares
    std = difference.std(ddof=1)
    return float(difference.mean() / std * np.sqrt(len(difference))) if std else 0.0
