"""Stacked copies of a batch: losses ask for the score at several points of the same times.

What depends on the times alone is then computed for the first copy, and repeated.
"""

import tensorflow as tf


def first_copy(values, copies):
    """The first of `copies` equal parts [N/copies, ...] of values [N, ...]."""
    return values if copies == 1 else tf.split(values, copies)[0]


def repeat_copies(values, copies):
    """Values [N/copies, F] for all copies: [N, F]."""
    return values if copies == 1 else tf.tile(values, [copies, 1])
