"""Data and losses that fail when they are told to; a user's module, by --import."""

import time
from pathlib import Path

import tensorflow as tf

import lcss_tf


@lcss_tf.register_dataset
class FaultyMoons(lcss_tf.DATASETS["TwoMoons"]):
    """Two moons that fail once the example at an index is read, as long as a file is there.

    Args:
      fault: "raise", "hang" or "nan".
      index: of the example.
      trigger: the file's path.
    """

    def __init__(self, fault, index, trigger):
        super().__init__()
        self._fault, self._index, self._trigger = fault, index, trigger

    def examples(self, indices, split="train", seed=0):
        examples = super().examples(indices, split, seed)
        if split != "train":
            return examples
        return tf.ensure_shape(
            tf.py_function(self._maybe, [examples, indices], tf.float32), examples.shape
        )

    def _maybe(self, examples, indices):
        bad = tf.equal(tf.cast(indices, tf.int64), self._index)[:, None]
        if not tf.reduce_any(bad) or not Path(self._trigger).exists():
            return examples
        if self._fault == "raise":
            raise RuntimeError("the disk is gone")
        if self._fault == "hang":
            time.sleep(3_600)
        return tf.where(bad, float("nan"), examples)


@lcss_tf.register_loss
class Hungry(lcss_tf.LOSSES["LCSSLoss"]):
    """A loss that runs out of memory as soon as it is run."""

    def terms(self, score_fn, sde, x0, t, seed):
        def fail():
            raise tf.errors.ResourceExhaustedError(None, None, "RESOURCE_EXHAUSTED: Out of memory")

        terms = super().terms(score_fn, sde, x0, t, seed)
        with tf.control_dependencies([tf.py_function(fail, [], [])]):
            return {name: tf.identity(value) for name, value in terms.items()}
