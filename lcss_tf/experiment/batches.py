"""The iterator of training batches: examples, with their labels for a conditional network."""

from lcss_tf.data.index_stream import index_batches


def training_batches(recipe, distribution, start_step):
    """Per-replica batches of a `Recipe`'s data, standing at `start_step`."""
    data, num_classes = recipe.data, recipe.num_classes

    def make_dataset(shards):
        indices = index_batches(
            data.size("train"), recipe.batch_size, recipe.seed, start_step, shards
        )
        return data.pipeline(indices, "train", recipe.seed, num_classes).prefetch(4)

    return distribution.batches(make_dataset, recipe.batch_size)
