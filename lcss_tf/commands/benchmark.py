"""Times steps."""

from collections.abc import Sequence
from pathlib import Path

from lcss_tf import files
from lcss_tf.commands import _gin
from lcss_tf.commands._benchmark import benchmark, first_step_seconds
from lcss_tf.commands._benchmark_more import as_text, input_benchmark, own_input, scaling, soak
from lcss_tf.commands.flags.benchmark import FLAGS
from lcss_tf.display import say
from lcss_tf.training.workdir import only_process


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
    workdir = FLAGS.workdir or Path("runs") / f"benchmark_{Path(gin_file).stem}"
    files.check_writable(workdir, folder=True)
    if FLAGS.scaling:
        return files.read_text(scaling(gin_file, bindings, workdir))
    _gin.load(gin_file, bindings, FLAGS["import"].value)
    if FLAGS.data:
        return as_text(own_input())
    _gin.share_cores("fit")
    if FLAGS.first_step:
        return f"{first_step_seconds():.1f} s from process start to the end of the first step"
    with only_process(workdir, "benchmark"):
        text, paths = soak(workdir) if FLAGS.soak else benchmark(workdir)
    return "\n  ".join([f"{text}\nWritten:", *map(str, paths)])
