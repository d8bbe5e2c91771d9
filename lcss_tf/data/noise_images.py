"""Images of noise, of any shape: to time things with, and to build configurations without data."""

import numpy as np

from lcss_tf.data.image_dataset import MemoryImages
from lcss_tf.registry import DATASETS


@DATASETS.register
class NoiseImages(MemoryImages):
    """Uniform noise, the same at every call, with labels from 0 to 9.

    Args:
      shape: (height, width, channels).
      count: images.
      centered: scale to [−1, 1]; otherwise to [0, 1].
    """

    def __init__(self, shape=(32, 32, 3), count=64, centered=True):
        super().__init__("noise", shape, flip=False, centered=centered)
        self._count = count

    def load(self, split):
        """Makes a split; see `MemoryImages.load`."""
        random = np.random.default_rng(("train", "test").index(split))
        shape = (self._count, *self.shape)
        return random.integers(0, 256, shape, np.uint8), np.arange(self._count) % 10
