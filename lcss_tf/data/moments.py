"""Mean, spread and range of numbers of any size, and whether their own digits resolve them."""

from typing import Any

import numpy as np

from lcss_tf.data.scaling import Scaling
from lcss_tf.typing import Array


class RunningMoments:
    """Mean, standard deviation and range of values that arrive in parts, float64 [n, ...].

    The parts' moments are merged as Chan, Golub and LeVeque do. Each part is first divided by a
    power of two near its largest value. That costs no digits, and squares neither overflow nor
    vanish: values of 1e-300 and of 1e300 have moments like any others.

    Args:
      axis: along which they are taken; None: over all values together.
    """

    def __init__(self, axis: int | None = None) -> None:
        self._axis = axis
        self._count = 0
        self._mean: Any = 0.0  # in units of `_unit`; so are the squares, of its square
        self._squares: Any = 0.0
        self._unit: Any = np.nextafter(0.0, 1.0)
        self.low: Any = np.inf
        self.high: Any = -np.inf

    def add(self, part: Array) -> None:
        """Takes in a part, which is not empty and finite."""
        axis = self._axis
        count = part.size if axis is None else part.shape[axis]
        low, high = part.min(axis=axis), part.max(axis=axis)
        unit = np.maximum(self._unit, _power_of_two(np.maximum(np.abs(low), np.abs(high))))
        part = part / unit
        mean = part.mean(axis=axis)
        part -= mean
        rest = part.mean(axis=axis)  # what rounding left of a large mean
        part -= rest
        shrink, total = self._unit / unit, self._count + count
        gap = mean + rest - self._mean * shrink
        self._squares = self._squares * shrink**2 + np.square(part).sum(axis=axis)
        self._squares = self._squares + gap**2 * (self._count * count / total)
        self._mean, self._unit = self._mean * shrink + gap * (count / total), unit
        self._count = total
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    @property
    def mean(self) -> Any:
        """float64, a number or an array without the axis."""
        return np.clip(self._mean * self._unit, self.low, self.high)

    @property
    def std(self) -> Any:
        """float64, of the shape of `mean`; 0 where all values are equal."""
        std = np.sqrt(self._squares / max(self._count, 1)) * self._unit
        return np.where(self.low == self.high, 0.0, std)[()]

    def constant(self, dtype: np.dtype) -> Any:
        """Where values are equal, or differ by no more than rounding in their own dtype does.

        Their standard deviation is then below the distance of two neighbouring numbers.

        Args:
          dtype: of the values before they became float64.

        Returns:
          bool, of the shape of `mean`.
        """
        own = dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.float64)
        largest = np.maximum(np.abs(self.low), np.abs(self.high)).astype(own)
        return (self.low == self.high) | (self.std < np.spacing(largest).astype(np.float64))


def _power_of_two(values: Any) -> Any:
    """The largest power of two that is not above each value; the least float64 for 0."""
    least = np.nextafter(0.0, 1.0)
    return np.maximum(np.ldexp(1.0, np.frexp(values)[1] - 1), least)


def root_mean_square(values: Array) -> float:
    """Of positive float64 values of any size."""
    largest = values.max()
    return float(largest * np.sqrt(np.mean(np.square(values / largest))))


def unresolved(raw: Array, scaling: Scaling) -> Array:
    """Which features of examples lose their differences when they become float32.

    So it is where the middle half of a feature's raw values differs and is one number after
    scaling: a few far values, other features of another size under one scaling, or a range that was
    asked for, leave it no digits.

    Args:
      raw: some examples [n, ..., features] or [n], in the data's units.
      scaling: of these data.

    Returns:
      bool [features], along the last axis.
    """
    raw = np.asarray(raw, np.float64)
    raw = raw.reshape(-1, raw.shape[-1] if raw.ndim > 1 else 1)
    # A quantile between two values of 1e308 would overflow: take values that are there.
    quartiles = np.percentile(raw, [25, 75], axis=0, method="nearest")
    scaled = np.asarray(scaling.scale(quartiles))
    return (quartiles[0] < quartiles[1]) & (scaled[0] == scaled[1])


__all__ = ["RunningMoments", "root_mean_square", "unresolved"]
