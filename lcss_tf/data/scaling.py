"""The one place where data are scaled for the SDE, and scaled back."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.typing import Array, Tensor

DTYPES = ("uint8", "float16", "float32", "float64")
# float32 holds all values of these, so they may be cast before they are scaled.
_NARROW = (tf.uint8, tf.int8, tf.uint16, tf.int16, tf.float16, tf.bfloat16, tf.float32)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """An affine map from raw values to what the network sees.

        scaled = low + (raw − stored_low)·slope,
        slope = (high − low)/(stored_high − stored_low)

    Attributes:
      low, high: the range of the scaled data.
      stored_low, stored_high: the range of the raw data.
      stored_dtype: one of `DTYPES`, the dtype of `unscale`. With ``"uint8"`` unscaling clips and
        rounds; otherwise it is the plain inverse.
      levels: how many values a number can take, evenly spaced over the range: 256 for most
        images. None: continuous data, or not known.
      means, stds: mean and standard deviation of each feature along the last axis, or one of each
        for all. The range above is then that of (raw − mean)/std. Empty: raw values as they are.

    Raises:
      UsageError: an empty range, another `stored_dtype`, fewer than two levels, or a standard
        deviation that is not positive.
    """

    low: float
    high: float
    stored_low: float
    stored_high: float
    stored_dtype: str
    levels: int | None = None
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for field in ("means", "stds"):  # JSON gives lists
            object.__setattr__(self, field, tuple(float(v) for v in getattr(self, field)))
        if len(self.means) != len(self.stds) or not all(v > 0 for v in self.stds):
            raise UsageError(
                "A scaling needs one positive standard deviation for each mean; got "
                f"means {self.means} and stds {self.stds}."
            )
        if not (self.low < self.high and self.stored_low < self.stored_high):
            raise UsageError(
                f"A scaling needs low < high and stored_low < stored_high; got [{self.low}, "
                f"{self.high}] and [{self.stored_low}, {self.stored_high}]."
            )
        if self.stored_dtype not in DTYPES:
            raise UsageError(f"stored_dtype must be one of {DTYPES}; got {self.stored_dtype!r}.")
        if self.levels is not None and self.levels < 2:
            raise UsageError(f"Quantised data have at least 2 levels; got {self.levels}.")

    @classmethod
    def for_images(cls, centered: bool = True, levels: int = 256) -> "Scaling":
        """uint8 0..255 to [−1, 1] (`centered`, for VP SDEs) or to [0, 1] (for VE SDEs)."""
        return cls(-1.0 if centered else 0.0, 1.0, 0.0, 255.0, "uint8", levels=levels)

    @classmethod
    def identity(cls) -> "Scaling":
        """Floats that are used as they are."""
        return cls(0.0, 1.0, 0.0, 1.0, "float32")

    @classmethod
    def standardising(
        cls, means: Iterable[float], stds: Iterable[float], stored_dtype: str = "float32"
    ) -> "Scaling":
        """(raw − mean)/std: one pair per feature of the last axis, or a single pair for all."""
        return cls(0.0, 1.0, 0.0, 1.0, stored_dtype, means=tuple(means), stds=tuple(stds))

    @property
    def slope(self) -> float:
        """d scaled / d raw; its logarithm enters the likelihood of raw values.

        With `stds` it is the geometric mean over features: its logarithm times the number of
        values is the log determinant of the map.
        """
        log_spread = sum(map(math.log, self.stds)) / max(len(self.stds), 1)
        return self._range_slope * math.exp(-log_spread)

    @property
    def _range_slope(self) -> float:
        return (self.high - self.low) / (self.stored_high - self.stored_low)

    def scale(self, stored: Tensor) -> Tensor:
        """Raw values of any shape to a float32 tensor of the same shape.

        Means, float64 and wide integers are taken off in float64: a large mean would cost float32
        its digits.
        """
        stored, slope = tf.convert_to_tensor(stored), self._range_slope
        offset = self.low - self.stored_low * slope
        if stored.dtype == tf.uint8 and not self.means:
            # One pass over memory where a cast, a product and a sum are three: at 1024 px 1.7 ms
            # an image and not 3.8, beside 18 ms of decoding. The same numbers, bit for bit.
            pixels = tf.bitcast(stored, tf.quint8)
            return tf.quantization.dequantize(
                pixels, offset, offset + 255 * slope, mode="MIN_COMBINED"
            )
        if stored.dtype in _NARROW and not self.means:
            return tf.cast(stored, tf.float32) * slope + offset
        stored = tf.cast(stored, tf.float64)
        if self.means:
            means, stds = (tf.constant(part, tf.float64) for part in (self.means, self.stds))
            stored = (stored - means) / stds
        # The difference first: the offset may be far larger than the result.
        return tf.cast((stored - self.stored_low) * slope + self.low, tf.float32)

    def unscale(self, scaled: Tensor) -> Array:
        """Scaled values of any shape to a `stored_dtype` array of the same shape.

        NaN has no raw value; with uint8 it becomes 0.
        """
        stored = (np.asarray(scaled, np.float64) - self.low) / self._range_slope + self.stored_low
        if self.means:
            stored = stored * np.array(self.stds) + np.array(self.means)
        if self.stored_dtype == "uint8":
            stored = np.rint(np.clip(np.nan_to_num(stored), 0, 255))
        return stored.astype(self.stored_dtype)

    @property
    def level_width(self) -> float:
        """The width of one level of `dequantise`, in scaled units.

        Raises:
          UsageError: the data have no levels.
        """
        return (self.high - self.low) / self._known_levels()

    def _known_levels(self) -> int:
        if self.levels is None:
            raise UsageError(
                "Only data with levels can be dequantised, and this scaling has none "
                "(levels = None)."
            )
        return self.levels

    @property
    def bits_offset(self) -> float:
        """−log₂ of `level_width`: bits/dim of levels minus those of the density.

        With 256 levels: 7 on [−1, 1] and 8 on [0, 1].
        """
        return -math.log2(self.level_width)

    def on_centres(self) -> "Scaling":
        """The scaling that maps each level to the middle of its width, not the ends to the ends.

        It is the mean of `dequantise` over u; `dequantise` itself is the same.

        Raises:
          UsageError: the data have no levels.
        """
        half = (self.stored_high - self.stored_low) / (2 * (self._known_levels() - 1))
        return dataclasses.replace(
            self, stored_low=self.stored_low - half, stored_high=self.stored_high + half
        )

    def dequantise(self, scaled: Tensor, u: Tensor) -> Tensor:
        """Scaled levels made continuous: level k becomes low + (k + u)·`level_width`.

        The levels then fill the range without a gap, as (u + 255 x)/256 does for images.

        Args:
          scaled: levels as `scale` returns them, here or `on_centres`.
          u: uniform on [0, 1), of the same shape.

        Raises:
          UsageError: the data have no levels.
        """
        steps = self._known_levels() - 1
        level = tf.round((scaled - self.low) * (steps / (self.high - self.low)))
        return self.low + (level + u) * self.level_width


__all__ = ["DTYPES", "Scaling"]
