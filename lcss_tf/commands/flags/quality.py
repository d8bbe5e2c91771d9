"""Samplers against their number of function evaluations (NFE), by a metric of their samples.

python bin/quality.py --workdir=runs/lcss_digits

Or on data whose score is known: python bin/quality.py --gin_file=gin/quality/mixture64.gin
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.commands._places import is_run
from lcss_tf.errors import UsageError

FLAGS = flags.FlagValues()
_cli.workdir_flag(FLAGS, "A run, whose checkpoint is sampled; without one there, where to write.")
flags.DEFINE_string(
    "gin_file", "quality/samplers.gin",
    "What is measured; with data of known score, no run.", flag_values=FLAGS,
)  # fmt: skip
_cli.bindings_flag(FLAGS, "NFESweep.budgets=(10, 20)", "the file's")


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError."""
    known = FLAGS.workdir is not None and is_run(FLAGS.workdir)
    if not known and not FLAGS["gin_file"].present:
        raise UsageError(
            f"There is no run in {FLAGS.workdir}. Give the --workdir of one, or a --gin_file with "
            "data of known score: gin/quality/mixture64.gin."
        )
