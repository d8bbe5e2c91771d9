"""Validates images and converts them once, into a TFDS dataset that trains at any size.

python bin/prepare_data.py --source=photos/ --resolution=256 --out=data/tfds
"""

from absl import app, flags

from lcss_tf import cli
from lcss_tf.preparing import prepare
from lcss_tf.preparing.source import Source

_SOURCE = flags.DEFINE_string(
    "source", None, "A folder or ZIP of images, or TFRecords of FFHQ's format.", required=True
)
_RESOLUTION = flags.DEFINE_integer("resolution", None, "Pixels of a side.", required=True)
_OUT = flags.DEFINE_string("out", None, "Where TFDS keeps its datasets.", required=True)
_NAME = flags.DEFINE_string("name", None, "Of the dataset; by default the source's.")
_CHANNELS = flags.DEFINE_enum("channels", "3", ["1", "3", "4"], "Grey, RGB or RGBA.")
_TEST_EVERY = flags.DEFINE_integer("test_every", 50, "One in so many is held out.", lower_bound=2)
_BEAM = flags.DEFINE_bool("beam", False, "Convert by Apache Beam (pip install -e '.[beam]').")
_ON_BAD = flags.DEFINE_enum(
    "on_bad_example", "skip", ["skip", "error"], "Leave bad files out and report them, or stop."
)


def main(_):
    with cli.plain_errors():
        source = Source(_SOURCE.value, _RESOLUTION.value, int(_CHANNELS.value), _TEST_EVERY.value)
        result, text, folder = prepare(source, _OUT.value, _NAME.value, _BEAM.value, _ON_BAD.value)
        name, shape = result["dataset"].split("/")[0], tuple(result["shape"])
        print(f"\n{text}\nWritten to {folder}: report.md, report.json, examples.png")
        print(
            "Train on it:\n"
            "  train.data = @datasets.TFDS()\n"
            f'  TFDS.name = "{name}"\n  TFDS.shape = {shape}\n  TFDS.data_dir = "{_OUT.value}"'
        )


if __name__ == "__main__":
    app.run(main)
