"""Samples from a run: python bin/sample.py --workdir=runs/lcss_digits --num_samples=64

Filling in, and more (docs/control.md):
python bin/sample.py --workdir=runs/lcss_digits --task=inpaint --mask=half --input=test
"""

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.experiment import TASKS, Request

_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory.", required=True)
_TASK = flags.DEFINE_enum("task", "sample", sorted(TASKS), "What to do.")
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "How many samples, 64 by default; of a task, for each input, 4."
)
_OUT = flags.DEFINE_string("out", None, "Where to write; <workdir>/samples/... by default.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.")
_LABEL = flags.DEFINE_integer("label", None, "The class of all samples, of a network with classes.")
_GUIDANCE = flags.DEFINE_float("guidance", None, "Classifier-free: 1 is none, more is stronger.")
_TRAJECTORY = flags.DEFINE_bool("trajectory", False, "Also a GIF and a film strip of the way.")
_INPUT = flags.DEFINE_multi_string(
    "input", [], "Of a task: files in the data's shape, or 'test' for held-out examples."
)
_MASK = flags.DEFINE_string("mask", "half", "half, box, random, or a file: white is known.")
_FACTOR = flags.DEFINE_integer("factor", 2, "Of super-resolution.")
_NOISE = flags.DEFINE_float("noise_std", 0.0, "Of the noise in the input; scaled data's units.")
_STRATEGY = cli.strategy_flag()
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Bindings over the run's, e.g. 'EulerMaruyama.num_steps=250'."
)


def main(_):
    with cli.plain_errors():
        guidance = [] if _GUIDANCE.value is None else [f"sample.guidance = {_GUIDANCE.value}"]
        bindings = cli.strategy_bindings(_STRATEGY.value) + guidance + _GIN_BINDINGS.value
        config.load_workdir(_WORKDIR.value, bindings)
        request = Request(
            _NUM_SAMPLES.value, _OUT.value, _SEED.value, _LABEL.value, tuple(_INPUT.value),
            _MASK.value, _FACTOR.value, _NOISE.value, _TRAJECTORY.value,
        )  # fmt: skip
        for path in TASKS[_TASK.value](_WORKDIR.value, request):
            print(f"Wrote {path}")


if __name__ == "__main__":
    app.run(main)
