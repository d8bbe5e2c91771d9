"""Writes a run, or an untrained model, as a program that needs neither lcss_tf nor TensorFlow.

python bin/export.py --workdir=runs/lcss_digits --what=sampler --out=exported/sampler
python bin/export.py --workdir=runs/lcss_digits --format=onnx --out=digits.onnx
python bin/export.py --gin_file=gin/lcss_digits.gin --what=train_step --with_data --out=exported

tools/run_program.py runs the folder by JAX, on a GPU that has no TensorFlow above all; what a
training step leaves there, `lcss import-state` takes back into a checkpoint.
"""

import importlib.util

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.commands._places import check_is_run
from lcss_tf.errors import MissingPackageError, UsageError

FLAGS = flags.FlagValues()
flags.DEFINE_enum(
    "what", "sampler", ["score", "sampler", "train_step"], "What the program computes.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_enum(
    "format", "stablehlo", ["stablehlo", "saved_model", "onnx"],
    "stablehlo: for JAX and others; saved_model: for TensorFlow and TensorFlow Serving; onnx: for "
    "ONNX Runtime and others (pip install 'lcss_tf[onnx]').",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "out", None, "The folder to write; of ONNX the file, ….onnx.", flag_values=FLAGS, required=True
)
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


def check_onnx(out: str) -> None:
    """Raises UsageError unless the file can be called so, and tf2onnx is installed."""
    if not out.endswith(".onnx"):
        raise UsageError(f"ONNX is one file, which ends in .onnx; got --out={out}.")
    if importlib.util.find_spec("tf2onnx") is None:
        raise MissingPackageError(
            "--format=onnx needs tf2onnx, which is not installed: pip install 'lcss_tf[onnx]'."
        )


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError, FileNotFoundError."""
    if (FLAGS.gin_file is None) == (FLAGS.workdir is None):
        raise UsageError("Give --workdir, or --gin_file for a model that is not trained yet.")
    if FLAGS.with_data and FLAGS.what != "train_step":
        raise UsageError("--with_data goes with --what=train_step, which alone needs data.")
    if FLAGS.format != "stablehlo" and FLAGS.what == "train_step":
        raise UsageError("A training step is exported as StableHLO: --format=stablehlo.")
    if FLAGS.format == "onnx":
        check_onnx(FLAGS.out)
    if FLAGS.workdir is not None:
        check_is_run(FLAGS.workdir)
