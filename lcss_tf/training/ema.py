"""The exponential moving average of the weights, held by a network of its own.

The average lives in a second instance of the network, so that sampling with it
needs no swapping of weights, and a crash in mid-sampling can harm nothing.
"""

import gin
import tensorflow as tf

from lcss_tf.errors import UsageError


@gin.configurable("ema")
class EMA:
    """θ̄ ← d θ̄ + (1 − d) θ with d = min(decay, (1 + n)/(10 + n)) after n updates.

    Args:
      network: the trained network, built.
      average: another instance of it, built; it becomes the average.
      decay: the average's memory is about 1/(1 − decay) steps.

    Raises:
      ValueError: decay outside [0, 1).
    """

    def __init__(self, network, average, decay=0.999):
        if not 0 <= decay < 1:
            raise UsageError(f"ema.decay must lie in [0, 1); got {decay}.")
        self.decay = decay
        self.network = average
        self._pairs = [
            (shadow.value, weight.value)
            for shadow, weight in zip(average.weights, network.weights, strict=True)
        ]
        for shadow, weight in self._pairs:
            shadow.assign(weight)

    def update(self, distribution, num_updates):
        """One update, in cross-replica context; `num_updates` so far, a scalar tensor."""
        n = tf.cast(num_updates, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + n) / (10.0 + n))

        def move(shadow, weight, decay):
            keep = tf.cast(decay, shadow.dtype)
            shadow.assign(keep * shadow + (1 - keep) * weight)

        for shadow, weight in self._pairs:
            distribution.update(shadow, move, weight, decay)
