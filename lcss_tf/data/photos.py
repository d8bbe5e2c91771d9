"""Crops of the two photographs that scikit-learn ships: natural images without a download."""

import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.image_dataset import ImageDataset
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS

_LARGEST = 256  # pixels; the photographs are 427×640


@DATASETS.register
class Photos(ImageDataset):
    """Square crops at random places of "china" and "flower", endless.

    Crop i is a pure function of (seed, split, i). The crops of the two splits are drawn
    independently from the same two photographs, so they overlap: held-out crops tell whether
    training went wrong, not how well a model generalises.

    Args:
      resolution: height and width in pixels, at most 256.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].

    Raises:
      ValueError: another resolution.
    """

    def __init__(self, resolution=64, flip=False, centered=True):
        if not 1 <= resolution <= _LARGEST:
            raise UsageError(
                f"Photos.resolution must lie between 1 and {_LARGEST} pixels; got {resolution}."
            )
        super().__init__("photos", (resolution, resolution, 3), flip, centered)
        self._photographs = None

    def _open(self):
        if self._photographs is None:
            from sklearn.datasets import load_sample_images  # slow to import, so only when used

            with tf.init_scope(), tf.device("CPU:0"):
                self._photographs = tf.constant(np.stack(load_sample_images().images), tf.uint8)
        return self._photographs

    def size(self, split="train"):
        """None: endless."""
        del split

    def stored(self, indices, split="train", seed=0):
        """The crops at `indices`; see `ImageDataset.stored`."""
        self.require(split)
        photographs = self._open()
        draws = hashing.uniform(hashing.stream_key(seed, self.name, split), indices, 3)
        places = tf.constant(
            [photographs.shape[0], *(n - self.shape[0] + 1 for n in photographs.shape[1:3])]
        )
        # float64: a float32 product could round up to the number of places itself.
        corners = tf.cast(tf.cast(draws, tf.float64) * tf.cast(places, tf.float64), tf.int32)
        resolution = self.shape[0]

        def crop(corner):
            photo, top, left = tf.unstack(corner)
            return tf.slice(
                photographs, [photo, top, left, 0], [1, resolution, resolution, 3]
            )[0]  # fmt: skip

        return tf.map_fn(crop, corners, fn_output_signature=tf.TensorSpec(self.shape, tf.uint8))
