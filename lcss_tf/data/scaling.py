"""The one place where data are scaled for the SDE, and scaled back."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Scaling:
    """An affine map from stored values to what the network sees.

        scaled = low + (stored − stored_low)·slope,
        slope = (high − low)/(stored_high − stored_low)

    Attributes:
      low, high: the range of the scaled data.
      stored_low, stored_high: the range of the stored data.
      stored_dtype: ``"uint8"`` (unscaling clips and rounds) or ``"float32"``
        (unscaling is the plain inverse).
      levels: how many values a number can take, evenly spaced over the range: 256 for most
        images. None: continuous data, or not told.
      means, deviations: of each feature of the last axis, for tables: the values above are then
        those of (stored − mean)/deviation; empty: stored as they are.

    Raises:
      ValueError: an empty range, another `stored_dtype`, fewer than two levels, or a deviation that
        is not positive.
    """

    low: float
    high: float
    stored_low: float
    stored_high: float
    stored_dtype: str
    levels: int | None = None
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()

    def __post_init__(self):
        for field in ("means", "deviations"):  # JSON gives lists
            object.__setattr__(self, field, tuple(float(v) for v in getattr(self, field)))
        if len(self.means) != len(self.deviations) or any(v <= 0 for v in self.deviations):
            raise UsageError(
                "A scaling needs one positive deviation for each mean; got "
                f"means {self.means} and deviations {self.deviations}."
            )
        if not (self.low < self.high and self.stored_low < self.stored_high):
            raise UsageError(
                f"A scaling needs low < high and stored_low < stored_high; got [{self.low}, "
                f"{self.high}] and [{self.stored_low}, {self.stored_high}]."
            )
        if self.stored_dtype not in ("uint8", "float32"):
            raise UsageError(
                f"stored_dtype must be 'uint8' or 'float32'; got {self.stored_dtype!r}."
            )
        if self.levels is not None and self.levels < 2:
            raise UsageError(f"Quantised data have at least 2 levels; got {self.levels}.")

    @classmethod
    def for_images(cls, centered=True, levels=256):
        """uint8 0..255 to [−1, 1] (`centered`, for VP SDEs) or to [0, 1] (for VE SDEs)."""
        return cls(-1.0 if centered else 0.0, 1.0, 0.0, 255.0, "uint8", levels=levels)

    @classmethod
    def identity(cls):
        """Floats that are used as they are."""
        return cls(0.0, 1.0, 0.0, 1.0, "float32")

    @classmethod
    def standardising(cls, means, deviations):
        """(stored − mean)/deviation: of each feature of the last axis, or one of each for all."""
        means, deviations = tuple(means), tuple(deviations)
        return cls(0.0, 1.0, 0.0, 1.0, "float32", means=means, deviations=deviations)

    @property
    def slope(self):
        """d scaled / d stored; its logarithm enters the likelihood of stored values.

        With deviations: the geometric mean over features, whose logarithm, times the number of
        values, is that of the map's determinant.
        """
        log_spread = sum(map(math.log, self.deviations)) / max(len(self.deviations), 1)
        return self._range_slope * math.exp(-log_spread)

    @property
    def _range_slope(self):
        return (self.high - self.low) / (self.stored_high - self.stored_low)

    def scale(self, stored):
        """Stored values of any shape to a float32 tensor of the same shape."""
        stored, slope = tf.convert_to_tensor(stored), self._range_slope
        offset = self.low - self.stored_low * slope
        if stored.dtype == tf.uint8 and not self.means:
            # One pass over memory where a cast, a product and a sum are three: at 1024 px 1.7 ms
            # an image and not 3.8, beside 18 ms of decoding. The same numbers, bit for bit.
            pixels = tf.bitcast(stored, tf.quint8)
            return tf.quantization.dequantize(
                pixels, offset, offset + 255 * slope, mode="MIN_COMBINED"
            )
        stored = tf.cast(stored, tf.float32)
        if self.means:
            stored = (stored - tf.constant(self.means)) / tf.constant(self.deviations)
        return stored * slope + offset

    @property
    def level_width(self):
        """The width of one level of `dequantise`, in scaled units.

        Raises:
          ValueError: the data have no levels.
        """
        if self.levels is None:
            raise UsageError(
                "Only data with levels can be dequantised, and this scaling knows of none "
                "(levels = None)."
            )
        return (self.high - self.low) / self.levels

    @property
    def bits_offset(self):
        """−log₂ of `level_width`: what bits/dim of levels have over those of a density.

        Of 256 levels, 7 on [−1, 1] and 8 on [0, 1].
        """
        return -math.log2(self.level_width)

    def on_centres(self):
        """The scaling that takes each level to the middle of its width, not the ends to the ends.

        The mean of `dequantise` over u; `dequantise` itself is the same.
        """
        half = (self.stored_high - self.stored_low) / (2 * (self.levels - 1))
        return dataclasses.replace(
            self, stored_low=self.stored_low - half, stored_high=self.stored_high + half
        )

    def dequantise(self, scaled, u):
        """Scaled levels made continuous: level k becomes low + (k + u)·`level_width`.

        The levels so fill the range without a gap, as (u + 255 x)/256 does for images.

        Args:
          scaled: levels as `scale` returns them, here or `on_centres`.
          u: uniform on [0, 1), of the same shape.

        Raises:
          ValueError: the data have no levels.
        """
        width = self.level_width
        level = tf.round((scaled - self.low) * ((self.levels - 1) / (self.high - self.low)))
        return self.low + (level + u) * width

    def unscale(self, scaled):
        """Scaled values of any shape to a `stored_dtype` array of the same shape.

        NaN has no stored value; where the storage is uint8 it becomes 0.
        """
        stored = (np.asarray(scaled, np.float64) - self.low) / self._range_slope + self.stored_low
        if self.means:
            stored = stored * np.array(self.deviations) + np.array(self.means)
        if self.stored_dtype == "uint8":
            stored = np.rint(np.clip(np.nan_to_num(stored), 0, 255))
        return stored.astype(self.stored_dtype)
