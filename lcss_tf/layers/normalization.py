"""Group normalisation, in float32 whatever the policy."""

import keras
import tensorflow as tf

from lcss_tf.layers.base import register


def num_groups(channels):
    """min(C // 4, 32) groups, or the next smaller number that divides C.

    The first is NCSN++'s rule, which fails where it does not divide C; the second
    lets any channel count pass, and agrees wherever the rule works.
    """
    most = max(1, min(channels // 4, 32))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


@register
class GroupNorm(keras.layers.Layer):
    """(x − mean) / √(variance + ε), per example and group of channels, then γ·+β.

    Wu and He (2018). [N, ..., C] -> the same shape, with 1, 2 or 3 spatial axes.
    Mean and variance are reduced per channel first and over the group's channels
    after: neither needs a reshape of x, which XLA's CPU loops fuse badly.

    Args:
      epsilon: ε; NCSN++ uses 1e-6 (Keras' own default is 1e-3).
    """

    def __init__(self, *, epsilon=1e-6, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.epsilon = epsilon

    def build(self, x_shape):
        channels = x_shape[-1]
        self.groups = num_groups(channels)
        # autocast=False: a bfloat16 policy must not round them.
        options = {"shape": (channels,), "dtype": "float32", "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)

    def _group_mean(self, x):
        """The mean over all places and the group's channels: [N, 1..., groups, 1]."""
        channels = x.shape[-1]
        mean = tf.reduce_mean(x, axis=list(range(1, x.shape.rank - 1)))
        mean = tf.reshape(mean, [-1, self.groups, channels // self.groups])
        return tf.reduce_mean(mean, axis=2, keepdims=True)

    def _per_channel(self, statistic, rank):
        """[N, groups, 1] as [N, 1..., C], to broadcast against x."""
        channels = self.gamma.shape[0]
        spread = statistic * tf.ones([1, 1, channels // self.groups])
        return tf.reshape(spread, [-1, *[1] * (rank - 2), channels])

    def call(self, x):
        rank = x.shape.rank
        x = tf.cast(x, tf.float32)
        x = x - self._per_channel(self._group_mean(x), rank)
        variance = self._group_mean(tf.square(x))
        factor = self._per_channel(tf.math.rsqrt(variance + self.epsilon), rank)
        y = x * (factor * tf.convert_to_tensor(self.gamma)) + tf.convert_to_tensor(self.beta)
        return tf.cast(y, self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
