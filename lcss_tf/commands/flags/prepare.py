"""Validates images and converts them once, into a TFDS dataset that trains at any size.

python bin/prepare_data.py --source=photos/ --resolution=256 --out=data/tfds
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "source", None, "A folder or ZIP of images, or TFRecords of FFHQ's format.",
    flag_values=FLAGS, required=True,
)  # fmt: skip
flags.DEFINE_integer("resolution", None, "Pixels of a side.", flag_values=FLAGS, required=True)
flags.DEFINE_string("out", None, "Where TFDS keeps its datasets.", flag_values=FLAGS, required=True)
flags.DEFINE_string("name", None, "Of the dataset; by default the source's.", flag_values=FLAGS)
flags.DEFINE_enum("channels", "3", ["1", "3", "4"], "Grey, RGB or RGBA.", flag_values=FLAGS)
flags.DEFINE_integer(
    "test_every", 50, "One in so many is held out.", lower_bound=2, flag_values=FLAGS
)
flags.DEFINE_bool(
    "beam", False, "Convert by Apache Beam (pip install 'lcss_tf[beam]').", flag_values=FLAGS
)
flags.DEFINE_enum(
    "on_bad_example", "skip", ["skip", "error"],
    "Leave bad files out and report them, or stop.", flag_values=FLAGS,
)  # fmt: skip
