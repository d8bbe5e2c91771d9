"""Short videos: a handwritten digit that moves and bounces off the walls."""

import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.base import Dataset
from lcss_tf.data.digits import Digits
from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS

_DIGIT = 8  # pixels


@DATASETS.register
class MovingDigits(Dataset):
    """Volumes (frames, size, size, 1) of bytes, endless: real digits on simulated paths.

    The digits of a split are those of `Digits`, so held-out videos show held-out digits. Place
    and velocity are uniform; between pixels the digit is interpolated linearly.

    Args:
      frames: of one video.
      size: height and width; more than 8.
      fastest: of the velocities along each axis, in pixels a frame.

    Raises:
      ValueError: a number out of its range.
    """

    kind = "volume"

    def __init__(self, frames=8, size=16, fastest=2.5):
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

    def size(self, split="train"):
        """None: endless."""
        del split

    def examples(self, indices, split="train", seed=0):
        """The videos at `indices`; see `Dataset.examples`."""
        frames, size = self.shape[:2]
        draws = hashing.uniform(hashing.stream_key(seed, self.name, split), indices, 5)
        count = self._digits.size(split)
        which = tf.cast(tf.cast(draws[:, 0], tf.float64) * count, tf.int64)
        digits = tf.cast(self._digits.stored(which, split)[..., 0], tf.float32)
        room = float(size - _DIGIT)
        velocity = (2.0 * draws[:, 3:] - 1.0) * self._fastest
        path = draws[:, None, 1:3] * room + velocity[:, None] * tf.range(
            frames, dtype=tf.float32
        )[:, None]  # fmt: skip
        # Reflection at 0 and at `room`: a triangle wave.
        path = room - tf.abs(tf.math.floormod(path, 2.0 * room) - room)
        pixels = tf.range(size, dtype=tf.float32)[:, None] - tf.range(_DIGIT, dtype=tf.float32)
        weights = tf.nn.relu(1.0 - tf.abs(pixels - path[..., None, None]))  # [B, frames, 2, y, i]
        video = tf.einsum(
            "bfyi,bij,bfxj->bfyx", weights[:, :, 0], digits, weights[:, :, 1], optimize="greedy"
        )
        return self.scaling.scale(tf.round(tf.clip_by_value(video, 0.0, 255.0))[..., None])
