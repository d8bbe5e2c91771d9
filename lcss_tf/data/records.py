"""Images in TFRecord files, read by index: FFHQ's own files, and what TensorFlow Datasets made."""

import glob
import math
import mmap
import os
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.data.base import SPLITS, held_out
from lcss_tf.data.decoding import BadImageError, ImageHeader, decode_bytes, fitted
from lcss_tf.data.files import absolute, read_range
from lcss_tf.data.idx import Idx, local_idx, tfds_folder
from lcss_tf.data.images import CACHE_MIB, EncodedImages
from lcss_tf.errors import UsageError
from lcss_tf.files import permission, read_json
from lcss_tf.registry import DATASETS
from lcss_tf.texts import visible
from lcss_tf.typing import Array, Shape, Tensor

# A record is its length (8 bytes, little-endian), a checksum of the length (4), the data, and a
# checksum of the data (4). Lengths are checked here, so that a file which was not written to its
# end is found before training; TensorFlow's own reader would find out when it gets there.
_HEAD, _TAIL = 12, 4  # bytes before and after a record's data
_CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, its bits reversed
_REMEDY = "Write or copy it again."


def record_index(path: str) -> tuple[Array, Array]:
    """Offsets and lengths in bytes of the data of all records of an uncompressed file: int64 [n].

    Raises:
      UsageError: the file is empty, not of this format, or was not written to its end.
      OSError: it cannot be read.
    """
    size = os.path.getsize(path)
    if size == 0:
        raise UsageError(f"The TFRecord file {path} is empty. {_REMEDY}")
    offsets: list[int] = []
    lengths: list[int] = []
    place = 0
    with (
        permission(path),
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        while place < size:
            head = data[place : place + _HEAD]
            length = _length(head)
            if length is None or place + _HEAD + length + _TAIL > size:
                broken = "was not written to its end" if offsets else "is no TFRecord file"
                raise UsageError(
                    f"{path} {broken}: record {len(offsets)}, at byte {place:,} of {size:,}, is "
                    f"incomplete. {_REMEDY}"
                )
            offsets.append(place + _HEAD)
            lengths.append(length)
            place += _HEAD + length + _TAIL
    return np.array(offsets, np.int64), np.array(lengths, np.int64)


def _length(head: bytes) -> int | None:
    """The length in a record's head; None if the head is incomplete or damaged."""
    if len(head) < _HEAD:
        return None
    length, checksum = struct.unpack("<QI", head)
    return length if masked_crc(head[:8]) == checksum else None


def masked_crc(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C, rotated, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
    return value


_TABLE = [_table_entry(byte) for byte in range(256)]


class FilePart(NamedTuple):
    """Records skip to skip + take of a file; take None: to its end."""

    path: str
    skip: int = 0
    take: int | None = None


class Records:
    """The records of parts of files, in order.

    Args:
      parts: which parts.

    Attributes:
      lengths: of their data, in bytes, int64 [N].

    Raises:
      UsageError: a file that was not written to its end, or holds fewer records than its part.
    """

    def __init__(self, parts: Sequence[FilePart]) -> None:
        offsets, lengths, files = [], [], []
        for k, part in enumerate(parts):
            start, length = record_index(part.path)
            take = len(start) - part.skip if part.take is None else part.take
            if part.skip + take > len(start):
                raise UsageError(
                    f"{part.path} holds {len(start):,} records, and {part.skip + take:,} are "
                    "expected: it was not written to its end. Prepare the data again."
                )
            chosen = slice(part.skip, part.skip + take)
            offsets.append(start[chosen])
            lengths.append(length[chosen])
            files.append(np.full(take, k))
        self._parts = parts
        self.lengths = np.concatenate(lengths)
        self._paths = [part.path for part in parts]
        self._files = np.concatenate(files)
        self._numbers = np.concatenate(
            [part.skip + np.arange(len(n)) for part, n in zip(parts, offsets, strict=True)]
        )
        with tf.init_scope(), tf.device("CPU:0"):
            self._path = tf.constant([os.fsencode(path) for path in self._paths])
            self._size = tf.constant([os.path.getsize(p) for p in self._paths], tf.int64)
            self._file = tf.constant(self._files, tf.int64)
            self._offset = tf.constant(np.concatenate(offsets))
            self._length = tf.constant(self.lengths)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: Tensor) -> Tensor:
        """The data of a record (int64 []), a string tensor []; works in graphs."""
        k = self._file[index]
        return read_range(self._path[k], self._offset[index], self._length[index], self._size[k])

    def in_order(self) -> tf.data.Dataset:
        """All records one after another: faster than by index."""
        skips = tf.constant([part.skip for part in self._parts], tf.int64)
        takes = [-1 if part.take is None else part.take for part in self._parts]
        files = tf.data.Dataset.from_tensor_slices(
            (self._path, skips, tf.constant(takes, tf.int64))
        )
        return files.flat_map(
            lambda path, skip, take: tf.data.TFRecordDataset(path).skip(skip).take(take)
        )

    def file_of(self, index: int) -> str:
        """The file that a record lies in."""
        return self._paths[self._files[index]]

    def location(self, index: int) -> str:
        """Where a record is stored, for messages."""
        return f"Record {self._numbers[index]} of {visible(self.file_of(index))}"


_LEVELS = range(2, 13)  # resolutions 4 to 4,096
_FFHQ_FORMAT = {
    "shape": tf.io.FixedLenFeature([3], tf.int64),
    "data": tf.io.FixedLenFeature([], tf.string),
}


@DATASETS.register
class FFHQ(EncodedImages):
    """Images from ``ffhq-r10.tfrecords`` and the like: ``shape`` (C, H, W) and ``data``, uint8 CHW.

    Such a file holds one resolution, 2^level: r10 is 1,024 pixels. Records are found by an index of
    their offsets, so they are read in any order, uncompressed.

    For the official folders of PNG files use `ImageFolder`, or ``lcss prepare`` and `TFDS`.

    Args:
      path: a file, or a folder with ``*-r<level>.tfrecords``; it need not exist yet.
      resolution: height and width of the examples, in pixels. A power of two with a file of its own
        is read as it is; others are resized from the next larger.
      channels: 1 or 3, those of the files.
      test_every: the first of every so many records is held out.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].
      on_bad_example, cache_mib: see `EncodedImages`.

    Raises:
      UsageError: a number out of its range.
    """

    def __init__(
        self,
        path: str,
        resolution: int = 1024,
        channels: int = 3,
        test_every: int = 50,
        flip: bool = False,
        centered: bool = True,
        on_bad_example: str = "error",
        cache_mib: int = CACHE_MIB,
    ) -> None:
        if resolution < 1 or channels not in (1, 3) or test_every < 2:
            raise UsageError(
                "FFHQ needs resolution >= 1, channels of 1 or 3 and test_every >= 2; got "
                f"{resolution}, {channels} and {test_every}."
            )
        shape = (resolution, resolution, channels)
        super().__init__("ffhq", shape, flip, centered, on_bad_example, cache_mib)
        self.path = absolute(path)
        self.test_every = test_every
        self._records: Records | None = None

    def file(self) -> str:
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

    def _open(self, split: str) -> Records:
        super()._open(split)
        if self._records is None:
            self._records = Records([FilePart(self.file())])
            splits = held_out(len(self._records), self.test_every)
            self._chosen = splits
            with tf.init_scope(), tf.device("CPU:0"):
                self._places = {name: tf.constant(k, tf.int64) for name, k in splits.items()}
        if not len(self._chosen[split]):
            raise UsageError(
                f"{self.file()} holds {len(self._records)} images: none is left for the split "
                f"{split!r}. At least two are needed."
            )
        return self._records

    def size(self, split: str = "train") -> int:
        """The number of records of a split."""
        self._open(split)
        return len(self._chosen[split])

    def sizes(self, split: str) -> Array:
        """See `EncodedImages.sizes`; of the records."""
        return self._open(split).lengths[self._chosen[split]]

    def content(self, index: Tensor, split: str) -> Tensor:
        """The record, a serialised Example."""
        return self._open(split).read(self._places[split][index])

    def pixels(self, index: Tensor, split: str) -> Tensor:
        """See `EncodedImages.pixels`."""
        return _ffhq_image(self.content(index, split), self.shape)

    def inspect(self, content: Any) -> tuple[ImageHeader, Array]:
        """See `EncodedImages.inspect`."""
        try:
            shape = tf.io.parse_single_example(content, _FFHQ_FORMAT)["shape"].numpy().tolist()
            pixels = _ffhq_image(content, self.shape).numpy()
        except tf.errors.OpError as error:
            raise BadImageError(
                "it holds no 'shape' of three numbers and 'data' of as many bytes, with "
                f"{self.shape[2]} channels ({error.message[:120]})"
            ) from error
        return ImageHeader("CHW", (shape[2], shape[1]), "RGB" if shape[0] == 3 else "L"), pixels

    def location(self, index: int, split: str) -> str:
        """See `EncodedImages.location`."""
        return self._open(split).location(int(self._chosen[split][index]))

    def file_of(self, index: int, split: str) -> str:
        """See `EncodedImages.file_of`."""
        return self._open(split).file_of(int(self._chosen[split][index]))


def _ffhq_image(record: Tensor, shape: Shape) -> Tensor:
    parsed = tf.io.parse_single_example(record, _FFHQ_FORMAT)
    image = tf.reshape(tf.io.decode_raw(parsed["data"], tf.uint8), parsed["shape"])
    image = tf.transpose(image, [1, 2, 0])
    channels = tf.shape(image)[2]
    tf.debugging.Assert(channels == shape[2], ["channels:", channels])
    return fitted(image, shape)


_TFDS_IMAGE = {"image": tf.io.FixedLenFeature([], tf.string)}


class _Prepared:
    """A split that TFDS prepared: encoded images by index, and their labels.

    Args:
      records: of the split.
      has_labels: whether they hold a feature ``label``.
    """

    def __init__(self, records: Records, has_labels: bool) -> None:
        self._records, self._has_labels = records, has_labels
        self.lengths = records.lengths  # of the records, in bytes

    def __len__(self) -> int:
        return len(self._records)

    def content(self, index: Tensor) -> Tensor:
        """The encoded image at an index (int64 []), a string tensor []."""
        return _tfds_image(self._records.read(index))

    def in_order(self) -> tf.data.Dataset:
        """All encoded images one after another: faster than by index."""
        return self._records.in_order().map(_tfds_image)

    def location(self, index: int) -> str:
        """Where an image is stored, for messages."""
        return self._records.location(index)

    def labels(self) -> Array | None:
        """int64 [size], or None."""
        if not self._has_labels:
            return None
        form = {"label": tf.io.FixedLenFeature([], tf.int64)}
        parsed = self._records.in_order().map(
            lambda record: tf.io.parse_single_example(record, form)["label"],
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return np.fromiter(parsed.as_numpy_iterator(), np.int64, len(self))


def _tfds_image(record: Tensor) -> Tensor:
    return tf.io.parse_single_example(record, _TFDS_IMAGE)["image"]


class _FromIdx:
    """The same of a split of IDX files, whose images are encoded as they are asked for."""

    def __init__(self, data: Idx, split: str) -> None:
        self._data, self._split = data, split
        self.lengths = np.full(len(self), math.prod(data.shape), np.int64)  # before encoding

    def __len__(self) -> int:
        return self._data.size(self._split)

    def content(self, index: Tensor) -> Tensor:
        return tf.io.encode_png(self._data.raw(index[None], self._split)[0])

    def in_order(self) -> tf.data.Dataset:
        content = tf.autograph.experimental.do_not_convert(self.content)
        return tf.data.Dataset.range(len(self)).map(content)

    def location(self, index: int) -> str:
        return f"Image {index} of the split {self._split!r} of {visible(self._data.paths().path)}"

    def labels(self) -> Array | None:
        return self._data.labels(self._split)


@DATASETS.register
class TFDS(EncodedImages):
    """A prepared dataset with a feature ``image`` (and maybe ``label``), e.g. CIFAR-10.

    It is read from the disk alone: nothing is downloaded unless `download` is set. Its records are
    found by an index of their offsets, so they are read in any order.

    Of MNIST's family the original IDX files do as well: in the folder of that name in `data_dir`,
    or where `FashionMNIST` looks. What TFDS prepared is taken first.

    Args:
      name: as TFDS knows it, with a configuration or a version if wanted: ``"cifar10"``,
        ``"cifar10:3.0.2"``, ``"celeb_a_hq/256"``. Without a version the newest is taken.
      shape: (height, width, channels) of the examples; stored images of another size are resized.
      data_dir: where TFDS keeps its datasets; by default ``$TFDS_DATA_DIR``, else
        ``~/tensorflow_datasets``.
      train_split, test_split: what TFDS calls them; slices such as ``"train[:90%]"`` work.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].
      download: let TFDS download and prepare what is missing.
      on_bad_example, cache_mib, fit: see `EncodedImages`.
    """

    def __init__(
        self,
        name: str,
        shape: Shape,
        data_dir: str | None = None,
        train_split: str = "train",
        test_split: str = "test",
        flip: bool = False,
        centered: bool = True,
        download: bool = False,
        on_bad_example: str = "error",
        cache_mib: int = CACHE_MIB,
        fit: str = "crop",
    ) -> None:
        super().__init__(name, shape, flip, centered, on_bad_example, cache_mib, fit)
        self.data_dir = data_dir
        self._split_names = dict(zip(SPLITS, (train_split, test_split), strict=True))
        self._download = download
        self._opened: dict[str, _Prepared | _FromIdx] = {}
        self._local: Idx | None = None
        self._labels: dict[str, Array | None] = {}

    def folder(self) -> str:
        """The folder of the prepared dataset.

        Raises:
          FileNotFoundError: it is not prepared; says where it was looked for, and the command
            that prepares it.
        """
        data_dir = tfds_folder(self.data_dir)
        name, _, version = self.name.partition(":")
        place = os.path.join(data_dir, *name.split("/"))
        found = self._versions(place, version)
        if not found and self._download:
            import tensorflow_datasets as tfds  # slow to import, so only when used

            tfds.builder(self.name, data_dir=data_dir).download_and_prepare()
            found = self._versions(place, version)
        if not found:
            height, width, _ = self.shape
            raise FileNotFoundError(
                f"The dataset {self.name!r} is not prepared: there is no "
                f"{os.path.join(place, version or '<version>', 'dataset_info.json')}. Prepare it "
                f"once, with the network, by:\n  tfds build {self.name} --data_dir={data_dir}\n"
                "or, from images that you have (FFHQ's too), by:\n  lcss prepare "
                f"--source=… --resolution={height}{'' if height == width else f'x{width}'} "
                f"--out={data_dir} --name={name}\n"
                "or set TFDS.download = True, or TFDS.data_dir to where it is."
            )
        return os.path.join(place, found[-1])

    def _versions(self, place: str, version: str) -> list[str]:
        found = sorted(_prepared_versions(place), key=_version_key)
        return [other for other in found if other == version] if version else found

    def _builder(self) -> Any:
        folder = self.folder()
        import tensorflow_datasets as tfds  # slow to import, so only when used

        _check_features(os.path.join(folder, "features.json"))
        try:
            return tfds.builder_from_directory(folder)
        except Exception as error:  # of damaged JSON, protobufs and versions: many kinds
            if isinstance(error, ImportError):
                raise
            raise UsageError(
                f"The prepared dataset {folder} cannot be opened ({error}): dataset_info.json or "
                "features.json is damaged. Prepare it again, or copy it again."
            ) from error

    def _open(self, split: str) -> _Prepared | _FromIdx:
        super()._open(split)
        if split not in self._opened:
            try:
                self._opened[split] = self._prepared(split)
            except FileNotFoundError:
                self._local = local_idx(self.name, self.data_dir)
                if self._local is None:
                    raise
                if self._split_names[split] != split:
                    raise UsageError(
                        f"{self.name} lies there as IDX files, which have the splits {SPLITS}; got "
                        f"TFDS.{split}_split = {self._split_names[split]!r}. Prepare it for other "
                        f"splits: tfds build {self.name}"
                    ) from None
                self._opened[split] = _FromIdx(self._local, split)
        return self._opened[split]

    def _prepared(self, split: str) -> _Prepared:
        builder = self._builder()
        if "image" not in builder.info.features:
            raise UsageError(
                f"The dataset {self.name!r} has no feature 'image'; it has "
                f"{sorted(builder.info.features)}. Choose a dataset of images."
            )
        if builder.info.file_format.file_suffix != "tfrecord":
            raise UsageError(
                f"The dataset {self.name!r} is stored as {builder.info.file_format.value}; "
                "TFRecord files are read. Prepare it by: "
                f"tfds build {self.name} --file_format=tfrecord"
            )
        try:
            instructions = builder.info.splits[self._split_names[split]].file_instructions
        except (KeyError, ValueError) as error:
            raise UsageError(
                f"The dataset {self.name!r} has no split {self._split_names[split]!r}; it has "
                f"{sorted(builder.info.splits)}. Set TFDS.{split}_split."
            ) from error
        records = Records([_file_part(instruction) for instruction in instructions])
        return _Prepared(records, "label" in builder.info.features)

    def size(self, split: str = "train") -> int:
        """The number of images of a split."""
        return len(self._open(split))

    def sizes(self, split: str) -> Array:
        """See `EncodedImages.sizes`; of the records."""
        return self._open(split).lengths

    def content(self, index: Tensor, split: str) -> Tensor:
        """See `EncodedImages.content`."""
        return self._open(split).content(index)

    def in_order(self, split: str) -> tf.data.Dataset:
        """See `EncodedImages.in_order`; where nothing is skipped, shards are read sequentially."""
        if self.on_bad_example == "skip":
            return super().in_order(split)
        decode = tf.autograph.experimental.do_not_convert(
            lambda content: decode_bytes(content, self.shape, self.fit)
        )
        return self._open(split).in_order().map(decode, num_parallel_calls=tf.data.AUTOTUNE)

    def location(self, index: int, split: str) -> str:
        """See `EncodedImages.location`."""
        return self._open(split).location(index)

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`: as the dataset's description gives them."""
        self._open("train")
        if self._local is not None:
            return self._local.class_names()
        features = self._builder().info.features
        return list(getattr(features["label"], "names", None) or []) if "label" in features else []

    def labels(self, split: str = "train") -> Array | None:
        """The feature ``label`` of a split, int64 [size]; None if there is none."""
        opened = self._open(split)
        if split not in self._labels:
            self._labels[split] = opened.labels()
        return self._labels[split]


def _check_features(path: str) -> None:
    """Raises a UsageError if a dataset's description names classes that would have to be imported.

    TFDS imports whatever module the file names. Those of TFDS itself are let through, and those
    that the user has imported.
    """
    if not os.path.isfile(path):
        return
    for name in _class_names(read_json(path, dict)):
        module = name.rpartition(".")[0]
        if not name.startswith("tensorflow_datasets.") and module not in sys.modules:
            raise UsageError(
                f"{path} names the feature {name!r}, and TFDS would run the module {module!r} to "
                "read it. If you trust it, import it first (--import on the command line)."
            )


def _class_names(value: Any) -> Iterator[str]:
    """The classes that TFDS's description of features names; "type" is of older versions."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("pythonClassName", "python_class_name", "type") and isinstance(part, str):
                yield from [part] if "." in part else []
            else:
                yield from _class_names(part)
    elif isinstance(value, list):
        for part in value:
            yield from _class_names(part)


def _file_part(instruction: Any) -> FilePart:
    path = os.fspath(instruction.filename)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"The shard {path} is gone. Prepare the dataset again, or copy the shard back."
        )
    take = instruction.take
    return FilePart(path, instruction.skip, None if take in (None, -1) else take)


def _prepared_versions(place: str) -> list[str]:
    if not os.path.isdir(place):
        return []
    return [v for v in os.listdir(place) if os.path.exists(f"{place}/{v}/dataset_info.json")]


def _version_key(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


__all__ = ["FFHQ", "TFDS", "FilePart", "Records", "masked_crc", "record_index"]
