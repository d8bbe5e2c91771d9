"""The checkerboard: sharp edges and holes in two dimensions."""

import math

import tensorflow as tf

from lcss_tf.data.toy import Toy
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS


@DATASETS.register
class Checkerboard(Toy):
    """The uniform law on the dark squares of a board of cells×cells on [−√3, √3]².

    Each coordinate is uniform on [−√3, √3], so it has mean 0 and variance 1.

    Args:
      cells: squares along one side; even, so that half of them are dark.

    Raises:
      ValueError: an odd number of cells, or fewer than two.
    """

    half_width = math.sqrt(3.0)

    def __init__(self, cells=4):
        if cells < 2 or cells % 2:
            raise UsageError(f"Checkerboard.cells must be even and at least 2; got {cells}.")
        super().__init__("checkerboard", dimension=2, num_uniforms=3)
        self.cells = cells
        self._cell = 2.0 * self.half_width / cells

    def draw(self, uniforms):
        """See `Toy.draw`: a row, one of its dark squares, a point in it."""
        row = uniforms[:, 1] * self.cells  # in units of one cell
        dark = tf.floor(uniforms[:, 0] * (self.cells // 2))
        column = 2.0 * dark + tf.math.floormod(tf.floor(row), 2.0) + uniforms[:, 2]
        return tf.stack([column, row], axis=1) * self._cell - self.half_width

    def log_density(self, x):
        """See `Toy.log_density`."""
        x = tf.convert_to_tensor(x)
        inside = tf.reduce_all(tf.abs(x) <= self.half_width, axis=1)
        cell = tf.floor((x + self.half_width) / self._cell)
        dark = tf.math.floormod(tf.reduce_sum(cell, axis=1), 2.0) < 0.5
        level = -math.log(2.0 * self.half_width**2)  # half of the board's area
        return tf.where(inside & dark, tf.cast(level, x.dtype), tf.cast(-math.inf, x.dtype))
