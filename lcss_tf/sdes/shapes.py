"""Broadcasting of times [B] against data [B, ...]."""

import tensorflow as tf


def like(value, x):
    """`value` [B] reshaped to [B, 1, ...] so that it broadcasts against x."""
    value = tf.convert_to_tensor(value)
    return tf.reshape(value, [-1] + [1] * (len(x.shape) - 1)) if len(value.shape) == 1 else value


def shape_of(x):
    """The shape of x, static but for a batch axis that may be a tensor."""
    batch = x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]
    return (batch, *x.shape[1:])


def sum_over_data(x):
    """Sum over all axes but the first: [B, ...] -> [B]."""
    return tf.reduce_sum(x, axis=list(range(1, len(x.shape))))
