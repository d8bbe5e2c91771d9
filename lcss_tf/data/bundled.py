"""Data that need no download: digits, photographs, videos of moving digits, images of noise."""

import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.base import Dataset
from lcss_tf.data.images import ImageDataset, MemoryImages
from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array, Shape, Tensor

_WHITE = 16  # the digits' grey levels run from 0 to 16
_TEST_EVERY = 5
_DIGIT = 8  # pixels
_LARGEST = 256  # pixels of a crop; the photographs are 427×640


@DATASETS.register
class Digits(MemoryImages):
    """1,797 digits of 8×8 pixels, from the test part of UCI's optical digits (NIST writers).

    scikit-learn ships them. 1,437 are for training and 360 for testing: of the images sorted by
    class, every fifth. The split never changes and keeps the classes' proportions.

    Args:
      centered: scale to [−1, 1]; otherwise to [0, 1].
    """

    def __init__(self, centered: bool = True) -> None:
        super().__init__(
            "digits", (_DIGIT, _DIGIT, 1), flip=False, centered=centered, levels=_WHITE + 1
        )

    def load(self, split: str) -> tuple[Array, Array]:
        """Reads a split; see `MemoryImages.load`."""
        from sklearn.datasets import load_digits  # slow to import, so only when used

        digits = load_digits()
        by_class = np.argsort(digits.target, kind="stable")
        is_test = np.arange(len(by_class)) % _TEST_EVERY == 0
        chosen = np.sort(by_class[is_test if split == "test" else ~is_test])
        images = np.rint(digits.images[chosen, :, :, None] * (255 / _WHITE)).astype(np.uint8)
        return images, digits.target[chosen]


@DATASETS.register
class MovingDigits(Dataset):
    """Short videos (frames, size, size, 1), uint8, endless: a digit moves and bounces off walls.

    The digits of a split are those of `Digits`, so held-out videos show held-out digits. Place and
    velocity are uniform; between pixels the digit is interpolated linearly.

    Args:
      frames: of one video.
      size: height and width, in pixels; more than 8.
      fastest: bound of the velocity along each axis, in pixels per frame.

    Raises:
      UsageError: a number out of its range.
    """

    kind = "volume"

    def __init__(self, frames: int = 8, size: int = 16, fastest: float = 2.5) -> None:
        if frames < 1 or size <= _DIGIT or fastest < 0:
            raise UsageError(
                f"MovingDigits needs frames >= 1, size > {_DIGIT} and fastest >= 0; got {frames}, "
                f"{size} and {fastest}."
            )
        self.name = "moving digits"
        self.shape = (frames, size, size, 1)
        self.scaling = Scaling.for_images()
        self._fastest = fastest
        self._digits = Digits(centered=False)

    def size(self, split: str = "train") -> None:
        """None: endless."""
        del split

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The videos at `indices`; see `Dataset.examples`."""
        frames, size = self.shape[:2]
        draws = hashing.uniform(hashing.stream_key(seed, self.name, split), indices, 5)
        count = self._digits.size(split)
        which = tf.cast(tf.cast(draws[:, 0], tf.float64) * count, tf.int64)
        digits = tf.cast(self._digits.stored(which, split)[..., 0], tf.float32)
        room = float(size - _DIGIT)
        velocity = (2.0 * draws[:, 3:] - 1.0) * self._fastest
        times = tf.range(frames, dtype=tf.float32)[:, None]
        path = draws[:, None, 1:3] * room + velocity[:, None] * times
        # Reflection at 0 and at `room`: a triangle wave.
        path = room - tf.abs(tf.math.floormod(path, 2.0 * room) - room)
        pixels = tf.range(size, dtype=tf.float32)[:, None] - tf.range(_DIGIT, dtype=tf.float32)
        weights = tf.nn.relu(1.0 - tf.abs(pixels - path[..., None, None]))  # [B, frames, 2, y, i]
        video = tf.einsum(
            "bfyi,bij,bfxj->bfyx", weights[:, :, 0], digits, weights[:, :, 1], optimize="greedy"
        )
        return self.scaling.scale(tf.round(tf.clip_by_value(video, 0.0, 255.0))[..., None])


@DATASETS.register
class Photos(ImageDataset):
    """Square crops at random places of the photographs "china" and "flower", endless.

    scikit-learn ships the two. Crop i is a pure function of (seed, split, i). The crops of both
    splits come from the same photographs, so they overlap: held-out crops tell whether training
    went wrong, not how well a model generalises.

    Args:
      resolution: height and width in pixels, at most 256.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].

    Raises:
      UsageError: another resolution.
    """

    def __init__(self, resolution: int = 64, flip: bool = False, centered: bool = True) -> None:
        if not 1 <= resolution <= _LARGEST:
            raise UsageError(
                f"Photos.resolution must lie between 1 and {_LARGEST} pixels; got {resolution}."
            )
        super().__init__("photos", (resolution, resolution, 3), flip, centered)
        self._photographs: Tensor = None

    def _open(self) -> Tensor:
        if self._photographs is None:
            from sklearn.datasets import load_sample_images  # slow to import, so only when used

            with tf.init_scope(), tf.device("CPU:0"):
                self._photographs = tf.constant(np.stack(load_sample_images().images), tf.uint8)
        return self._photographs

    def size(self, split: str = "train") -> None:
        """None: endless."""
        del split

    def stored(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The crops at `indices`; see `ImageDataset.stored`."""
        self.require(split)
        photographs = self._open()
        draws = hashing.uniform(hashing.stream_key(seed, self.name, split), indices, 3)
        places = tf.constant(
            [photographs.shape[0], *(n - self.shape[0] + 1 for n in photographs.shape[1:3])]
        )
        # float64: a float32 product could round up to the number of places itself.
        corners = tf.cast(tf.cast(draws, tf.float64) * tf.cast(places, tf.float64), tf.int32)
        size = [1, self.shape[0], self.shape[0], 3]

        def crop(corner: Tensor) -> Tensor:
            photo, top, left = tf.unstack(corner)
            return tf.slice(photographs, [photo, top, left, 0], size)[0]

        return tf.map_fn(crop, corners, fn_output_signature=tf.TensorSpec(self.shape, tf.uint8))


@DATASETS.register
class NoiseImages(MemoryImages):
    """Uniform noise of any shape, always the same, with labels from 0 to 9: to time things with.

    Args:
      shape: (height, width, channels).
      count: images of each split.
      centered: scale to [−1, 1]; otherwise to [0, 1].
    """

    def __init__(self, shape: Shape = (32, 32, 3), count: int = 64, centered: bool = True) -> None:
        super().__init__("noise", shape, flip=False, centered=centered)
        self._count = count

    def load(self, split: str) -> tuple[Array, Array]:
        """Makes a split; see `MemoryImages.load`."""
        random = np.random.default_rng(("train", "test").index(split))
        shape = (self._count, *self.shape)
        return random.integers(0, 256, shape, np.uint8), np.arange(self._count) % 10


__all__ = ["Digits", "MovingDigits", "NoiseImages", "Photos"]
