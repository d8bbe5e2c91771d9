"""Validates images and converts them once, into a TFDS dataset that trains at any size.

python bin/prepare_data.py --source=photos/ --resolution=256 --out=data/tfds
python bin/prepare_data.py --source=photos/ --resolution=192x256 --fit=pad --out=data/tfds
"""

from absl import flags

from lcss_tf.errors import UsageError

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "source", None, "A folder or ZIP of images, WebDataset shards, or TFRecords as FFHQ's.",
    flag_values=FLAGS, required=True,
)  # fmt: skip
flags.DEFINE_string(
    "resolution", None, "Pixels of a side, or HEIGHTxWIDTH.", flag_values=FLAGS, required=True
)
flags.DEFINE_enum(
    "fit", "crop", ["crop", "pad", "stretch"],
    "What becomes of images of another aspect.", flag_values=FLAGS,
)  # fmt: skip
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


def resolution() -> int | tuple[int, int]:
    """What --resolution asks for: a side, or (height, width).

    Raises:
      UsageError: neither.
    """
    sides = FLAGS.resolution.lower().split("x")
    if not all(side.strip().isdigit() for side in sides) or len(sides) > 2:
        raise UsageError(
            "--resolution is a number of pixels, or HEIGHTxWIDTH, as 192x256; got "
            f"{FLAGS.resolution!r}."
        )
    height, width = int(sides[0]), int(sides[-1])
    return height if len(sides) == 1 else (height, width)


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError."""
    resolution()
