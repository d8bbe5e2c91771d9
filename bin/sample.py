"""Samples from a run: python bin/sample.py --workdir=runs/lcss_digits --num_samples=64"""

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.experiment import sample

_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory.", required=True)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 64, "How many samples.")
_OUT = flags.DEFINE_string("out", None, "Where to write; <workdir>/samples/seed_<seed> by default.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the samples.")
_LABEL = flags.DEFINE_integer("label", None, "The class of all samples, of a network with classes.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Bindings over the run's, e.g. 'EulerMaruyama.num_steps=250'."
)


def main(_):
    with cli.plain_errors():
        config.load_workdir(_WORKDIR.value, _GIN_BINDINGS.value)
        paths = sample(
            _WORKDIR.value, _NUM_SAMPLES.value, _OUT.value, _SEED.value, label=_LABEL.value
        )
        for path in paths:
            print(f"Wrote {path}")


if __name__ == "__main__":
    app.run(main)
