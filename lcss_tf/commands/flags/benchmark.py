"""Times steps.

python bin/benchmark.py --gin_file=gin/benchmark/ddpmpp_32.gin

Input alone, against the bare decoder: python bin/benchmark.py --data
An experiment's own input, without a network: python bin/benchmark.py --data --gin_file=…
What two devices and two processes cost: python bin/benchmark.py --scaling --gin_file=…
Does memory grow: python bin/benchmark.py --soak --gin_file=gin/benchmark/soak.gin
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.errors import UsageError

FLAGS = flags.FlagValues()
_cli.gin_flags(FLAGS, "Benchmark.rounds=3")
_cli.workdir_flag(FLAGS, "runs/benchmark_<gin file> by default.")
flags.DEFINE_bool(
    "first_step", False, "Only the seconds from process start to the end of the first step.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_bool(
    "scaling", False, "Only the cost of spreading a step over two.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "soak", False, "Only a long run, and the growth of its memory.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "data", False, "Only input: the experiment's, or 1024-px PNG files.", flag_values=FLAGS
)


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError."""
    if FLAGS.gin_file is None and not FLAGS.data:
        raise UsageError("Give --gin_file, or --data.")
