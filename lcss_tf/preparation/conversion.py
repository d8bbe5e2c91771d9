"""The source of a preparation, and the conversion of its examples, in resumable chunks.

Each chunk of 256 examples becomes a TFRecord file and, when that is complete, a JSON file with the
examples that were rejected. A run that was stopped resumes with the chunks that have none.
"""

import concurrent.futures
import functools
import glob
import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from lcss_tf import forms
from lcss_tf.data.decoding import BadImageError
from lcss_tf.data.image_folder import ImageFolder
from lcss_tf.data.images import EncodedImages, sides_of
from lcss_tf.data.records import FFHQ
from lcss_tf.data.webdataset import WebDataset
from lcss_tf.display import Bar
from lcss_tf.errors import UsageError
from lcss_tf.files import read_json, write_json
from lcss_tf.texts import visible

SPLITS = ("test", "train")
_CHUNK = 256  # examples
_DECODER = 2  # counts the changes of what pixels an image file gives: older chunks are not used
_TEXTS, _NUMBERS = ("image", "source", "format", "mode"), ("width", "height")


class Source(NamedTuple):
    """Enough to open the data anywhere, in another process too.

    Attributes:
      path: of a folder, a ZIP archive, WebDataset shards (``train-{0000..0007}.tar``), or a
        TFRecord file of FFHQ's format (or its folder).
      resolution: of the examples, in pixels: (height, width), or one number for both.
      channels: of the examples, 1, 3 or 4.
      test_every: the first of every so many is held out.
      fit: how an image of another aspect comes to this size; see `ImageFolder`.
    """

    path: str
    resolution: int | tuple[int, int]
    channels: int = 3
    test_every: int = 50
    fit: str = "crop"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the examples."""
        return (*sides_of(self.resolution, "The source"), self.channels)

    def described(self) -> dict[str, Any]:
        """What a report says of it, as JSON gives it back; by this it is known again."""
        height, width, _ = self.shape
        resolution = height if height == width else [height, width]
        return {**self._asdict(), "resolution": resolution}

    def open(self) -> EncodedImages:
        """The dataset; the same object at every call in a process."""
        return _opened(self)

    def reopen(self) -> EncodedImages:
        """The dataset as it is now: files may have been added since it was opened."""
        _opened.cache_clear()
        return self.open()


@functools.lru_cache(maxsize=2)
def _opened(source):
    records = source.path.endswith(".tfrecords") or glob.glob(
        os.path.join(glob.escape(source.path), "*-r[0-9][0-9].tfrecords")
    )
    options: dict[str, Any] = {
        "channels": source.channels,
        "test_every": source.test_every,
        "on_bad_example": "skip",
        "cache_mib": 0,
    }
    if source.path.endswith(".tar"):
        return WebDataset(source.path, source.resolution, fit=source.fit, **options)
    if not records:
        return ImageFolder(source.path, source.resolution, fit=source.fit, **options)
    height, width, _ = source.shape
    if height != width:
        raise UsageError(
            f"FFHQ's records are squares; got the resolution {source.resolution}. Ask for one "
            "number, or prepare the folder of PNG files."
        )
    return FFHQ(source.path, height, **options)


def convert(source: Source, split: str, index: int) -> tuple[dict[str, Any] | None, str | None]:
    """One example: (record, reason).

    Returns:
      A dict with the image as PNG bytes, its source, format, width, height and mode, and None; or
      None and the reason for which it is rejected, with its location.
    """
    data = source.open()
    place = short_place(data.location(index, split), source)
    try:
        content = data.content(tf.constant(index, tf.int64), split).numpy()
        header, pixels = data.inspect(content)
    except BadImageError as error:
        return None, f"{place}: {error}"
    except tf.errors.OpError as error:
        return None, f"{place}: it cannot be read ({error.message[:160]})"
    record = {
        "image": tf.io.encode_png(pixels).numpy(),
        "source": place,
        "format": header.format,
        "width": header.size[0],
        "height": header.size[1],
        "mode": header.mode,
    }
    return record, None


def short_place(location: str, source: Source) -> str:
    """Where an example or a file is stored, from the folder on that holds the source."""
    return os.path.relpath(location, visible(os.path.dirname(source.path)))


def rejected_unread(source: Source) -> list[str]:
    """The reasons for which images that cannot be read are rejected, with their locations."""
    return [f"{short_place(place, source)}: {why}" for place, why in source.open().unread()]


def with_png_file(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its image as a file object, which TFDS stores as it is."""
    return {**record, "image": io.BytesIO(record["image"])}


class Chunks:
    """The converted examples of a `Source`, in a folder of their own.

    Args:
      source: the `Source`.
      out: the folder for the dataset; the chunks lie in a hidden folder of it until it is complete.
    """

    def __init__(self, source: Source, out: str) -> None:
        self._source = source
        self._data = source.open()
        self._sizes = {split: self._data.size(split) for split in SPLITS}
        self.folder = os.path.join(out, f".chunks_{self._key()}")

    def _key(self):
        """Of everything that the chunks depend on: another source has chunks of its own."""
        digest = hashlib.sha256(repr((_DECODER, self._source.described())).encode())
        for split, size in self._sizes.items():
            for index in range(size):
                digest.update(self._data.location(index, split).encode())
                path = self._data.file_of(index, split)
                if path is not None and os.path.isfile(path):
                    status = os.stat(path)
                    digest.update(f"{status.st_size},{status.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def make(self) -> None:
        """Converts what is not converted yet, on all cores."""
        os.makedirs(self.folder, exist_ok=True)
        jobs = [(s, k) for s, n in self._sizes.items() for k in range(-(-n // _CHUNK))]
        bar = Bar(sum(self._sizes.values()), "converting", "images")
        with bar, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for split, k in jobs:
                indices = range(k * _CHUNK, min((k + 1) * _CHUNK, self._sizes[split]))
                if not os.path.exists(self._path(split, k, "json")):
                    self._make_one(pool, split, k, indices)
                bar.update(len(indices))

    def _make_one(self, pool, split, k, indices):
        rejected, path = [], self._path(split, k, "tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            done = pool.map(lambda index: convert(self._source, split, index), indices)
            for index, (record, reason) in zip(indices, done, strict=True):
                if record is None:
                    rejected.append(reason)
                else:
                    writer.write(_serialised(index, record))
        write_json(self._path(split, k, "json"), rejected)

    def _path(self, split, k, ending):
        return os.path.join(self.folder, f"{split}_{k:06}.{ending}")

    def records(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Pairs (index, record) of the good examples of a split, in order."""
        paths = [self._path(split, k, "tfrecord") for k in range(-(-self._sizes[split] // _CHUNK))]
        for serialised in tf.data.TFRecordDataset(paths).as_numpy_iterator():
            features = tf.train.Example.FromString(serialised).features.feature
            record = {name: features[name].bytes_list.value[0] for name in _TEXTS}
            record |= {name: record[name].decode() for name in _TEXTS[1:]}
            record |= {name: features[name].int64_list.value[0] for name in _NUMBERS}
            yield features["index"].int64_list.value[0], record

    def rejected(self, split: str | None = None) -> list[str]:
        """The reasons of all rejections, of one split or of all."""
        reasons: list[str] = []
        for name in [split] if split else self._sizes:
            for k in range(-(-self._sizes[name] // _CHUNK)):
                remedy = f"Remove {self.folder}, and prepare again."
                reasons += read_json(self._path(name, k, "json"), [forms.TEXT], remedy) or []
        return reasons


def _serialised(index, record):
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.compat.as_bytes(value)]))
        for name, value in record.items()
        if name in _TEXTS
    }
    for name, value in (("index", index), *((name, record[name]) for name in _NUMBERS)):
        feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


__all__ = [
    "SPLITS",
    "Chunks",
    "Source",
    "convert",
    "rejected_unread",
    "short_place",
    "with_png_file",
]
