"""Sums over all places of an image, and their transpose: values spread over all places.

    sum_over_places: [N, ..., C] -> [N, C]          spread: [N, C] -> [N, ..., C]

Each is the other's gradient, at every order. The sum is a product with a row of ones: XLA
fuses a plain reduction with all that leads up to it, and on CPUs then computes that one number
at a time, which took more than half of a training step (docs/performance.md).
"""

import tensorflow as tf

from lcss_tf import xla


def sum_over_places(x):
    """Σ over all axes but the first and the last: [N, ..., C] -> [N, C]."""
    places = tuple(x.shape[1:-1])

    @tf.custom_gradient
    def total(x):
        if xla.is_in_pieces():  # nothing is fused here
            sums = tf.reduce_sum(x, axis=list(range(1, len(places) + 1)))
        else:
            flat = tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]])
            ones = tf.ones([tf.shape(flat)[0], 1, tf.shape(flat)[1]], x.dtype)
            sums = tf.matmul(ones, flat)[:, 0]
        return sums, lambda upstream: spread(upstream, places)

    return total(x)


def spread(values, places):
    """Values [N, C] at all places: [N, *places, C]."""

    @tf.custom_gradient
    def everywhere(values):
        shape = [tf.shape(values)[0], *places, values.shape[-1]]
        thin = tf.reshape(values, [-1, *[1] * len(places), values.shape[-1]])
        return tf.broadcast_to(thin, shape), sum_over_places

    return everywhere(values)


def add_bias(x, bias):
    """x [N, ..., C] + bias [C]."""
    if xla.is_in_pieces():
        return tf.nn.bias_add(x, bias)

    @tf.custom_gradient
    def add(x, bias):
        def gradient(upstream):
            flat = tf.reshape(upstream, [1, -1, upstream.shape[-1]])
            return upstream, sum_over_places(flat)[0]

        return x + bias, gradient

    return add(x, bias)


def add_everywhere(x, values):
    """x [N, ..., C] + values [N, C] at all places."""
    if xla.is_in_pieces():
        return x + tf.reshape(values, [-1, *[1] * (x.shape.rank - 2), x.shape[-1]])
    return x + spread(values, tuple(x.shape[1:-1]))
