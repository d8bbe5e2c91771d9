"""The iterator of training batches: examples, with their labels for a conditional network."""

import numpy as np

from lcss_tf.data.explained import for_people
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

    batches = distribution.batches(make_dataset, rows)
    return for_people(data, batches, indices_of, ahead=MOST)
