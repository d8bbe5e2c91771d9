"""The iterator of training batches."""

from lcss_tf.data.index_stream import index_batches


def training_batches(recipe, distribution, start_step):
    """Per-replica batches of a `Recipe`'s data, standing at `start_step`."""
    data = recipe.data

    def make_dataset(shards):
        indices = index_batches(
            data.size("train"), recipe.batch_size, recipe.seed, start_step, shards
        )
        return data.pipeline(indices, "train", recipe.seed).prefetch(4)

    return distribution.batches(make_dataset, recipe.batch_size)
