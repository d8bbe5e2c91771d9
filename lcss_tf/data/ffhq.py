"""The official TFRecord files of FFHQ, and any others of that format, read as they are."""

import glob
import os

import tensorflow as tf

from lcss_tf.data.decode import fit
from lcss_tf.data.encoded_images import CACHE_MIB, EncodedImages, why_it_fails
from lcss_tf.data.examine import BadImage
from lcss_tf.data.records import Part, Records
from lcss_tf.data.splits import held_out
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS

_LEVELS = range(2, 13)  # resolutions 4 to 4,096
_FORMAT = {
    "shape": tf.io.FixedLenFeature([3], tf.int64),
    "data": tf.io.FixedLenFeature([], tf.string),
}


@DATASETS.register
class FFHQ(EncodedImages):
    """Images from ``ffhq-r10.tfrecords`` and the like: ``shape`` (C, H, W) and ``data``, uint8 CHW.

    Such a file holds one resolution, 2^level: r10 is 1,024 pixels. Records are found by an index
    of their offsets, so they are read in any order, uncompressed as they lie.

    For the official folders of PNG files use `ImageFolder`, or bin/prepare_data.py and `TFDS`.

    Args:
      path: a file, or a folder with ``*-r<level>.tfrecords``; it need not exist yet.
      resolution: height and width of the examples. A power of two with a file of its own is read
        as it is; others are resized from the next larger.
      channels: 1 or 3, those of the files.
      test_every: one in so many records, the first to begin with, is held out.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].
      on_bad_example, cache_mib: see `EncodedImages`.

    Raises:
      ValueError: a number out of its range.
    """

    def __init__(
        self,
        path,
        resolution=1024,
        channels=3,
        test_every=50,
        flip=False,
        centered=True,
        on_bad_example="error",
        cache_mib=CACHE_MIB,
    ):
        if resolution < 1 or channels not in (1, 3) or test_every < 2:
            raise UsageError(
                "FFHQ needs resolution >= 1, channels of 1 or 3 and test_every >= 2; got "
                f"{resolution}, {channels} and {test_every}."
            )
        shape = (resolution, resolution, channels)
        super().__init__("ffhq", shape, flip, centered, on_bad_example, cache_mib)
        self.path = os.path.abspath(os.path.expanduser(path))
        self.test_every = test_every
        self._records = None

    def file(self):
        """The TFRecord file that is read.

        Raises:
          FileNotFoundError: there is none.
        """
        if os.path.isfile(self.path):
            return self.path
        for level in _LEVELS:
            pattern = os.path.join(glob.escape(self.path), f"*-r{level:02}.tfrecords")
            found = sorted(glob.glob(pattern))
            if 2**level >= self.shape[0] and found:
                return found[0]
        raise FileNotFoundError(
            f"There is no file {self.path}, nor a *-r<level>.tfrecords of at least {self.shape[0]} "
            "pixels in a folder of that name. Set FFHQ.path to the folder tfrecords/ffhq of "
            "https://github.com/NVlabs/ffhq-dataset."
        )

    def _open(self, split):
        super().require(split)
        if self._records is None:
            self._records = Records([Part(self.file())])
            splits = held_out(len(self._records), self.test_every)
            self._chosen = splits
            with tf.init_scope(), tf.device("CPU:0"):
                self._places = {name: tf.constant(k, tf.int64) for name, k in splits.items()}
        if not len(self._chosen[split]):
            raise UsageError(
                f"{self.file()} holds {len(self._records)} images: none is left for the split "
                f"{split!r}. At least two are needed."
            )

    def require(self, split="train"):
        """See `Dataset.require`; reads one image, and all records' lengths."""
        self._open(split)
        if self.on_bad_example == "error":
            self.explain([0], split)

    def size(self, split="train"):
        """The number of records of a split."""
        self._open(split)
        return len(self._chosen[split])

    def content(self, index, split):
        """The record, a serialised Example."""
        return self._records.read(self._places[split][index])

    def pixels(self, index, split):
        """See `EncodedImages.pixels`."""
        return _image(self.content(index, split), self.shape)

    def facts(self, record):
        """((format, (width, height), mode), uint8 example) of a record, in plain Python.

        Raises:
          BadImage: it is not of this format.
        """
        try:
            shape = tf.io.parse_single_example(record, _FORMAT)["shape"].numpy().tolist()
            pixels = _image(record, self.shape).numpy()
        except tf.errors.OpError as error:
            raise BadImage(
                "it holds no 'shape' of three numbers and 'data' of as many bytes, with "
                f"{self.shape[2]} channels ({error.message[:120]})"
            ) from error
        return ("CHW", (shape[2], shape[1]), "RGB" if shape[0] == 3 else "L"), pixels

    def why_bad(self, index, split):
        """See `EncodedImages.why_bad`."""
        try:
            self.facts(self.content(tf.constant(index, tf.int64), split))
        except BadImage as error:
            return str(error)
        except tf.errors.OpError as error:
            return why_it_fails(error)
        return None

    def place_of(self, index, split):
        """See `EncodedImages.place_of`."""
        return self._records.place_of(int(self._chosen[split][index]))


def _image(record, shape):
    parsed = tf.io.parse_single_example(record, _FORMAT)
    image = tf.reshape(tf.io.decode_raw(parsed["data"], tf.uint8), parsed["shape"])
    image = tf.transpose(image, [1, 2, 0])
    channels = tf.shape(image)[2]
    tf.debugging.Assert(channels == shape[2], ["channels:", channels])
    return fit(image, shape)
