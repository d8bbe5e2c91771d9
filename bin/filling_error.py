"""Measures inpainting on held-out images: python bin/filling_error.py --workdir=runs/lcss_digits"""

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.experiment import filling_error

_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory.", required=True)
_OUT = flags.DEFINE_string("out", None, "Directory of the table; the run's own by default.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Bindings over the run's, e.g. 'filling_error.num_images=100'."
)


def main(_):
    with cli.plain_errors():
        config.load_workdir(_WORKDIR.value, _GIN_BINDINGS.value)
        text, paths = filling_error(_WORKDIR.value, _OUT.value or _WORKDIR.value)
        print(f"\n{text}\nWritten:", *paths, sep="\n  ")


if __name__ == "__main__":
    app.run(main)
