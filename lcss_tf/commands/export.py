"""Writes a run, or an untrained model, as a program that needs neither lcss_tf nor TensorFlow.

python bin/export.py --workdir=runs/lcss_digits --what=sampler --out=exported/sampler
python bin/export.py --gin_file=gin/lcss_digits.gin --what=train_step --with_data --out=exported

tools/run_program.py runs the folder by JAX, on a GPU that has no TensorFlow above all; what a
training step leaves there, `lcss import-state` takes back into a checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from lcss_tf import export, files
from lcss_tf.commands import _cli, _gin, _runs
from lcss_tf.commands.train import build, planned
from lcss_tf.conditioning import ConditionSpec
from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.training import loop
from lcss_tf.training.checkpoints import Checkpoints

FLAGS = flags.FlagValues()
flags.DEFINE_enum(
    "what", "sampler", ["score", "sampler", "train_step"], "What the program computes.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_enum("format", "stablehlo", ["stablehlo"], "Of the program.", flag_values=FLAGS)
flags.DEFINE_string("out", None, "The folder to write.", flag_values=FLAGS, required=True)
flags.DEFINE_integer(
    "batch_size", None, "Examples to a call; by default fit.batch_size, or sample.batch_size.",
    1, flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_bool(
    "with_data", False, "With train_step: the training data too, as data.npz.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "describe_state", False,
    "Store no weights: describe them, and let the runner draw others. For timing.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string("checkpoint", "newest", "Of --workdir: newest, best or a step.",
                    flag_values=FLAGS)  # fmt: skip
_cli.gin_flags(FLAGS)
_cli.workdir_flag(FLAGS, "The run to export, instead of --gin_file.")
_MOST_OF_ENDLESS = 2**16  # examples
_ONE_DEVICE = "Distribution.strategy = 'one_device'"


def main(_: Sequence[str]) -> None:
    """The command."""
    imports = FLAGS["import"].value
    if (FLAGS.gin_file is None) == (FLAGS.workdir is None):
        raise UsageError("Give --workdir, or --gin_file for a model that is not trained yet.")
    if FLAGS.with_data and FLAGS.what != "train_step":
        raise UsageError("--with_data goes with --what=train_step, which alone needs data.")
    files.check_writable(FLAGS.out, folder=True)
    bindings = [_ONE_DEVICE, *FLAGS.gin_bindings]
    if FLAGS.batch_size:
        bindings.append(f"fit.batch_size = {FLAGS.batch_size}")
    if FLAGS.workdir:
        imports = _runs.load_configuration(FLAGS.workdir, bindings)
    else:
        _gin.load(FLAGS.gin_file, bindings, imports)
    paths = write(Path(FLAGS.out), FLAGS.what, FLAGS.workdir)
    _runs.write_records(FLAGS.out, _runs.records(imports))
    say("\n  ".join(["Written:", *map(str, paths)]))
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
    elif what == "sampler":
        options = _gin.sample() | {"jit_compile": True}
        options["batch_size"] = FLAGS.batch_size or options["batch_size"]
        program = export.sampler(state, model.sampling(**options), model.info)
    else:
        program = export.score(state, FLAGS.batch_size or run.batch_size, model.info)
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
