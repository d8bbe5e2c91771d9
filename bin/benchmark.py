"""Times steps: python bin/benchmark.py --gin_file=gin/benchmark/ddpmpp_32.gin

Input alone, against the bare decoder: python bin/benchmark.py --data
An experiment's own input, without a network: python bin/benchmark.py --data --gin_file=…
What two devices and two processes cost: python bin/benchmark.py --scaling --gin_file=…
Does memory grow: python bin/benchmark.py --soak --gin_file=gin/benchmark/soak.gin
"""

from pathlib import Path

import gin
from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.benchmark import benchmark, first_step_seconds, scaling, soak
from lcss_tf.benchmark.input import as_text, input_benchmark, own_input

_GIN_FILE = flags.DEFINE_string("gin_file", None, "The experiment.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Bindings over the file's, e.g. 'benchmark.rounds=3'."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "runs/benchmark_<gin file> by default.")
_IMPORT = flags.DEFINE_multi_string("import", [], "A module of yours, or the path of its file.")
_FIRST_STEP = flags.DEFINE_bool(
    "first_step", False, "Only the seconds from process start to the end of the first step."
)
_SCALING = flags.DEFINE_bool("scaling", False, "Only the cost of spreading a step over two.")
_SOAK = flags.DEFINE_bool("soak", False, "Only a long run, and the growth of its memory.")
_DATA = flags.DEFINE_bool("data", False, "Only input: the experiment's, or 1024-px PNG files.")


def _measured():
    if _DATA.value and _GIN_FILE.value is None:
        gin.parse_config(_GIN_BINDINGS.value)
        return input_benchmark(_WORKDIR.value or "runs/benchmark_input")
    if _GIN_FILE.value is None:
        raise ValueError("Give --gin_file, or --data.")
    workdir = _WORKDIR.value or Path("runs") / f"benchmark_{Path(_GIN_FILE.value).stem}"
    if _SCALING.value:
        return scaling(_GIN_FILE.value, _GIN_BINDINGS.value, workdir).read_text()
    config.load(_GIN_FILE.value, _GIN_BINDINGS.value, _IMPORT.value)
    if _DATA.value:
        return as_text(own_input())
    if _FIRST_STEP.value:
        return f"{first_step_seconds():.1f} s from process start to the end of the first step"
    text, paths = soak(workdir) if _SOAK.value else benchmark(workdir)
    return "\n  ".join([f"{text}\nWritten:", *map(str, paths)])


def main(_):
    with cli.plain_errors():
        print(_measured())


if __name__ == "__main__":
    app.run(main)
