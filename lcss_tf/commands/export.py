"""Writes a run, or an untrained model, as a program that needs neither lcss_tf nor TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lcss_tf import export, files
from lcss_tf.commands import _gin, _runs
from lcss_tf.commands.flags.export import FLAGS
from lcss_tf.commands.train import build, planned
from lcss_tf.conditioning import ConditionSpec
from lcss_tf.display import say
from lcss_tf.training import loop
from lcss_tf.training.checkpoints import Checkpoints

_MOST_OF_ENDLESS = 2**16  # examples
_ONE_DEVICE = "Distribution.strategy = 'one_device'"


def main(_: Sequence[str]) -> None:
    """The command."""
    imports = FLAGS["import"].value
    files.check_writable(FLAGS.out, folder=True)
    bindings = [_ONE_DEVICE, *FLAGS.gin_bindings]
    if FLAGS.batch_size:
        bindings.append(f"fit.batch_size = {FLAGS.batch_size}")
    if FLAGS.workdir:
        imports = _runs.load_configuration(FLAGS.workdir, bindings)
    else:
        _gin.load(FLAGS.gin_file, bindings, imports)
    paths = write(Path(FLAGS.out), FLAGS.what, FLAGS.workdir)
    say("\n  ".join(["Written:", *map(str, paths)]))
    if FLAGS.format != "saved_model":
        _runs.write_records(FLAGS.out, _runs.records(imports))
        say(f"Run it where JAX is:  python tools/run_program.py {FLAGS.out}")


def write(folder: Path, what: str, workdir: str | None = None) -> list[Path]:
    """Writes the program of what gin's configuration describes; returns the paths."""
    model, arguments = build()
    run = planned(model, arguments)
    state = run.state
    if workdir:
        checkpoint = Checkpoints(workdir)
        checkpoint.load(state, checkpoint.chosen(FLAGS.checkpoint)[-1])
    else:
        loop.measure(run)
    model.info = run.data.info()
    if what == "train_step":
        step = _gin.TrainStep(state, run.loss, run.batch_size, run.seed, jit_compile=True)
        program = export.train_step(state, step, run.batch_size)
    else:
        if what == "sampler":
            options = _gin.sample() | {"jit_compile": True}
            options["batch_size"] = FLAGS.batch_size or options["batch_size"]
            function = export.sampler(state, model.sampling(**options), model.info)
        else:
            function = export.score(state, FLAGS.batch_size or run.batch_size, model.info)
        if FLAGS.format == "saved_model":
            return export.save_model(folder, state, function)
        program = export.as_program(state, function)
    paths = program.write(folder, FLAGS.describe_state)
    if FLAGS.with_data:
        arrays = training_arrays(run.data, state.condition)
        paths.append(files.write_arrays(folder / "data.npz", arrays))
    return paths


def training_arrays(data: Any, spec: ConditionSpec | None = None) -> dict[str, Any]:
    """The training examples, as they are stored where a line maps them to the network's units.

    ``x * multiply + add`` is what the network sees; ``labels`` where there are any; ``condition``
    as a network of `spec` is told it. Of data without an end there are 2¹⁶.
    """
    size = data.size("train") or _MOST_OF_ENDLESS
    scaled = np.asarray(data.examples(np.arange(size), "train", 0))
    info = data.info()
    arrays: dict[str, Any] = {"x": scaled, "multiply": np.float32(1), "add": np.float32(0)}
    if info.scaling.stored_dtype == "uint8" and not info.scaling.means:
        raw = info.scaling.unscale(scaled)
        slope = info.scaling.slope
        add = info.scaling.low - info.scaling.stored_low * slope
        if np.abs(raw * slope + add - scaled).max() < 1e-6:  # not where they are dequantised
            arrays = {"x": raw, "multiply": np.float32(slope), "add": np.float32(add)}
    labels = data.labels("train")
    if spec is not None and not spec.is_class:
        arrays["condition"] = np.asarray(data.conditions(spec)(np.arange(size)))
    return arrays | ({} if labels is None else {"labels": np.asarray(labels, np.int32)})
