"""Image datasets prepared by TensorFlow Datasets, of any size."""

import os
import re

import numpy as np
import tensorflow as tf

from lcss_tf.data.base import SPLITS
from lcss_tf.data.decode import decode_bytes
from lcss_tf.data.encoded_images import CACHE_MIB, EncodedImages
from lcss_tf.data.records import Part, Records
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS

_IMAGE = {"image": tf.io.FixedLenFeature([], tf.string)}


@DATASETS.register
class TFDS(EncodedImages):
    """A prepared dataset with a feature ``image`` (and maybe ``label``), e.g. CIFAR-10.

    It is read from the disk alone: nothing is downloaded unless `download` says so. Its records
    are found by an index of their offsets, so they are read in any order.

    Args:
      name: as TFDS knows it, with a configuration or a version if wanted: ``"cifar10"``,
        ``"cifar10:3.0.2"``, ``"celeb_a_hq/256"``. Without a version the newest is taken.
      shape: (height, width, channels) of the examples; stored images of another size
        are cropped to the centre and resized.
      data_dir: where TFDS keeps its datasets; by default ``$TFDS_DATA_DIR``, else
        ``~/tensorflow_datasets``.
      train_split, test_split: what TFDS calls them; slices such as ``"train[:90%]"`` work.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].
      download: let TFDS download and prepare what is not there.
      on_bad_example, cache_mib: see `EncodedImages`.
    """

    def __init__(
        self,
        name,
        shape,
        data_dir=None,
        train_split="train",
        test_split="test",
        flip=False,
        centered=True,
        download=False,
        on_bad_example="error",
        cache_mib=CACHE_MIB,
    ):
        super().__init__(name, shape, flip, centered, on_bad_example, cache_mib)
        self.data_dir = data_dir
        self._split_names = dict(zip(SPLITS, (train_split, test_split), strict=True))
        self._download = download
        self._records = {}
        self._labels = {}

    def folder(self):
        """The folder of the prepared dataset.

        Raises:
          FileNotFoundError: it is not prepared; says where it was looked for, and
            the command that prepares it.
        """
        name, _, version = self.name.partition(":")
        data_dir = self.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        data_dir = os.path.abspath(os.path.expanduser(data_dir))
        place = os.path.join(data_dir, *name.split("/"))
        found = self._versions(place, version)
        if not found and self._download:
            import tensorflow_datasets as tfds  # slow to import, so only when used

            tfds.builder(self.name, data_dir=data_dir).download_and_prepare()
            found = self._versions(place, version)
        if not found:
            raise FileNotFoundError(
                f"The dataset {self.name!r} is not prepared: there is no "
                f"{os.path.join(place, version or '<version>', 'dataset_info.json')}. Prepare it "
                f"once, with the network, by:\n  tfds build {self.name} --data_dir={data_dir}\n"
                "or, of images that you have (FFHQ's too), by:\n  python bin/prepare_data.py "
                f"--source=… --resolution={self.shape[0]} --out={data_dir} --name={name}\n"
                "or bind TFDS.download = True, or set TFDS.data_dir to where it is."
            )
        return os.path.join(place, found[-1])

    def _versions(self, place, version):
        found = sorted(_prepared_versions(place), key=_version_key)
        return [other for other in found if other == version] if version else found

    def _builder(self):
        import tensorflow_datasets as tfds  # slow to import, so only when used

        return tfds.builder_from_directory(self.folder())

    def _open(self, split):
        super().require(split)
        if split in self._records:
            return self._records[split]
        builder = self._builder()
        if "image" not in builder.info.features:
            raise UsageError(
                f"The dataset {self.name!r} has no feature 'image'; it has "
                f"{sorted(builder.info.features)}."
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
        self._records[split] = Records([_part(instruction) for instruction in instructions])
        return self._records[split]

    def require(self, split="train"):
        """See `Dataset.require`; reads one image, and all records' lengths."""
        self._open(split)
        if self.on_bad_example == "error":
            self.explain([0], split)

    def size(self, split="train"):
        """The number of images of a split."""
        return len(self._open(split))

    def content(self, index, split):
        """See `EncodedImages.content`."""
        record = self._open(split).read(index)
        return tf.io.parse_single_example(record, _IMAGE)["image"]

    def in_order(self, split):
        """See `EncodedImages.in_order`; where nothing is skipped the shards are read through."""
        if self.on_bad_example == "skip":
            return super().in_order(split)
        return (
            self._open(split)
            .in_order()
            .map(
                lambda record: decode_bytes(
                    tf.io.parse_single_example(record, _IMAGE)["image"], self.shape
                ),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        )

    def place_of(self, index, split):
        """See `EncodedImages.place_of`."""
        return self._open(split).place_of(index)

    def labels(self, split="train"):
        """The feature ``label`` of a split, int64 [size]; None if there is none."""
        records = self._open(split)
        if split not in self._labels:
            labels = None
            if "label" in self._builder().info.features:
                form = {"label": tf.io.FixedLenFeature([], tf.int64)}
                parsed = records.in_order().map(
                    lambda record: tf.io.parse_single_example(record, form)["label"],
                    num_parallel_calls=tf.data.AUTOTUNE,
                )
                labels = np.fromiter(parsed.as_numpy_iterator(), np.int64, len(records))
            self._labels[split] = labels
        return self._labels[split]


def _part(instruction):
    path = os.fspath(instruction.filename)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"The shard {path} is gone. Prepare the dataset again, or copy the shard back."
        )
    take = instruction.take
    return Part(path, instruction.skip, None if take in (None, -1) else take)


def _prepared_versions(place):
    if not os.path.isdir(place):
        return []
    return [v for v in os.listdir(place) if os.path.exists(f"{place}/{v}/dataset_info.json")]


def _version_key(version):
    return [int(number) for number in re.findall(r"\d+", version)]
