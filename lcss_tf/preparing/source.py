"""What is prepared: a folder, an archive or a TFRecord file of images, and one of its examples."""

import functools
import glob
import io
import os
from typing import NamedTuple

import tensorflow as tf

from lcss_tf.data.examine import BadImage, checked
from lcss_tf.data.ffhq import FFHQ
from lcss_tf.data.image_folder import ImageFolder

SPLITS = ("test", "train")


class Source(NamedTuple):
    """Enough to open the data anywhere, in another process too.

    path: of a folder, a ZIP archive, or a TFRecord file of FFHQ's format (or its folder).
    resolution, channels: of the examples. test_every: one in so many is held out.
    """

    path: str
    resolution: int
    channels: int = 3
    test_every: int = 50

    def open(self):
        """The dataset; the same object at every call in a process."""
        return _opened(self)

    def open_anew(self):
        """The dataset as it is now: files may have come since it was opened first."""
        _opened.cache_clear()
        return self.open()


@functools.lru_cache(maxsize=2)
def _opened(source):
    records = source.path.endswith(".tfrecords") or glob.glob(
        os.path.join(glob.escape(source.path), "*-r[0-9][0-9].tfrecords")
    )
    kind = FFHQ if records else ImageFolder
    return kind(
        source.path,
        source.resolution,
        channels=source.channels,
        test_every=source.test_every,
        on_bad_example="skip",
        cache_mib=0,
    )


def convert(source, split, index):
    """One example: (record, reason).

    Returns:
      A dict as `features` describes, the image as PNG bytes, and None; or None and the reason
      for which it is rejected, with its place.
    """
    data = source.open()
    place = os.path.relpath(data.place_of(index, split), os.path.dirname(source.path))
    content = None
    try:
        content = data.content(tf.constant(index, tf.int64), split)
        facts, pixels = _facts_and_pixels(data, content)
    except BadImage as error:
        return None, f"{place}: {error}"
    except tf.errors.OpError as error:
        return None, f"{place}: it cannot be read ({error.message[:160]})"
    record = {
        "image": tf.io.encode_png(pixels).numpy(),
        "source": place,
        "format": facts[0],
        "width": facts[1][0],
        "height": facts[1][1],
        "mode": facts[2],
    }
    return record, None


def _facts_and_pixels(data, content):
    if hasattr(data, "facts"):  # records that hold bare pixels
        return data.facts(content)
    return checked(content.numpy(), data.shape)


def open_png(record):
    """The record's image as a file, which TFDS stores as it is."""
    return {**record, "image": io.BytesIO(record["image"])}
