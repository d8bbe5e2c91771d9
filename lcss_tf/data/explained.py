"""Errors of an input pipeline, in the words of the data."""

import tensorflow as tf


def for_people(data, batches, indices_of, split="train", ahead=1):
    """The iterator `batches`, with errors in the words of the data.

    Args:
      data: the `Dataset`.
      batches: an iterator over its examples.
      indices_of: a function from the number of a batch, from 0, to the indices it holds.
      split: of the data.
      ahead: batches that may come together: the error of one then comes in the place of the first.

    Raises (on iteration):
      ValueError: an example that cannot be used; its name, and what to do.
    """
    step = 0
    try:
        for batch in batches:
            yield batch
            step += 1
    except tf.errors.OpError:
        # Whatever the pipeline reads ahead, its errors come in their turn.
        for k in range(ahead):
            data.explain(indices_of(step + k), split)
        raise
