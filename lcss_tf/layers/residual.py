"""The sum at the end of a residual block."""

import tensorflow as tf

from lcss_tf import xla
from lcss_tf.layers.places import at_places, sum_over_places


def residual_sum(x, h, rescale, bias=None):
    """x + h (+ bias), divided by √2 if `rescale`: then unit variances stay unit variances.

    Args:
      x, h: [N, ..., C].
      rescale: whether to divide.
      bias: [C], what the layers that made x and h have left to be added; or None.
    """
    scale = 0.5**0.5 if rescale else 1.0
    bias = tf.zeros([x.shape[-1]], x.dtype) if bias is None else tf.cast(bias, x.dtype)
    if not xla.is_in_pieces():
        return _formula(x, h, bias, scale)

    @tf.custom_gradient
    def total(x, h, bias):
        def gradient(dy):
            dx, d_bias = _backward(dy, scale)
            return dx, dx, d_bias

        return _forward(x, h, bias, scale), gradient

    return total(x, h, bias)


def _formula(x, h, bias, scale):
    total = x + h + at_places(bias, x)
    return total if scale == 1.0 else total * tf.constant(scale, total.dtype)


_forward = xla.piece(_formula)


@xla.piece
def _backward(dy, scale):
    dx = dy if scale == 1.0 else dy * tf.constant(scale, dy.dtype)
    d_bias = tf.reduce_sum(sum_over_places(tf.cast(dx, tf.float32)), axis=0)
    return dx, tf.cast(d_bias, dy.dtype)
