"""Dropout as a pure function of an explicit seed."""

import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.errors import UsageError


def dropout(x, rate, seed=None, copies=1):
    """Zeroes each entry of x with probability `rate`, and divides the rest by 1 − rate.

    The same seed gives the same mask, in and outside XLA and on any number of
    replicas (see `lcss_tf.random`).

    Args:
      x: [N, ...].
      rate: in [0, 1).
      seed: an int or an int32 seed of shape [2] or [3]; None means no dropout.
      copies: how many stacked copies of one batch x holds. They share their masks,
        so that a loss which compares the network at x and at x' compares one network.

    Raises:
      ValueError: N is not a multiple of `copies`.
    """
    if seed is None or rate == 0.0:
        return x
    batch = x.shape[0]
    if batch is None:
        batch = tf.shape(x)[0]
    elif batch % copies:
        raise UsageError(
            f"A batch of {batch} does not hold copies={copies} of one batch: stack whole copies."
        )
    mask = tf.cast(_mask(random.as_seed(seed), rate, (batch // copies, *x.shape[1:])), x.dtype)
    return x * tf.tile(mask, [copies] + [1] * (x.shape.rank - 1))


@xla.piece
def _mask(seed, rate, shape):
    return tf.where(random.uniform(seed, shape) >= rate, 1.0 / (1.0 - rate), 0.0)
