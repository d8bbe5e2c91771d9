"""Embeddings of the noise label: a scalar per example becomes a vector."""

import math

import keras
import tensorflow as tf

from lcss_tf.layers.base import Block, one_of, register
from lcss_tf.layers.linear import Dense


@register
class GaussianFourier(keras.layers.Layer):
    """[sin(2π W u), cos(2π W u)], W ~ N(0, scale²) frozen (Tancik et al., 2020).

    u [N] -> [N, 2·frequencies], in float32. W is a weight that is not trained: it is
    saved and reloaded with the others.

    Args:
      frequencies: how many.
      scale: standard deviation of W.
    """

    def __init__(self, frequencies, *, scale=16.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.frequencies = frequencies
        self.scale = scale

    def build(self, u_shape):
        self.w = self.add_weight(
            name="w",
            shape=(self.frequencies,),
            initializer=keras.initializers.RandomNormal(0.0, self.scale),
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def call(self, u):
        angle = u[:, None] * (2.0 * math.pi * tf.convert_to_tensor(self.w))
        return tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "frequencies": self.frequencies,
            "scale": self.scale,
        }


def positional(u, features):
    """[sin(ω_i u), cos(ω_i u)], ω_i = 10000^{−i/(features/2 − 1)} (Vaswani et al., 2017).

    Args:
      u: [N], of a range like [0, 1000].
      features: width of the result [N, features]; an odd width ends in a zero.
    """
    half = features // 2
    exponent = tf.range(half, dtype=tf.float32) / max(half - 1, 1)
    angle = u[:, None] * tf.exp(-math.log(10_000.0) * exponent)
    return tf.concat([tf.sin(angle), tf.cos(angle), tf.zeros_like(u[:, None])], -1)[:, :features]


@register
class NoiseEmbedding(Block):
    """The noise label through an embedding and two dense layers with SiLU after each.

    cond [N] -> [N, units]: silu(W silu(V e(cond) + v) + w), and what is `added` before the last
    SiLU. In float32 whatever the policy: bfloat16 has no room for 999·t. The last SiLU stands
    here, once, rather than in each of the blocks that use it.

    Args:
      features: nf: the positional embedding's width, or the number of frequencies.
      units: width of the dense layers; None means 4·features.
      kind: ``"positional"`` (cond is like 999·t) or ``"fourier"`` (cond is σ > 0,
        embedded through log σ).
      fourier_scale: standard deviation of the Fourier frequencies.
    """

    def __init__(self, features, *, units=None, kind="positional", fourier_scale=16.0, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.keep(
            features=features,
            units=units or 4 * features,
            kind=one_of("embedding", kind, ("positional", "fourier")),
            fourier_scale=fourier_scale,
        )

    def build(self, cond_shape):
        width = self.features
        self.fourier = None
        if self.kind == "fourier":
            width = 2 * self.features
            self.fourier = self.add(
                GaussianFourier,
                [cond_shape],
                self.features,
                scale=self.fourier_scale,
                name="fourier",
            )
        self.dense_0 = self.add(Dense, [(None, width)], self.units, name="dense_0")
        self.dense_1 = self.add(Dense, [(None, self.units)], self.units, name="dense_1")

    def call(self, cond, added=None):
        cond = tf.cast(cond, tf.float32)
        if self.fourier is None:
            h = positional(cond, self.features)
        else:
            h = self.fourier(tf.math.log(cond))
        h = self.dense_1(tf.nn.silu(self.dense_0(h)))
        return tf.nn.silu(h if added is None else h + added)
