"""Times steps.

python bin/benchmark.py --gin_file=gin/benchmark/ddpmpp_32.gin

Input alone, against the bare decoder: python bin/benchmark.py --data
An experiment's own input, without a network: python bin/benchmark.py --data --gin_file=…
What two devices and two processes cost: python bin/benchmark.py --scaling --gin_file=…
Does memory grow: python bin/benchmark.py --soak --gin_file=gin/benchmark/soak.gin
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lcss_tf import files
from lcss_tf.commands import _cli, _gin
from lcss_tf.commands._benchmark import benchmark, first_step_seconds
from lcss_tf.commands._benchmark_more import as_text, input_benchmark, own_input, scaling, soak
from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.training.workdir import only_process

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


def main(_: Sequence[str]) -> None:
    """The command."""
    say(_measured())


def _measured() -> str:
    gin_file, bindings = FLAGS.gin_file, FLAGS.gin_bindings
    if FLAGS.data and gin_file is None:
        _gin.load(None, bindings)
        place = FLAGS.workdir or "runs/benchmark_input"
        files.check_writable(place, folder=True)
        return input_benchmark(place)
    if gin_file is None:
        raise UsageError("Give --gin_file, or --data.")
    workdir = FLAGS.workdir or Path("runs") / f"benchmark_{Path(gin_file).stem}"
    _gin.find_config(gin_file)
    files.check_writable(workdir, folder=True)
    if FLAGS.scaling:
        return files.read_text(scaling(gin_file, bindings, workdir))
    _gin.load(gin_file, bindings, FLAGS["import"].value)
    if FLAGS.data:
        return as_text(own_input())
    if FLAGS.first_step:
        return f"{first_step_seconds():.1f} s from process start to the end of the first step"
    with only_process(workdir, "benchmark"):
        text, paths = soak(workdir) if FLAGS.soak else benchmark(workdir)
    return "\n  ".join([f"{text}\nWritten:", *map(str, paths)])
