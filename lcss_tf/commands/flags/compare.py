"""Trains losses side by side.

python bin/compare.py --gin_file=gin/compare_losses.gin

Or puts finished runs side by side:  python bin/compare.py --report runs/a runs/b
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.errors import UsageError

POSITIONAL = "the runs of --report"
FLAGS = flags.FlagValues()
_cli.gin_flags(FLAGS, "fit.steps=1_000")
_cli.workdir_flag(FLAGS, "Its directory; runs/<gin file> by default.")
flags.DEFINE_bool(
    "diagnose", False,
    "After the comparison: gradient variance and bias of every loss by time.", flag_values=FLAGS,
)  # fmt: skip
_cli.resume_flag(FLAGS)
flags.DEFINE_string("entry", None, "One run of the workdir's comparison alone.", flag_values=FLAGS)
flags.DEFINE_bool(
    "report", False, "Finished runs side by side: --report runs/a runs/b", flag_values=FLAGS
)
flags.DEFINE_string(
    "out", None, "The report's file; comparison.html beside the first run.", flag_values=FLAGS
)


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError."""
    if not FLAGS.report and FLAGS.gin_file is None and FLAGS.workdir is None:
        raise UsageError("Give --gin_file, or the --workdir of a comparison to resume.")
