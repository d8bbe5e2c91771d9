"""The blocks of NCSN++ and DDPM++: residual, attention, input combination and output."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.networks.layers import (
    Block,
    Conv,
    Dense,
    dropout,
    feature_shape,
    one_of,
    register,
    repeat_copies,
    residual_sum,
)
from lcss_tf.networks.normalization import GroupNorm
from lcss_tf.networks.resample import downsample, upsample
from lcss_tf.typing import OpenShape, Seed, Tensor

RESAMPLE = {"none": lambda x, _: x, "up": upsample, "down": downsample}


@register
class ResidualBlock(Block):
    """BigGAN's residual block, with the noise embedding added between its convolutions.

    h = conv(resample(silu(norm(x)))) + dense(embedding)
    y = shortcut(resample(x)) + conv(dropout(silu(norm(h))))

    The shortcut is a dense layer along the channels where their number or the size changes, else
    the identity. [N, ..., C] -> [N, ..., features]. The embedding is [N/copies, E], with its SiLU
    applied.

    Args:
      features: output channels; None means as many as the input has.
      resample: ``"none"``, ``"up"`` or ``"down"`` by two along every spatial axis.
      dropout: rate in [0, 1); acts only if a seed is given.
      fir_kernel: taps of the resampling filter; None means nearest and average.
      skip_rescale: divide the sum by √2.
      init_scale: initialisation scale of the last convolution.
    """

    shortcut_scale = 1.0

    @staticmethod
    def join(parts: Sequence[Tensor]) -> Tensor:
        """What the block is given, of several parts [N, ..., C_i]."""
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)

    def __init__(
        self,
        features: int | None = None,
        *,
        resample: str = "none",
        dropout: float = 0.0,
        fir_kernel: Sequence[float] | None = None,
        skip_rescale: bool = True,
        init_scale: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep(
            features=features,
            resample=one_of("resample", resample, tuple(RESAMPLE)),
            dropout=dropout,
            fir_kernel=fir_kernel and tuple(fir_kernel),
            skip_rescale=skip_rescale,
            init_scale=init_scale,
        )

    def build(self, x_shape: OpenShape, embedding_shape: OpenShape | None = None) -> None:
        features = self.features or x_shape[-1]
        inner = feature_shape(x_shape, features)
        self.norm_0 = self.add(GroupNorm, [x_shape], silu=True, name="norm_0")
        self.conv_0 = self.add(Conv, [x_shape], features, name="conv_0")
        self.noise = None
        if embedding_shape is not None:
            self.noise = self.add(Dense, [embedding_shape], features, name="noise")
        self.norm_1 = self.add(GroupNorm, [inner], silu=True, name="norm_1")
        self.conv_1 = self.add(Conv, [inner], features, scale=self.init_scale, name="conv_1")
        self.shortcut = None
        if features != x_shape[-1] or self.resample != "none":
            self.shortcut = self.add(
                Dense, [x_shape], features, self.shortcut_scale, name="shortcut"
            )

    def call(
        self,
        x: Tensor,
        embedding: Tensor | None = None,
        seed: Seed | None = None,
        copies: int = 1,
    ) -> Tensor:
        resample = RESAMPLE[self.resample]
        h = resample(self.norm_0(x), self.fir_kernel)
        h = self.conv_0(h)
        if self.noise is not None:
            noise = repeat_copies(self.noise(embedding), copies)
            h = h + tf.reshape(noise, [-1, *[1] * (h.shape.rank - 2), h.shape[-1]])
        h = dropout(self.norm_1(h), self.dropout, seed, copies)
        h = self.conv_1(h)
        x = resample(x, self.fir_kernel)
        if self.shortcut is not None:
            x = self.shortcut(x)
        return residual_sum(x, h, self.skip_rescale)


@register
class DDPMResidualBlock(ResidualBlock):
    """DDPM's residual block: BigGAN's without resampling, and a shortcut initialised to 0.1."""

    shortcut_scale = 0.1

    def __init__(self, features: int | None = None, **kwargs: Any) -> None:
        super().__init__(features, **kwargs)
        if self.resample != "none":
            raise UsageError(
                f"A DDPM block does not resample; got resample={self.resample!r}: put an "
                "UpsampleConv or DownsampleConv behind it, or use a ResidualBlock."
            )


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q Kᵀ/√d) V over places (Vaswani et al. 2017); the softmax in float32.

    Q, K and V are [..., T, d], with any axes before, such as examples and heads; the result too.
    """
    logits = tf.matmul(query, key, transpose_b=True)
    weights = tf.nn.softmax(tf.cast(logits, tf.float32) * query.shape[-1] ** -0.5)
    return tf.matmul(tf.cast(weights, value.dtype), value)


@register
class AttentionBlock(Block):
    """Self-attention with one head over all places: x + W_o softmax(QKᵀ/√C) V.

    [N, ..., C] -> the same shape. The softmax is computed in float32.

    Args:
      skip_rescale: divide the sum by √2.
      init_scale: initialisation scale of W_o.
    """

    def __init__(
        self, *, skip_rescale: bool = True, init_scale: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.keep(skip_rescale=skip_rescale, init_scale=init_scale)

    def build(self, x_shape: OpenShape) -> None:
        channels = x_shape[-1]
        flat = (None, None, channels)
        self.norm = self.add(GroupNorm, [x_shape], name="norm")
        self.query = self.add(Dense, [flat], channels, 0.1, name="query")
        self.key = self.add(Dense, [flat], channels, 0.1, name="key")
        self.value = self.add(Dense, [flat], channels, 0.1, name="value")
        self.out = self.add(Dense, [flat], channels, self.init_scale, name="out")

    def call(self, x: Tensor) -> Tensor:
        channels = x.shape[-1]
        h = tf.reshape(self.norm(x), [-1, x.shape[1:-1].num_elements(), channels])
        h = self.out(attention(self.query(h), self.key(h), self.value(h)))
        return residual_sum(x, tf.reshape(h, [-1, *x.shape[1:]]), self.skip_rescale)


@register
class Combine(Block):
    """Joins the input pyramid and the features: W·pyramid + x, or [W·pyramid, x].

    pyramid [N, ..., P], x [N, ..., C] -> [N, ..., C] (sum) or [N, ..., 2C] (cat).

    Args:
      method: ``"sum"`` or ``"cat"``.
    """

    def __init__(self, method: str = "sum", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(method=one_of("combine", method, ("sum", "cat")))

    def build(self, pyramid_shape: OpenShape, x_shape: OpenShape) -> None:
        self.projection = self.add(Dense, [pyramid_shape], x_shape[-1], name="projection")

    def call(self, pyramid: Tensor, x: Tensor) -> Tensor:
        h = self.projection(pyramid)
        return h + x if self.method == "sum" else tf.concat([h, x], axis=-1)


@register
class OutputHead(Block):
    """conv(silu(norm(x))): [N, ..., C] -> [N, ..., features].

    Args:
      features: output channels.
      scale: initialisation scale of the convolution.
    """

    def __init__(self, features: int, *, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(features=features, scale=scale)

    def build(self, x_shape: OpenShape) -> None:
        self.norm = self.add(GroupNorm, [x_shape], silu=True, name="norm")
        self.conv = self.add(Conv, [x_shape], self.features, scale=self.scale, name="conv")

    def call(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


def run_block(
    block: keras.layers.Layer,
    parts: Sequence,
    embedding: Tensor | None,
    rematerialise: bool,
    **options: Any,
) -> Tensor:
    """A block on the parts that it joins along the channels, rematerialised or not."""
    join: Callable[[Sequence], Tensor] = getattr(block, "join", lambda parts: parts[0])
    if not rematerialise:
        return block(join(parts), embedding, **options)
    if embedding is None:
        return rematerialised(block, parts, lambda parts: (join(parts),), **options)
    arguments = lambda inputs: (join(inputs[:-1]), inputs[-1])
    return rematerialised(block, [*parts, embedding], arguments, **options)


def rematerialised(
    layer: keras.layers.Layer, inputs: Sequence, join: Callable[[list], tuple], **options: Any
) -> Tensor:
    """layer(join(inputs), **options), recomputed in the backward pass instead of kept.

    Only the inputs stay in memory. The forward pass runs once more, which makes a step about a
    third longer (Chen et al. 2016).

    Args:
      layer: a built Keras layer; a pure function of its inputs, options and weights.
      inputs: a list of tensors; gradients flow to all.
      join: inputs -> the layer's positional arguments, a tuple.
      **options: passed on; no gradient flows to them.

    Returns:
      The layer's output, a tensor. Higher derivatives exist, but keep the intermediate values.
    """
    weights = [tf.convert_to_tensor(v) for v in layer.trainable_variables]
    fixed = [tf.convert_to_tensor(v) for v in layer.non_trainable_variables]
    count = len(inputs)

    def run(*values: Tensor) -> Tensor:
        arguments = join(list(values[:count]))
        return layer.stateless_call(list(values[count:]), fixed, *arguments, **options)[0]

    @tf.custom_gradient
    def forward(*values: Tensor) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
        def gradient(upstream: Tensor) -> list[Tensor]:
            again = [_after(upstream, values[0]), *values[1:]]
            with tf.GradientTape() as tape:
                tape.watch(again)
                y = run(*again)
            return tape.gradient(
                y,
                again,
                output_gradients=upstream,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )

        return run(*values), gradient

    return forward(*inputs, *weights)


def _after(upstream: Tensor, x: Tensor) -> Tensor:
    """x, as a value that exists only once `upstream` does.

    Without this dependency the compiler sees the same computation twice, does it once, and
    keeps the result.
    """
    one = tf.reshape(upstream, [-1])[0]
    zero = tf.where(one == one, 0.0, float("nan"))  # no compiler can know that it is 0
    return x + tf.cast(zero, x.dtype)


__all__ = [
    "AttentionBlock",
    "Combine",
    "DDPMResidualBlock",
    "OutputHead",
    "ResidualBlock",
    "attention",
    "rematerialised",
    "run_block",
]
