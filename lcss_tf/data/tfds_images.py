"""Image datasets prepared by TensorFlow Datasets, held in memory."""

import os
import re

import numpy as np

from lcss_tf.data.base import SPLITS
from lcss_tf.data.decode import fit
from lcss_tf.data.image_dataset import MemoryImages
from lcss_tf.registry import DATASETS

_MAX_BYTES = 8 * 2**30


@DATASETS.register
class TFDS(MemoryImages):
    """A prepared dataset with a feature ``image`` (and maybe ``label``), e.g. CIFAR-10.

    It is read from the disk alone: nothing is ever downloaded.

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
    ):
        super().__init__(name, shape, flip, centered)
        self.data_dir = data_dir
        self._split_names = dict(zip(SPLITS, (train_split, test_split), strict=True))

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
        found = sorted(_prepared_versions(place), key=_version_key)
        if version:
            found = [other for other in found if other == version]
        if not found:
            raise FileNotFoundError(
                f"The dataset {self.name!r} is not prepared: there is no "
                f"{os.path.join(place, version or '<version>', 'dataset_info.json')}. Prepare it "
                f"once, with the network, by:\n  tfds build {self.name} --data_dir={data_dir}\n"
                "or set TFDS.data_dir to where it is."
            )
        return os.path.join(place, found[-1])

    def _builder(self):
        import tensorflow_datasets as tfds  # slow to import, so only when used

        return tfds.builder_from_directory(self.folder())

    def _size_on_disk(self, builder, split):
        try:
            return builder.info.splits[self._split_names[split]].num_examples
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"The dataset {self.name!r} has no split {self._split_names[split]!r}; it has "
                f"{sorted(builder.info.splits)}. Set TFDS.{split}_split."
            ) from error

    def require(self, split="train"):
        """See `Dataset.require`; reads no images."""
        super().require(split)
        builder = self._builder()
        num_bytes = self._size_on_disk(builder, split) * int(np.prod(self.shape))
        if "image" not in builder.info.features:
            raise ValueError(
                f"The dataset {self.name!r} has no feature 'image'; it has "
                f"{sorted(builder.info.features)}."
            )
        if num_bytes > _MAX_BYTES:
            raise ValueError(
                f"The dataset {self.name!r} takes {num_bytes / 2**30:.0f} GiB at {self.shape}, "
                f"and TFDS holds at most {_MAX_BYTES >> 30} GiB in memory. Choose a smaller "
                "shape, or save it as image files for ImageFolder, which reads from the disk."
            )

    def load(self, split):
        """Reads a split; see `MemoryImages.load`."""
        import tensorflow_datasets as tfds

        self.require(split)
        builder = self._builder()
        read_config = tfds.ReadConfig(interleave_cycle_length=1)  # the order of the files
        records = builder.as_dataset(
            split=self._split_names[split], shuffle_files=False, read_config=read_config
        )
        images = np.empty((self._size_on_disk(builder, split), *self.shape), np.uint8)
        labels = []
        for i, record in enumerate(records.as_numpy_iterator()):
            if record["image"].shape[-1] != self.shape[2]:
                raise ValueError(
                    f"The images of {self.name!r} have {record['image'].shape[-1]} channels, and "
                    f"TFDS.shape asks for {self.shape[2]}. Change the shape."
                )
            images[i] = fit(record["image"], self.shape)
            labels.append(record.get("label"))
        return images, np.array(labels) if "label" in builder.info.features else None


def _prepared_versions(place):
    if not os.path.isdir(place):
        return []
    return [v for v in os.listdir(place) if os.path.exists(f"{place}/{v}/dataset_info.json")]


def _version_key(version):
    return [int(number) for number in re.findall(r"\d+", version)]
