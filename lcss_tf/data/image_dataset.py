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

    def stored(self, indices, split="train", seed=0):
        """The images at `indices` (int64 [B]) as they are stored: uint8 [B, H, W, C].

        Only images that are drawn, not read, depend on the seed.
        """
        raise NotImplementedError

    def examples(self, indices, split="train", seed=0):
        """The images at `indices`; see `Dataset.examples`."""
        return self.scaling.scale(self.stored(indices, split, seed))

    def flipped(self, indices, split, seed, flips):
        """`stored`, those images mirrored left to right that `flips`, bool [B], says."""
        return _mirrored(self.stored(indices, split, seed), flips)

    def visits(self, indices, positions, split="train", seed=0):
        """The images, those mirrored whose visit draws it; see `Dataset.visits`."""
        if not self.flip:
            return self.examples(indices, split, seed)
        draws = hashing.uniform(hashing.stream_key(seed, "flip"), positions, 1)
        return self.scaling.scale(self.flipped(indices, split, seed, draws[:, 0] < 0.5))


def _mirrored(images, flips):
    # As bytes, before they are scaled, and only those that are to be.
    part = tf.cast(flips, tf.int32)
    straight, others = tf.dynamic_partition(images, part, 2)
    others = tf.reverse(others, axis=[2])
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), part, 2)
    return tf.ensure_shape(tf.dynamic_stitch(places, [straight, others]), images.shape)


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

    def stored(self, indices, split="train", seed=0):
        """The images at `indices`; see `ImageDataset.stored`."""
        del seed
        return tf.gather(self._open(split)[0], indices)

    def labels(self, split="train"):
        """The classes of the images, int64 [N], or None."""
        labels = self._open(split)[1]
        return None if labels is None else np.asarray(labels, np.int64)
