"""The linear noise schedule β(t) = β_min + t (β_max − β_min) that several SDEs share."""

from typing import NamedTuple

from lcss_tf.errors import UsageError


class LinearBeta(NamedTuple):
    """β on [0, 1]; see `linear_beta`."""

    low: float
    high: float

    def __call__(self, t):
        """β(t), of the shape of t."""
        return self.low + t * (self.high - self.low)

    def integral(self, s, t):
        """∫ₛᵗ β, of the shape of s and t."""
        return (t - s) * self(0.5 * (s + t))


def linear_beta(beta_min, beta_max, owner):
    """A `LinearBeta`, checked.

    Raises:
      ValueError: unless 0 <= beta_min <= beta_max and beta_max > 0; it names `owner`.
    """
    if not 0 <= beta_min <= beta_max or beta_max == 0:
        raise UsageError(
            f"{type(owner).__name__} expects 0 <= beta_min <= beta_max and beta_max > 0; got "
            f"beta_min={beta_min}, beta_max={beta_max}."
        )
    return LinearBeta(beta_min, beta_max)
