"""Trains what a gin file describes.

python bin/train.py --gin_file=gin/lcss_digits.gin      (or: lcss train --gin_file=lcss_digits.gin)

Run the same command again to resume. On several machines: --strategy=multi_worker
(docs/distributed.md). A run again, to see whether it comes out the same:
--reproduce=runs/lcss_digits
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.errors import UsageError

FLAGS = flags.FlagValues()
_cli.gin_flags(FLAGS)
_cli.workdir_flag(FLAGS, "The run's directory; runs/<gin file> by default.")
_cli.resume_flag(FLAGS)
_cli.strategy_flag(FLAGS)
flags.DEFINE_bool(
    "dry_run", False, "Build everything, run nothing, print the plan.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "max_restarts", 0, "New starts after a crash, a lost worker or data that hang.", 0,
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string("reproduce", None, "A run to run again, instead of --gin_file.",
                    flag_values=FLAGS)  # fmt: skip
flags.DEFINE_bool(
    "deterministic", False, "Two runs on the same devices give the same bits, by slower kernels.",
    flag_values=FLAGS,
)  # fmt: skip


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError."""
    if FLAGS.gin_file is None and FLAGS.reproduce is None:
        raise UsageError("Give --gin_file, such as gin/lcss_digits.gin, or --reproduce.")
