"""Local linearisation of an elementwise drift: Ozaki's kernel, and a step of the flow.

With J = f'(x), h = t − s, y = J h and φ₁(y) = (eʸ − 1)/y, φ₂(y) = (φ₁(y) − 1)/y. Both are
evaluated at mid-time.
"""

import tensorflow as tf

from lcss_tf.ops import like, with_derivatives

_SERIES_BELOW = 0.3  # |y|; beyond it (eʸ − 1 − y)/y² keeps six digits in float32


def phi1(y):
    """(eʸ − 1)/y, 1 at 0."""
    small = tf.abs(y) < 1e-3
    safe = tf.where(small, tf.ones_like(y), y)
    return tf.where(small, 1 + y / 2 + y**2 / 6, tf.math.expm1(safe) / safe)


def phi2(y):
    """(φ₁(y) − 1)/y = (eʸ − 1 − y)/y², ½ at 0."""
    small = tf.abs(y) < _SERIES_BELOW
    safe = tf.where(small, tf.ones_like(y), y)
    series = 1 / 2 + y / 6 * (1 + y / 4 * (1 + y / 5 * (1 + y / 6 * (1 + y / 7))))
    return tf.where(small, series, (phi1(safe) - 1) / safe)


def linearised_kernel(drift, noise, x_s, s, t):
    """(mean, std) of x_t given x_s, of the shape of x, for an elementwise drift.

    mean = x + f h φ₁(y) + M h² φ₂(y), std² = g² h φ₁(2y), with M = ½ g² f'' (Ozaki 1992;
    Shoji and Ozaki 1998). Exact where the drift is linear; weak order 1 and more where not.

    Args:
      drift: (x, t) -> f, of the shape of x.
      noise: t -> g [B].
      x_s: [B, ...].
      s, t: [B].
    """
    h, mid = like(t - s, x_s), 0.5 * (s + t)
    f, slope, bend = with_derivatives(lambda x: drift(x, mid), x_s, 2)
    g_squared = like(noise(mid), x_s) ** 2
    y = slope * h
    mean = x_s + f * h * phi1(y) + 0.5 * g_squared * bend * h**2 * phi2(y)
    return mean, tf.sqrt(g_squared * h * phi1(2 * y))


def rosenbrock_flow(drift, y, s, t):
    """y_t of dy/dt = f(y, t) by one exponential Rosenbrock step: y + f h φ₁(f' h); order 2."""
    h, mid = like(t - s, y), 0.5 * (s + t)
    f, slope = with_derivatives(lambda x: drift(x, mid), y, 1)
    return y + f * h * phi1(slope * h)
