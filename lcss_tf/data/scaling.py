"""The one place where data are scaled for the SDE, and scaled back."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.typing import Array, Tensor

DTYPES = ("uint8", "float16", "float32", "float64")
# float32 holds all values of these, so they may be cast before they are scaled.
_NARROW = (tf.uint8, tf.int8, tf.uint16, tf.int16, tf.float16, tf.bfloat16, tf.float32)
_HUGE = 2.0**1000  # from here on a difference of two numbers may overflow float64


@dataclasses.dataclass(frozen=True)
class Scaling:
    """An affine map from raw values to what the network sees.

        scaled = low + (raw − stored_low)·slope,
        slope = (high − low)/(stored_high − stored_low)

    Attributes:
      low, high: the range of the scaled data.
      stored_low, stored_high: the range of the raw data.
      stored_dtype: one of `DTYPES`, the dtype of `unscale`. With ``"uint8"`` unscaling clips and
        rounds; otherwise it is the plain inverse, which ends at the dtype's largest number.
      levels: how many values a number can take, evenly spaced over the range: 256 for most
        images. None: continuous data, or not known.
      means, stds: mean and standard deviation of each feature along the last axis, or one of each
        for all. The range above is then that of (raw − mean)/std. Empty: raw values as they are.

    Raises:
      UsageError: a range that is empty or wider than float64 holds, another `stored_dtype`, fewer
        than two levels, or a standard deviation that is not positive and finite.
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
        if (
            len(self.means) != len(self.stds)
            or not all(0 < v < math.inf for v in self.stds)
            or not all(map(math.isfinite, self.means))
        ):
            raise UsageError(
                "A scaling needs one positive standard deviation for each mean, all finite; got "
                f"means {self.means} and stds {self.stds}."
            )
        if not (self.low < self.high and self.stored_low < self.stored_high):
            raise UsageError(
                f"A scaling needs low < high and stored_low < stored_high; got [{self.low}, "
                f"{self.high}] and [{self.stored_low}, {self.stored_high}]."
            )
        with np.errstate(over="ignore"):
            slope = np.float64(self.high - self.low) / (self.stored_high - self.stored_low)
        if not 0 < slope < math.inf:
            raise UsageError(
                "A scaling needs a stored range whose width, and its inverse, float64 can hold; "
                f"got [{self.stored_low}, {self.stored_high}]."
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
        """d scaled / d raw, the geometric mean over features; see `log_slope`."""
        return math.exp(self.log_slope)

    @property
    def log_slope(self) -> float:
        """The logarithm of `slope`, which enters the likelihood of raw values.

        Times the number of values it is the log determinant of the map.
        """
        log_spread = sum(map(math.log, self.stds)) / max(len(self.stds), 1)
        return math.log(self._range_slope) - log_spread

    @property
    def _range_slope(self) -> float:
        return (self.high - self.low) / (self.stored_high - self.stored_low)

    def scale(self, stored: Tensor) -> Tensor:
        """Raw values of any shape to a float32 tensor of the same shape; works in graphs.

        Means, ranges far from 0, float64 and wide integers are taken off in float64: a large
        offset would cost float32 its digits. What float32 cannot hold becomes infinite; see
        `scale_finite`.
        """
        if not tf.is_tensor(stored):  # TensorFlow makes float32 of Python's numbers
            stored = np.asarray(stored)
            # Here, for TensorFlow takes float32 below 1e-38 as 0.
            wide = np.float64 if self.means else stored.dtype.newbyteorder("=")
            stored = stored.astype(wide, copy=False)
        stored, slope = tf.convert_to_tensor(stored), self._range_slope
        offset = self.low - self.stored_low * slope
        near = abs(self.stored_low) <= self.stored_high - self.stored_low
        if stored.dtype == tf.uint8 and not self.means:
            # One pass over memory where a cast, a product and a sum are three: at 1024 px 1.7 ms
            # an image and not 3.8, beside 18 ms of decoding. The same numbers, bit for bit.
            pixels = tf.bitcast(stored, tf.quint8)
            return tf.quantization.dequantize(
                pixels, offset, offset + 255 * slope, mode="MIN_COMBINED"
            )
        narrow = stored.dtype in _NARROW and near and _ordinary(offset) and _ordinary(slope)
        if narrow and not self.means:
            return tf.cast(stored, tf.float32) * slope + offset
        stored = tf.cast(stored, tf.float64)
        if self.means:
            means, stds = (np.array(part) for part in (self.means, self.stds))
            if max(np.abs(means).max(), stds.max()) > _HUGE:
                stored, means, stds = stored / 16, means / 16, stds / 16
            stored = (stored - means) / stds
        # The difference first: the offset may be far larger than the result.
        return tf.cast((stored - self.stored_low) * slope + self.low, tf.float32)

    def invert(self, scaled: Tensor) -> Tensor:
        """Scaled values of any shape as float64 raw values, neither clipped nor rounded.

        It works in graphs; `unscale` gives what a person sees.
        """
        raw = (tf.cast(scaled, tf.float64) - self.low) / self._range_slope + self.stored_low
        return raw * np.array(self.stds) + np.array(self.means) if self.means else raw

    def scale_finite(
        self, raw: Array, what: str, name: Callable[[int], str] = "example {:,}".format
    ) -> Array:
        """`scale` of examples [N, ...], which refuses what float32 cannot hold; not in graphs.

        Args:
          raw: [N, ...].
          what: whose examples they are, for messages: "The rows of a.csv".
          name: the index of an example -> its name in a message.

        Returns:
          float32 [N, ...].

        Raises:
          UsageError: a finite value that is infinite after scaling; the example and the value.
        """
        scaled = np.asarray(self.scale(raw))
        raw = np.asarray(raw)
        lost = np.isfinite(raw) & ~np.isfinite(scaled)
        if lost.any():
            place = np.unravel_index(int(np.argmax(lost)), lost.shape)
            raise UsageError(
                f"{what} hold values that float32 cannot represent after scaling "
                f"({self._in_words()}): {name(int(place[0]))} holds {raw[place]:g}. Remove such "
                "outliers, or rescale the data, e.g. by a logarithm."
            )
        return scaled

    def holds(self) -> tuple[float, float]:
        """The lowest and the highest raw value that float32 can hold after scaling by the range."""
        with np.errstate(over="ignore"):
            reach = np.float64(np.finfo(np.float32).max) * (1 - 1e-6) / self._range_slope
        return self.stored_low - float(reach), self.stored_low + float(reach)

    def _in_words(self) -> str:
        if not self.means:
            return f"from [{self.stored_low:g}, {self.stored_high:g}] to [{self.low}, {self.high}]"
        k = int(np.argmin(self.stds))
        return (
            f"by means such as {self.means[k]:g} and standard deviations such as {self.stds[k]:g}"
        )

    def unscale(self, scaled: Tensor) -> Array:
        """Scaled values of any shape to a `stored_dtype` array of the same shape.

        NaN has no raw value; with uint8 it becomes 0. What lies beyond the dtype's range becomes
        its last number: 255, or the largest float.
        """
        scaled = np.asarray(scaled, np.float64)
        with np.errstate(over="ignore"):
            stored = (scaled - self.low) / self._range_slope + self.stored_low
            if self.means:
                stored = stored * np.array(self.stds) + np.array(self.means)
        if self.stored_dtype == "uint8":
            stored = np.rint(np.clip(np.nan_to_num(stored), 0, 255))
        else:
            largest = float(np.finfo(self.stored_dtype).max)
            stored = np.where(np.isfinite(scaled), np.clip(stored, -largest, largest), stored)
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


def _ordinary(number: float) -> bool:
    """Whether float32 holds a number, and its digits."""
    return number == 0 or float(np.finfo(np.float32).tiny) <= abs(number) <= 2.0**100


def returned_dtype(dtype: np.dtype) -> str:
    """The dtype that samples of such data have: their own, or a float that holds them.

    Integers of 8 and 16 bits come back as float32, those of 32 and 64 bits as float64.
    """
    dtype = dtype.newbyteorder("=")
    return dtype.name if dtype.name in DTYPES else np.result_type(dtype, np.float32).name


__all__ = ["DTYPES", "Scaling", "returned_dtype"]
