"""How the training times t are drawn over the batch."""

import tensorflow as tf

from lcss_tf import random


def stratified(seed, batch, global_batch):
    """One uniform draw in each of `global_batch` equal slices of [0, 1): [batch].

    The seed's row says which slices are this replica's, so that all replicas
    together cover all of them. Same expectation as independent draws, far less
    variance.
    """
    seed = random.as_seed(seed)
    first = seed[2] if seed.shape == (3,) else 0
    slices = tf.cast(first + tf.range(batch), tf.float32)
    return (slices + random.uniform(seed, (batch,))) / tf.cast(global_batch, tf.float32)


def independent(seed, batch, global_batch):
    """Independent uniform draws over [0, 1): [batch]."""
    del global_batch
    return random.uniform(seed, (batch,))


TIME_SAMPLINGS = {"stratified": stratified, "independent": independent}
