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
from lcss_tf.data import DataInfo
from lcss_tf.display import say
from lcss_tf.training import loop
from lcss_tf.training.state import TrainState
from lcss_tf.training.workdir import only_process

_MOST_OF_ENDLESS = 2**16  # examples
_ONE_DEVICE = "Distribution.strategy = 'one_device'"


def main(_: Sequence[str]) -> None:
    """The command."""
    imports = FLAGS["import"].value
    out = Path(FLAGS.out)
    files.check_writable(out, folder=FLAGS.format != "onnx")
    place = (out.parent, out.name) if FLAGS.format == "onnx" else (out, "export")
    with only_process(*place):
        _export(out, imports)


def _export(out: Path, imports: Sequence[str]) -> None:
    bindings = [_ONE_DEVICE, *FLAGS.gin_bindings]
    if FLAGS.batch_size:
        bindings += [f"{key}.batch_size = {FLAGS.batch_size}" for key in ("fit", "sample")]
    if FLAGS.workdir:
        imports = _runs.load_configuration(FLAGS.workdir, bindings)
    else:
        _gin.load(FLAGS.gin_file, bindings, imports)
    if FLAGS.what == "train_step":
        run = planned(*build())
        _runs.begin(run, FLAGS.workdir, FLAGS.checkpoint)
        paths = training_step(run).write(out, FLAGS.describe_state)
        if FLAGS.with_data:
            arrays = training_arrays(run.data, run.state.condition)
            paths.append(files.write_arrays(out / "data.npz", arrays))
    else:
        state, found = function(FLAGS.what, FLAGS.format, FLAGS.workdir, FLAGS.checkpoint)
        paths = export.write_function(out, state, found, FLAGS.format, FLAGS.describe_state)
    say("\n  ".join(["Written:", *map(str, paths)]))
    if FLAGS.format == "stablehlo":
        _runs.write_records(out, _runs.records(imports))
        say(f"Run it where JAX is:  python tools/run_program.py {out}")


def training_step(run: loop.Run) -> export.Program:
    """The program of one step of a training."""
    step = _gin.TrainStep(run.state, run.loss, run.batch_size, run.seed, jit_compile=True)
    return export.train_step(run.state, step, run.batch_size)


def function(
    what: str, format: str, workdir: str | None = None, checkpoint: str = "newest"
) -> tuple[TrainState, export.Function]:
    """(its state, the function): the score, or else the sampler, of a run or an untrained model.

    A run's data need not be there. In ONNX a sampler takes x_T.
    """
    if workdir is None:
        model, arguments = build()
        run = planned(model, arguments)
        _runs.begin(run)
        model.info = run.data.info()
    else:
        model = _runs.load_model(workdir, checkpoint)
    state = model.state
    if what == "score":
        return state, export.score(state, _gin.fit()["batch_size"], model.info)
    sampling = model.sampling(**(_gin.sample() | {"jit_compile": True}))
    return state, export.sampler_of(state, sampling, model.info, format)


def line_to_network(info: DataInfo) -> tuple[float, float]:
    """(multiply, add): x · multiply + add takes stored numbers of one range to the network's."""
    slope = info.scaling.slope
    return slope, info.scaling.low - info.scaling.stored_low * slope


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
        slope, add = line_to_network(info)
        if np.abs(raw * slope + add - scaled).max() < 1e-6:  # not where they are dequantised
            arrays = {"x": raw, "multiply": np.float32(slope), "add": np.float32(add)}
    labels = data.labels("train")
    if spec is not None and not spec.is_class:
        arrays["condition"] = np.asarray(data.conditions(spec)(np.arange(size)))
    return arrays | ({} if labels is None else {"labels": np.asarray(labels, np.int32)})
