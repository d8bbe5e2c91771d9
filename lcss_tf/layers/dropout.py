"""Dropout as a pure function of an explicit seed."""

import tensorflow as tf

from lcss_tf import rng, xla


def dropout(x, rate, seed=None, copies=1):
    """Zeroes each entry of x with probability `rate`, and divides the rest by 1 − rate.

    The same seed gives the same mask, in and outside XLA and on any number of
    replicas (see `lcss_tf.rng`).

    Args:
      x: [N, ...].
      rate: in [0, 1).
      seed: an int or an int32 seed of shape [2] or [3]; None means no dropout.
      copies: how many stacked copies of one batch x holds. They share their masks,
        so that a loss which compares the network at x and at x' compares one network.

    Raises:
      ValueError: N is not a multiple of `copies`.
    """
    return dropped(x, rate, draw_kept(x, rate, seed, copies))


def draw_kept(x, rate, seed=None, copies=1):
    """Which entries of a tensor shaped like x `dropout` keeps: bool [N/copies, ...]; None: all."""
    if seed is None or rate == 0.0:
        return None
    batch = x.shape[0]
    if batch is None:
        batch = tf.shape(x)[0]
    elif batch % copies:
        raise ValueError(
            f"A batch of {batch} does not hold copies={copies} of one batch: stack whole copies."
        )
    return _kept(rng.as_seed(seed), rate, (batch // copies, *x.shape[1:]))


def dropped(x, rate, kept):
    """x without what is not `kept`, the rest divided by 1 − rate; x itself if that is None."""
    if kept is None:
        return x
    copies = tf.shape(x)[0] // tf.shape(kept)[0]
    kept = tf.tile(kept, [copies] + [1] * (x.shape.rank - 1))
    return tf.where(kept, x * (1.0 / (1.0 - rate)), 0.0)


@xla.piece
def _kept(seed, rate, shape):
    return rng.uniform(seed, shape) >= rate
