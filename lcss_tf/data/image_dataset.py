"""Images: uint8 in storage, scaled on reading, flipped in training if asked."""

import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.base import Dataset
from lcss_tf.data.scaling import Scaling


class ImageDataset(Dataset):
    """The base of image datasets: a subclass gives `size` and `stored`.

    Args:
      name: of the dataset.
      shape: (height, width, channels).
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1], as VP SDEs want it; otherwise to [0, 1], for VE SDEs.
      levels: how many grey levels there are, evenly spaced from 0 to 255.
    """

    kind = "image"

    def __init__(self, name, shape, flip=False, centered=True, levels=256):
        self.name = name
        self.shape = tuple(shape)
        self.flip = flip
        self.scaling = Scaling.for_images(centered, levels)
        self.info()  # checks the shape

    def stored(self, indices, split):
        """The images at `indices` (int64 [B]) as they are stored: uint8 [B, H, W, C]."""
        raise NotImplementedError

    def examples(self, indices, split="train", seed=0):
        """The images at `indices`; see `Dataset.examples`. The seed changes nothing."""
        del seed
        return self.scaling.scale(self.stored(indices, split))

    def augment(self, examples, positions, seed):
        """Mirrors the images whose visit draws it; see `Dataset.augment`."""
        if not self.flip:
            return examples
        draws = hashing.uniform(hashing.stream_key(seed, "flip"), positions, 1)
        # Select takes a condition for each row; tf.where would broadcast it to every pixel, which
        # costs as much as decoding the image.
        return tf.raw_ops.Select(
            condition=draws[:, 0] < 0.5, x=tf.reverse(examples, axis=[2]), y=examples
        )


class MemoryImages(ImageDataset):
    """Images that fit into memory: a subclass gives `load`.

    The arguments are those of `ImageDataset`.
    """

    def __init__(self, name, shape, flip=False, centered=True, levels=256):
        super().__init__(name, shape, flip, centered, levels)
        self._opened = {}

    def load(self, split):
        """Reads a split: uint8 [N, H, W, C], and labels int64 [N] or None (NumPy)."""
        raise NotImplementedError

    def _open(self, split):
        if split not in self._opened:
            Dataset.require(self, split)
            # Outside any graph that is being traced. An eager tensor on the host: a NumPy array
            # would be copied into every graph.
            with tf.init_scope(), tf.device("CPU:0"):
                images, labels = self.load(split)
                self._opened[split] = tf.constant(images, tf.uint8), labels
        return self._opened[split]

    def size(self, split="train"):
        """The number of images of a split."""
        return int(self._open(split)[0].shape[0])

    def stored(self, indices, split):
        """The images at `indices`; see `ImageDataset.stored`."""
        return tf.gather(self._open(split)[0], indices)

    def labels(self, split="train"):
        """The classes of the images, int64 [N], or None."""
        labels = self._open(split)[1]
        return None if labels is None else np.asarray(labels, np.int64)
