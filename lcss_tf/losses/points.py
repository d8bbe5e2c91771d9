"""The score at several points of the same times, by one call of the network."""

import tensorflow as tf


def in_one_pass(score_fn, points, t):
    """Scores at several points [B, ...] of the same times t [B], by one call on all of them.

    Returns a list of scores, each of the shape of its point.
    """
    copies = len(points)
    if copies == 1:
        return [score_fn(points[0], t)]
    scores = score_fn(tf.concat(points, axis=0), tf.tile(t, [copies]))
    return tf.split(scores, copies, axis=0)
