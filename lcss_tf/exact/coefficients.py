"""Drift and diffusion of an SDE as NumPy functions."""

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)


class Coefficients:
    """f and g² of an SDE in NumPy: in float64 if the SDE takes it, else in float32.

    Args:
      sde: has `drift(x, t)` and `diffusion(x, t)`.
      dimension: D of the points [B, D] at which it is asked.

    Raises:
      ValueError: it lacks one of them.
    """

    def __init__(self, sde, dimension=1):
        self._name = type(sde).__name__
        for method in ("drift", "diffusion"):
            if not hasattr(sde, method):
                raise UsageError(
                    f"An SDE with `drift` and `diffusion` is expected; {self._name} "
                    f"has no {method}."
                )
        try:
            self._both = _traced(sde, dimension, tf.float64)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError):
            self._both = _traced(sde, dimension, tf.float32)

    def at(self, x, t):
        """(f, g²), float64 [B, D], at x [B, D] and t [B].

        Raises:
          ValueError: one is not finite.
        """
        f, g = (value.numpy().astype(np.float64) for value in self._both(x, t))
        if not (np.all(np.isfinite(f)) and np.all(np.isfinite(g))):
            raise UsageError(
                f"{self._name}: drift or diffusion is not finite somewhere in "
                f"|x| <= {np.abs(x).max():g}, t in [{t.min():g}, {t.max():g}]. A smaller extent "
                "may avoid it."
            )
        return f, g**2

    def table(self, x, t):
        """(f, g²) [q, n] at every pair of t [q] and x [n]."""
        pair = self.at(np.tile(x, len(t))[:, None], np.repeat(t, len(x)))
        return [value.reshape(len(t), len(x)) for value in pair]

    def integrals(self, x, s, t):
        """(∫f dt, ∫g² dt) [n] over [s, t], by Gauss–Legendre quadrature with 3 nodes."""
        half = 0.5 * (t - s)
        f, g_squared = self.table(x, s + half * (1 + _NODES))
        return half * _WEIGHTS @ f, half * _WEIGHTS @ g_squared


def _traced(sde, dimension, dtype):
    points, times = tf.TensorSpec([None, dimension], dtype), tf.TensorSpec([None], dtype)

    @tf.function(input_signature=[points, times])
    def both(x, t):
        return sde.drift(x, t), tf.broadcast_to(sde.diffusion(x, t), tf.shape(x))

    both.get_concrete_function()  # a dtype that the SDE does not take shows here
    return lambda x, t: both(tf.cast(x, dtype), tf.cast(t, dtype))
