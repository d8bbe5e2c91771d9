"""Values of a channel at all of its places, and sums over them."""

import tensorflow as tf


def at_places(values, x):
    """Values [N, C] (or [C]) for every place of x [N, ..., C]: broadcastable to it."""
    return tf.reshape(values, [-1, *[1] * (x.shape.rank - 2), x.shape[-1]])


def sum_over_places(x):
    """[N, ..., C] -> [N, C], as a product with a row of ones.

    XLA fuses a plain reduction with all that leads up to it, and on CPUs then computes that
    one number at a time.
    """
    flat = tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]])
    return tf.matmul(tf.ones([tf.shape(flat)[0], 1, tf.shape(flat)[1]], x.dtype), flat)[:, 0]
