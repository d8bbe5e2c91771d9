"""The magnitude-preserving layers of EDM2 (Karras et al. 2024), for NCSN++.

The magnitude of activations is the root of their mean square over the channels. Here no layer
changes it in expectation, for inputs of magnitude 1 that are uncorrelated: activations have
magnitude 1 by design, at initialisation and during training. So there are no biases and no group
norms. The weights' norms are fixed too, which makes the learning rate that of their directions.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from lcss_tf.networks.blocks import (
    RESAMPLE,
    AttentionBlock,
    OutputHead,
    ResidualBlock,
    attention,
)
from lcss_tf.networks.layers import (
    NoiseEmbedding,
    dropout,
    feature_shape,
    register,
    repeat_copies,
)
from lcss_tf.typing import OpenShape, Seed, Tensor

_SILU = 0.596  # √E[silu(x)²] for x ~ N(0, 1)
_BALANCE = 0.3  # share of the branch in a residual sum
_EPSILON = 1e-4


def magnitude_silu(x: Tensor) -> Tensor:
    """silu(x)/0.596: x ~ N(0, 1) keeps its mean square."""
    return tf.nn.silu(x) * tf.constant(1 / _SILU, x.dtype)


def magnitude_sum(x: Tensor, h: Tensor, t: float = _BALANCE) -> Tensor:
    """((1 − t) x + t h)/√((1 − t)² + t²)."""
    norm = math.hypot(1 - t, t)
    return x * tf.constant((1 - t) / norm, x.dtype) + h * tf.constant(t / norm, h.dtype)


def magnitude_cat(parts: Sequence[Tensor]) -> Tensor:
    """The k parts [N, ..., C_i] joined along the channels, each times √(ΣC/(k C_i)).

    So each contributes alike to what is made of them, however many channels it has.
    """
    if len(parts) == 1:
        return parts[0]
    channels = [part.shape[-1] for part in parts]
    each = sum(channels) / len(parts)
    scaled = [
        part * tf.constant(math.sqrt(each / own), part.dtype)
        for part, own in zip(parts, channels, strict=True)
    ]
    return tf.concat(scaled, axis=-1)


def pixel_norm(x: Tensor) -> Tensor:
    """x over its magnitude at each place; computed in float32."""
    y = tf.cast(x, tf.float32)
    y = y * tf.math.rsqrt(tf.reduce_mean(tf.square(y), axis=-1, keepdims=True) + _EPSILON**2)
    return tf.cast(y, x.dtype)


def unit_filters(kernel: Tensor) -> Tensor:
    """Each output's weights, kernel[..., k], over the root of their mean square."""
    axes = list(range(len(kernel.shape) - 1))
    rms = tf.sqrt(tf.reduce_mean(tf.square(kernel), axis=axes, keepdims=True))
    return kernel / (rms + _EPSILON)


@keras.saving.register_keras_serializable(package="lcss_tf")
class UnitFilters(keras.constraints.Constraint):
    """Forced weight normalisation: after each update the weights are `unit_filters` again.

    The forward pass normalises them too, and so their gradient is orthogonal to them: without this
    each update would make them longer, and the next one weigh less.
    """

    def __call__(self, w: Any) -> Tensor:
        return unit_filters(tf.convert_to_tensor(w))


@register
class MagnitudeConv(keras.layers.Layer):
    """y = x * ŵ, each filter ŵ of Euclidean norm 1: it keeps the magnitude. There is no bias.

    [N, ..., C] -> [N, ..., features], channels last; with one tap a product along the channels.

    Args:
      features: output channels.
      kernel_size: taps along every spatial axis.
    """

    constant = False  # whether a channel of ones joins x, in place of a bias

    def __init__(self, features: int, *, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.features, self.kernel_size = features, kernel_size

    def build(self, x_shape: OpenShape) -> None:
        rank = len(x_shape) - 2 if self.kernel_size > 1 else 0
        inputs = x_shape[-1] + self.constant
        self.fan_in = self.kernel_size**rank * inputs
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size,) * rank + (inputs, self.features),
            initializer=keras.initializers.RandomNormal(0.0, 1.0),
            constraint=UnitFilters(),
            # All replicas make the same one of the same weights.
            aggregation="only_first_replica",
        )

    def call(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        kernel = unit_filters(tf.cast(tf.convert_to_tensor(self.kernel), tf.float32))
        kernel = tf.cast(kernel * (gain * self.fan_in**-0.5), self.compute_dtype)
        x = tf.cast(x, self.compute_dtype)
        if self.constant:
            x = tf.concat([x, tf.ones_like(x[..., :1])], axis=-1)
        if self.kernel_size == 1:
            y = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel)
            return tf.reshape(y, [-1, *x.shape[1:-1], self.features])
        data_format = {3: "NWC", 4: "NHWC", 5: "NDHWC"}[x.shape.rank]
        return tf.nn.convolution(x, kernel, padding="SAME", data_format=data_format)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "features": self.features,
            "kernel_size": self.kernel_size,
        }


@register
class MagnitudeInput(MagnitudeConv):
    """The first convolution: a channel of ones joins x, in place of a bias."""

    constant = True


@register
class MagnitudeBlock(ResidualBlock):
    """EDM2's residual block, on the way up.

    With the embedding's modulation c = 1 + gain · W e, gain = 0 at first:

        h = conv(silu(resample(x)));  y = sum(shortcut(resample(x)), conv(dropout(silu(c h))))

    Sum and SiLU keep the magnitude: `magnitude_sum`, `magnitude_silu`. The shortcut is a product
    along the channels where their number changes. The arguments are those of `ResidualBlock`, of
    which `skip_rescale` and `init_scale` have no effect.
    """

    encodes = False
    join = staticmethod(magnitude_cat)

    def build(self, x_shape: OpenShape, embedding_shape: OpenShape | None = None) -> None:
        features = self.features or x_shape[-1]
        inner = feature_shape(x_shape, features)
        self.shortcut = None
        if features != x_shape[-1]:
            self.shortcut = self.add(
                MagnitudeConv, [x_shape], features, kernel_size=1, name="shortcut"
            )
        branch = inner if self.encodes else x_shape
        self.conv_0 = self.add(MagnitudeConv, [branch], features, name="conv_0")
        self.noise = self.gain = None
        if embedding_shape is not None:
            self.noise = self.add(
                MagnitudeConv, [embedding_shape], features, kernel_size=1, name="noise"
            )
            self.gain = self.add_weight(name="gain", shape=(), initializer="zeros", autocast=False)
        self.conv_1 = self.add(MagnitudeConv, [inner], features, name="conv_1")

    def call(
        self,
        x: Tensor,
        embedding: Tensor | None = None,
        seed: Seed | None = None,
        copies: int = 1,
    ) -> Tensor:
        x = RESAMPLE[self.resample](x, self.fir_kernel)
        if self.encodes:
            x = pixel_norm(x if self.shortcut is None else self.shortcut(x))
        h = self.conv_0(magnitude_silu(x))
        if self.noise is not None:
            scale = 1.0 + self.noise(embedding, gain=tf.convert_to_tensor(self.gain))
            scale = repeat_copies(scale, copies)
            h = h * tf.reshape(scale, [-1, *[1] * (h.shape.rank - 2), h.shape[-1]])
        h = self.conv_1(dropout(magnitude_silu(h), self.dropout, seed, copies))
        if not self.encodes and self.shortcut is not None:
            x = self.shortcut(x)
        return magnitude_sum(x, h)


@register
class MagnitudeEncoderBlock(MagnitudeBlock):
    """EDM2's residual block, on the way down: shortcut and pixel norm come first.

        x ← pixel_norm(shortcut(resample(x)));  y = sum(x, conv(dropout(silu(c conv(silu(x))))))

    What earlier layers did to the magnitude so ends here.
    """

    encodes = True


@register
class MagnitudeAttention(AttentionBlock):
    """Self-attention with one head over all places, on normalised queries, keys and values.

    sum(x, W_o attention(q, k, v)), (q, k, v) = pixel_norm of W x each; [N, ..., C] -> the same
    shape. The arguments are those of `AttentionBlock`; they have no effect.
    """

    def build(self, x_shape: OpenShape) -> None:
        channels = x_shape[-1]
        flat = (None, None, channels)
        self.qkv = self.add(MagnitudeConv, [flat], 3 * channels, kernel_size=1, name="qkv")
        self.out = self.add(MagnitudeConv, [flat], channels, kernel_size=1, name="out")

    def call(self, x: Tensor) -> Tensor:
        h = tf.reshape(x, [-1, x.shape[1:-1].num_elements(), x.shape[-1]])
        query, key, value = (pixel_norm(part) for part in tf.split(self.qkv(h), 3, axis=-1))
        h = self.out(attention(query, key, value))
        return magnitude_sum(x, tf.reshape(h, [-1, *x.shape[1:]]))


@register
class MagnitudeEmbedding(NoiseEmbedding):
    """The noise label as `NoiseEmbedding` has it, through one product: silu(W √2 e(cond) + added).

    What is added, of a condition, begins at 0, and is as large as training makes it. The arguments
    are those of `NoiseEmbedding`.
    """

    def build_dense(self, width: int) -> None:
        """See `NoiseEmbedding`."""
        self.dense = self.add(
            MagnitudeConv, [(None, width)], self.units, kernel_size=1, name="dense"
        )

    def call(self, cond: Tensor, added: Tensor | None = None) -> Tensor:
        h = self.dense(math.sqrt(2.0) * self.embedded(cond))  # sines have the mean square 1/2
        return magnitude_silu(h if added is None else h + added)


@register
class MagnitudeHead(OutputHead):
    """gain · conv(x): [N, ..., C] -> [N, ..., features].

    Args:
      features: output channels.
      scale: of the gain, a learnt number, at first.
    """

    def build(self, x_shape: OpenShape) -> None:
        self.conv = self.add(MagnitudeConv, [x_shape], self.features, name="conv")
        initial = keras.initializers.Constant(self.scale)
        self.gain = self.add_weight(name="gain", shape=(), initializer=initial, autocast=False)

    def call(self, x: Tensor) -> Tensor:
        return self.conv(x, gain=tf.convert_to_tensor(self.gain))


__all__ = [
    "MagnitudeAttention",
    "MagnitudeBlock",
    "MagnitudeConv",
    "MagnitudeEmbedding",
    "MagnitudeEncoderBlock",
    "MagnitudeHead",
    "MagnitudeInput",
    "UnitFilters",
    "magnitude_cat",
    "magnitude_silu",
    "magnitude_sum",
    "pixel_norm",
    "unit_filters",
]
