"""The levels of NCSN++: one resolution, and the step to the next; and the layers they are made of.

A **pyramid** is an image beside the features: on the way down the input at ever lower resolution,
on the way up the output at ever higher resolution.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lcss_tf import random
from lcss_tf.networks.blocks import (
    AttentionBlock,
    Combine,
    DDPMResidualBlock,
    OutputHead,
    ResidualBlock,
    run_block,
)
from lcss_tf.networks.layers import (
    Block,
    Conv,
    NoiseEmbedding,
    feature_shape,
    one_of,
    register,
    residual_sum,
)
from lcss_tf.networks.magnitude import (
    MagnitudeAttention,
    MagnitudeBlock,
    MagnitudeEmbedding,
    MagnitudeEncoderBlock,
    MagnitudeHead,
    MagnitudeInput,
)
from lcss_tf.networks.resample import DownsampleConv, UpsampleConv, downsample, upsample
from lcss_tf.typing import OpenShape, Seed, Tensor


class Family(NamedTuple):
    """The layers that belong together: each called as those of NCSN++ are."""

    down: Any = ResidualBlock  # residual blocks on the way down
    up: Any = ResidualBlock  # those in the middle and on the way up
    attention: Any = AttentionBlock
    embedding: Any = NoiseEmbedding
    input: Any = Conv
    head: Any = OutputHead


FAMILIES = {
    "biggan": Family(),
    "ddpm": Family(DDPMResidualBlock, DDPMResidualBlock),
    "magnitude_preserving": Family(
        MagnitudeEncoderBlock,
        MagnitudeBlock,
        MagnitudeAttention,
        MagnitudeEmbedding,
        MagnitudeInput,
        MagnitudeHead,
    ),
}
_CONVOLUTIONS = {"down": DownsampleConv, "up": UpsampleConv}
_RESAMPLINGS = {"down": downsample, "up": upsample}


def seed_of(seed: Seed | None, index: int) -> Seed | None:
    """The seed of part `index`; None stays None."""
    return None if seed is None else random.fold_in(seed, index)


class _Level(Block):
    """One resolution and the step to the next: what the way down and the way up share.

    Args:
      features: channels at this resolution.
      num_blocks: residual blocks.
      attention: whether this level has attention.
      resample: whether a step to the next resolution follows.
      pyramid: ``"none"`` or the kind of pyramid.
      block: shared options: resblock, dropout, fir_kernel, skip_rescale, init_scale,
        resample_with_conv and rematerialise.
    """

    direction: str  # "down" or "up"
    pyramids: tuple[str, ...]  # the kinds there are

    def __init__(
        self,
        features: int,
        num_blocks: int,
        *,
        attention: bool,
        resample: bool,
        pyramid: str,
        block: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep(
            features=features,
            num_blocks=num_blocks,
            attention=attention,
            resample=resample,
            pyramid=one_of("pyramid", pyramid, self.pyramids),
            block=dict(block),
        )

    def _residual(self, channels, features, embedding_shape, **kwargs):
        options = {k: self.block[k] for k in ("dropout", "skip_rescale", "init_scale")}
        make = getattr(FAMILIES[self.block["resblock"]], self.direction)
        shapes = [feature_shape(self.like, channels), embedding_shape]
        kernel = self.block["fir_kernel"]
        return self.add(make, shapes, features, fir_kernel=kernel, **options, **kwargs)

    def _attention(self, channels, **kwargs):
        options = {k: self.block[k] for k in ("skip_rescale", "init_scale")}
        make = FAMILIES[self.block["resblock"]].attention
        return self.add(make, [feature_shape(self.like, channels)], **options, **kwargs)

    def _resampling_conv(self, channels, features, **kwargs):
        return self.add(
            _CONVOLUTIONS[self.direction],
            [feature_shape(self.like, channels)],
            features,
            fir_kernel=self.block["fir_kernel"],
            **kwargs,
        )

    def _build_transition(self, channels, embedding_shape):
        """The step to the next resolution: a resampling block, or DDPM's convolution."""
        self.transition = None
        if self.resample and self.block["resblock"] != "ddpm":
            self.transition = self._residual(
                channels, channels, embedding_shape, resample=self.direction, name="transition"
            )
        elif self.resample and self.block["resample_with_conv"]:
            self.transition = self._resampling_conv(channels, channels, name="transition")

    def _run(self, residual, parts, embedding, seed, copies):
        """A residual block on the parts [N, ..., C_i] joined along the channels."""
        return run_block(
            residual, parts, embedding, self.block["rematerialise"], seed=seed, copies=copies
        )

    def _transit(self, x, embedding, seed, copies):
        if self.block["resblock"] != "ddpm":
            return self._run(
                self.transition, [x], embedding, seed_of(seed, self.num_blocks), copies
            )
        if self.block["resample_with_conv"]:
            return self.transition(x)
        return self._resampled(x)

    def _resampled(self, x):
        return _RESAMPLINGS[self.direction](x, self.block["fir_kernel"])


@register
class DownLevel(_Level):
    """`num_blocks` residual blocks, each with or without attention, and a step down.

    The pyramid (the input) enters after the step down. ``"input_skip"`` resamples the image and
    combines it with the features. ``"residual"`` convolves it to the features' width and adds it
    to them; the sum is the next level's features and its pyramid.

    Args:
      combine: ``"sum"`` or ``"cat"``, of ``"input_skip"``.
    """

    direction = "down"
    pyramids = ("none", "input_skip", "residual")

    def __init__(
        self, features: int, num_blocks: int, *, combine: str = "sum", **kwargs: Any
    ) -> None:
        super().__init__(features, num_blocks, **kwargs)
        self.keep(**self._hyperparameters, combine=one_of("combine", combine, ("sum", "cat")))

    def build(
        self,
        x_shape: OpenShape,
        embedding_shape: OpenShape | None = None,
        pyramid_shape: OpenShape | None = None,
    ) -> None:
        self.like, channels = x_shape, x_shape[-1]
        self.residuals: list[ResidualBlock] = []
        self.attentions: list[AttentionBlock] = []
        self.skip_channels: list[int] = []
        for i in range(self.num_blocks):
            self.residuals.append(
                self._residual(channels, self.features, embedding_shape, name=f"residual_{i}")
            )
            channels = self.features
            if self.attention:
                self.attentions.append(self._attention(channels, name=f"attention_{i}"))
            self.skip_channels.append(channels)
        self._build_transition(channels, embedding_shape)
        self.pyramid_channels = pyramid_shape and pyramid_shape[-1]
        if self.resample:
            channels = self._build_pyramid(channels)
            self.skip_channels.append(channels)
        self.out_channels = channels

    def _build_pyramid(self, channels):
        """Returns the channels after the pyramid has entered."""
        if self.pyramid == "input_skip":
            shapes = [
                feature_shape(self.like, self.pyramid_channels),
                feature_shape(self.like, channels),
            ]
            self.combination = self.add(Combine, shapes, self.combine, name="combination")
            return channels * (2 if self.combine == "cat" else 1)
        if self.pyramid == "residual":
            self.pyramid_conv = self._resampling_conv(
                self.pyramid_channels, channels, name="pyramid_conv"
            )
            self.pyramid_channels = channels
        return channels

    def call(
        self,
        x: Tensor,
        embedding: Tensor | None = None,
        pyramid: Tensor | None = None,
        seed: Seed | None = None,
        copies: int = 1,
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Returns the next level's features and pyramid, and the skip connections."""
        skips = []
        for i, residual in enumerate(self.residuals):
            x = self._run(residual, [x], embedding, seed_of(seed, i), copies)
            if self.attention:
                x = self.attentions[i](x)
            skips.append(x)
        if not self.resample:
            return x, pyramid, skips
        x = self._transit(x, embedding, seed, copies)
        if self.pyramid == "input_skip":
            pyramid = self._resampled(pyramid)
            x = self.combination(pyramid, x)
        elif self.pyramid == "residual":
            x = residual_sum(self.pyramid_conv(pyramid), x, self.block["skip_rescale"])
            pyramid = x
        return x, pyramid, [*skips, x]


@register
class UpLevel(_Level):
    """`num_blocks` residual blocks, each taking a skip connection; attention; a step up.

    The pyramid (the output) starts at the lowest level.

    - ``"output_skip"``: every level adds an image, in float32, to the upsampled sum of those below.
    - ``"residual"``: a convolution brings the pyramid to the next resolution and the features'
      width. Its sum with the features is the next level's features and its pyramid.

    Args:
      out_channels: channels of the image.
    """

    direction = "up"
    pyramids = ("none", "output_skip", "residual")

    def __init__(self, features: int, num_blocks: int, *, out_channels: int, **kwargs: Any) -> None:
        super().__init__(features, num_blocks, **kwargs)
        self.keep(**self._hyperparameters, out_channels=out_channels)

    def build(
        self,
        x_shape: OpenShape,
        skips_shape: Sequence[OpenShape],
        embedding_shape: OpenShape | None = None,
        pyramid_shape: OpenShape | None = None,
    ) -> None:
        self.like, channels = x_shape, x_shape[-1]
        self.residuals: list[ResidualBlock] = []
        for i, skip_shape in enumerate(reversed(skips_shape)):
            joined = channels + skip_shape[-1]
            self.residuals.append(
                self._residual(joined, self.features, embedding_shape, name=f"residual_{i}")
            )
            channels = self.features
        self.attentions = [self._attention(channels, name="attention")] if self.attention else []
        self.head = self.pyramid_conv = None
        self.pyramid_channels = pyramid_shape and pyramid_shape[-1]
        self._build_pyramid(channels)
        self._build_transition(channels, embedding_shape)

    def _build_pyramid(self, channels):
        shapes = [feature_shape(self.like, channels)]
        if self.pyramid == "output_skip":
            scale = self.block["init_scale"]
            self.head = self.add(
                OutputHead, shapes, self.out_channels, scale=scale, name="head", dtype="float32"
            )
            self.pyramid_channels = self.out_channels
        elif self.pyramid == "residual" and self.pyramid_channels is None:
            self.head = self.add(OutputHead, shapes, channels, name="head")
            self.pyramid_channels = channels
        elif self.pyramid == "residual":
            self.pyramid_conv = self._resampling_conv(
                self.pyramid_channels, channels, name="pyramid_conv"
            )
            self.pyramid_channels = channels

    def call(
        self,
        x: Tensor,
        skips: Sequence[Tensor],
        embedding: Tensor | None = None,
        pyramid: Tensor | None = None,
        seed: Seed | None = None,
        copies: int = 1,
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the next level's features and pyramid."""
        skips = list(skips)
        for i, residual in enumerate(self.residuals):
            x = self._run(residual, [x, skips.pop()], embedding, seed_of(seed, i), copies)
        for attention in self.attentions:
            x = attention(x)
        x, pyramid = self._advance_pyramid(x, pyramid)
        if self.resample:
            x = self._transit(x, embedding, seed, copies)
        return x, pyramid

    def _advance_pyramid(self, x, pyramid):
        if self.pyramid == "none":
            return x, None
        if pyramid is None:
            return x, self.head(x)
        if self.pyramid == "output_skip":
            return x, self._resampled(pyramid) + self.head(x)
        x = residual_sum(self.pyramid_conv(pyramid), x, self.block["skip_rescale"])
        return x, x


__all__ = ["FAMILIES", "DownLevel", "Family", "UpLevel", "seed_of"]
