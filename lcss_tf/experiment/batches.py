"""The iterator of training batches: examples, with their labels for a conditional network."""

import numpy as np
import tensorflow as tf

from lcss_tf.data.handing import MOST
from lcss_tf.data.index_stream import example_at, index_batches


def training_batches(recipe, distribution, start_step):
    """Per-replica batches of a `Recipe`'s data, standing at `start_step`.

    Raises (on iteration):
      ValueError: an example that cannot be used; its name, and what to do.
    """
    data, num_classes, rows = recipe.data, recipe.num_classes, recipe.batch_size
    size = data.size("train")

    def make_dataset(shards):
        indices = index_batches(size, rows, recipe.seed, start_step, shards)
        return data.pipeline(indices, "train", recipe.seed, num_classes).prefetch(4)

    def indices_of(step):
        first = (start_step + step) * rows
        return example_at(np.arange(first, first + rows), size, recipe.seed).numpy()

    return for_people(data, distribution.batches(make_dataset, rows), indices_of)


def for_people(data, batches, indices_of, split="train"):
    """The iterator `batches`, with errors in the words of the data.

    Args:
      data: the `Dataset`.
      batches: an iterator over its examples.
      indices_of: a function from the number of a batch, from 0, to the indices it holds.
      split: of the data.
    """
    step = 0
    try:
        for batch in batches:
            yield batch
            step += 1
    except tf.errors.OpError:
        # Whatever the pipeline reads ahead, its errors come in their turn, or in that of the first
        # of those batches that are handed over together.
        for k in range(MOST):
            data.explain(indices_of(step + k), split)
        raise
