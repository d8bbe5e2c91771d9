"""NCSN++ and DDPM++ (Song et al., ICLR 2021), for one, two or three spatial axes.

A U-shaped network: levels of falling resolution, two blocks in the middle, the same levels back
up. A **pyramid** is an image beside the features. On the way down it is the input at ever lower
resolution (progressive input), on the way up the output at ever higher resolution (progressive
output).
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from lcss_tf import random
from lcss_tf.conditioning import check_options
from lcss_tf.errors import UsageError
from lcss_tf.networks.blocks import run_block
from lcss_tf.networks.conditions import (
    make_augmentation,
    make_condition,
    with_augmentation,
    with_condition,
)
from lcss_tf.networks.layers import (
    NoiseEmbedding,
    feature_shape,
    first_copy,
    model_options,
    one_of,
    register,
)
from lcss_tf.networks.levels import FAMILIES, DownLevel, UpLevel, seed_of
from lcss_tf.registry import NETWORKS
from lcss_tf.typing import OpenShape, Seed, Tensor


@NETWORKS.register
@register
class NCSNpp(keras.Model):
    """NCSN++ and DDPM++ of Song et al. (ICLR 2021), by configuration.

    The defaults are DDPM++ for 32-pixel images (positional embedding, no FIR filter, no
    pyramids). NCSN++ is ``embedding="fourier", fir=True, progressive_input="residual",
    scale_by_sigma=True, centered=False``.

    ``network(x, cond, seed=None, copies=1, condition=None, augmentation=None)``: x [N, ..., C] with
    1, 2 or 3 spatial axes and cond [N] give [N, ..., C] in float32. The network is a pure function
    of its arguments: dropout acts only with a `seed`, and its masks are a function of it. The first
    call, or ``build((None, ..., C))``, fixes the number of axes and channels, and the levels that
    have attention.

    Args:
      num_features: nf, the channels at full resolution before multiplication.
      channel_multipliers: channels of each level, as multiples of nf; every level after the
        first halves the size.
      num_res_blocks: residual blocks per level (one more on the way up).
      attention_resolutions: the levels that have attention, by the length of their longest
        spatial axis, in pixels.
      dropout: rate in [0, 1) in the residual blocks.
      embedding: ``"positional"`` (cond is like 999·t) or ``"fourier"`` (cond is σ > 0).
      fourier_scale: standard deviation of the Fourier frequencies.
      conditional: False makes the blocks independent of the noise label.
      fir: resample with the FIR filter; else by nearest neighbours and averages.
      fir_kernel: its taps.
      progressive_output: ``"none"``, ``"output_skip"`` or ``"residual"``.
      progressive_input: ``"none"``, ``"input_skip"`` or ``"residual"``.
      combine: ``"sum"`` or ``"cat"``: how ``"input_skip"`` joins the features.
      resblock: ``"biggan"``, ``"ddpm"``, or ``"magnitude_preserving"`` of EDM2 (see `magnitude`),
        which goes without pyramids, and for which `init_scale` is the output's gain at first.
      skip_rescale: divide residual sums by √2.
      scale_by_sigma: divide the output by cond (Fourier embedding only).
      resample_with_conv: ddpm blocks: follow the resampling between levels by a convolution.
      init_scale: initialisation scale of every block's last layer and the output; 0 means 1e-10.
      centered: False if x lies in [0, 1]: the network then takes 2x − 1.
      rematerialise: recompute each residual block in the backward pass instead of keeping its
        intermediate values: far less memory, about a third more work.
      num_classes: of a class-conditional network; labels run from 0. None: no classes.
      condition_size: in place of it K, of a network that is told K numbers; None: it is not.
      condition_channels: or C', of a network that is told an image [..., C'] of the spatial shape
        of x, which joins x along the channels; None: it is not.
      augmentation_size: beside any of them, the numbers of a label that says how an example was
        augmented (`lcss_tf.data.Augmented`); None: it is not told.

    Raises:
      UsageError: an option is none of those above; x does not fit the levels.
    """

    def __init__(
        self,
        *,
        num_features: int = 128,
        channel_multipliers: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 4,
        attention_resolutions: Sequence[int] = (16,),
        dropout: float = 0.1,
        embedding: str = "positional",
        fourier_scale: float = 16.0,
        conditional: bool = True,
        fir: bool = False,
        fir_kernel: Sequence[float] = (1, 3, 3, 1),
        progressive_output: str = "none",
        progressive_input: str = "none",
        combine: str = "sum",
        resblock: str = "biggan",
        skip_rescale: bool = True,
        scale_by_sigma: bool = False,
        resample_with_conv: bool = True,
        init_scale: float = 0.0,
        centered: bool = True,
        rematerialise: bool = False,
        num_classes: int | None = None,
        condition_size: int | None = None,
        condition_channels: int | None = None,
        augmentation_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **model_options(type(self), kwargs))
        conditions = {
            "num_classes": num_classes,
            "condition_size": condition_size,
            "condition_channels": condition_channels,
        }
        check_options(**conditions)
        if not 0.0 <= dropout < 1.0:
            raise UsageError(f"dropout is a rate in [0, 1); got {dropout}.")
        by_embedding = {k: v for k, v in conditions.items() if k != "condition_channels"}
        for name, value in (by_embedding | {"augmentation_size": augmentation_size}).items():
            if value is not None and not conditional:
                raise UsageError(
                    f"{name} needs conditional=True: it enters where the noise label does."
                )
        pyramids = progressive_input, progressive_output
        if resblock == "magnitude_preserving" and pyramids != ("none", "none"):
            raise UsageError(
                "resblock='magnitude_preserving' goes without pyramids; got progressive_input="
                f"{pyramids[0]!r} and progressive_output={pyramids[1]!r}. Set both to 'none'."
            )
        if scale_by_sigma and embedding != "fourier":
            raise UsageError(
                "scale_by_sigma=True divides by cond, which is σ only under "
                f"embedding='fourier'; got embedding={embedding!r}. Set scale_by_sigma=False."
            )
        self._hyperparameters = {
            "num_features": num_features,
            "channel_multipliers": tuple(channel_multipliers),
            "num_res_blocks": num_res_blocks,
            "attention_resolutions": tuple(attention_resolutions),
            "dropout": dropout,
            "embedding": one_of("embedding", embedding, ("positional", "fourier")),
            "fourier_scale": fourier_scale,
            "conditional": conditional,
            "fir": fir,
            "fir_kernel": tuple(fir_kernel),
            "progressive_output": one_of(
                "progressive_output", progressive_output, UpLevel.pyramids
            ),
            "progressive_input": one_of("progressive_input", progressive_input, DownLevel.pyramids),
            "combine": one_of("combine", combine, ("sum", "cat")),
            "resblock": one_of("resblock", resblock, tuple(FAMILIES)),
            "skip_rescale": skip_rescale,
            "scale_by_sigma": scale_by_sigma,
            "resample_with_conv": resample_with_conv,
            "init_scale": init_scale,
            "centered": centered,
            "rematerialise": rematerialise,
            **conditions,
            "augmentation_size": augmentation_size,
        }
        for name, value in self._hyperparameters.items():
            setattr(self, name, value)
        # The shape [None, ..., C] that the network is built for.
        self._like: OpenShape | None = None

    def get_config(self) -> dict:
        return {**super().get_config(), **self._hyperparameters}

    takes_copies = True
    pieces_on_cpu = True  # see `lcss_tf.xla`
    parts_on_cpu = True  # see `lcss_tf.cores`

    @property
    def stochastic(self) -> bool:
        """Whether a seed makes a difference."""
        return self.dropout > 0.0

    def build(self, x_shape: OpenShape, cond_shape: OpenShape | None = None) -> None:
        """Makes the weights for x of shape [N, ..., C]; without effect on a built network.

        Raises:
          UsageError: the shape does not fit the levels, or what the network was built for.
        """
        _check_shape(x_shape, len(self.channel_multipliers), self._like)
        if self._like is not None:
            return
        self._like = (None, *x_shape[1:])
        channels = x_shape[-1]
        options, family = {"dtype": self.dtype_policy}, FAMILIES[self.resblock]

        self.noise_embedding: NoiseEmbedding | None = None
        embedding, units = None, 0
        if self.conditional:
            self.noise_embedding = family.embedding(
                self.num_features,
                kind=self.embedding,
                fourier_scale=self.fourier_scale,
                name="noise_embedding",
            )
            self.noise_embedding.build((None,))
            units = self.noise_embedding.units
            embedding = (None, units)
        self.condition_layer = make_condition(
            units, self.num_classes, self.condition_size, self.condition_channels
        )
        self.augmentation_layer = make_augmentation(self.augmentation_size, units)
        self._inputs = (*self._like[:-1], channels + (self.condition_channels or 0))

        self.input_conv = family.input(self.num_features, name="input_conv", **options)
        self.input_conv.build(feature_shape(x_shape, self._inputs[-1]))
        skips = self._build_down(embedding)
        inner = feature_shape(x_shape, self.down_levels[-1].out_channels)
        block = self._block_options()
        shared = {k: block[k] for k in ("skip_rescale", "init_scale")}
        make = family.up
        self.middle_0 = make(dropout=self.dropout, name="middle_0", **shared, **options)
        self.middle_attention = family.attention(name="middle_attention", **shared, **options)
        self.middle_1 = make(dropout=self.dropout, name="middle_1", **shared, **options)
        self.middle_0.build(inner, embedding)
        self.middle_attention.build(inner)
        self.middle_1.build(inner, embedding)
        self._build_up(inner, skips, embedding)

        self.head = None
        if self.progressive_output != "output_skip":
            self.head = family.head(channels, scale=self.init_scale, name="head", dtype="float32")
            self.head.build(feature_shape(x_shape, self.up_levels[-1].features))

    def _block_options(self) -> dict[str, Any]:
        return {
            "resblock": self.resblock,
            "dropout": self.dropout,
            "fir_kernel": self.fir_kernel if self.fir else None,
            "skip_rescale": self.skip_rescale,
            "init_scale": self.init_scale,
            "resample_with_conv": self.resample_with_conv,
            "rematerialise": self.rematerialise,
        }

    def _level_options(self, level):
        """The arguments of the levels, by number from full resolution down."""
        size = max(self._like[1:-1]) // 2**level
        return {
            "features": self.num_features * self.channel_multipliers[level],
            "attention": size in self.attention_resolutions,
            "block": self._block_options(),
            "dtype": self.dtype_policy,
        }

    def _build_down(self, embedding):
        """Returns the channels of the skip connections."""
        channels, skips = self.num_features, [self.num_features]
        pyramid = None if self.progressive_input == "none" else self._inputs
        self.down_levels = []
        for i in range(len(self.channel_multipliers)):
            level = DownLevel(
                num_blocks=self.num_res_blocks,
                resample=i < len(self.channel_multipliers) - 1,
                pyramid=self.progressive_input,
                combine=self.combine,
                name=f"down_{i}",
                **self._level_options(i),
            )
            level.build(feature_shape(self._like, channels), embedding, pyramid)
            channels = level.out_channels
            pyramid = pyramid and feature_shape(self._like, level.pyramid_channels)
            skips.extend(level.skip_channels)
            self.down_levels.append(level)
        return skips

    def _build_up(self, shape, skips, embedding):
        pyramid, taken = None, self.num_res_blocks + 1
        self.up_levels = []
        for i in reversed(range(len(self.channel_multipliers))):
            level = UpLevel(
                num_blocks=taken,
                resample=i > 0,
                pyramid=self.progressive_output,
                out_channels=self._like[-1],
                name=f"up_{i}",
                **self._level_options(i),
            )
            skips, own = skips[:-taken], skips[-taken:]
            own = [feature_shape(self._like, channels) for channels in own]
            level.build(shape, own, embedding, pyramid)
            shape = feature_shape(self._like, level.features)
            if level.pyramid_channels is not None:
                pyramid = feature_shape(self._like, level.pyramid_channels)
            self.up_levels.append(level)

    def call(
        self,
        x: Tensor,
        cond: Tensor,
        seed: Seed | None = None,
        copies: int = 1,
        condition: Tensor | None = None,
        augmentation: Tensor | None = None,
    ) -> Tensor:
        """The network's output.

        Args:
          x: [N, ..., C].
          cond: the noise label [N]: 999·t (positional) or σ (Fourier).
          seed: for dropout: an int or an int32 seed of shape [2] or [3]; None means none.
          copies: how many stacked copies of a batch x and cond hold, all with the same cond. They
            share its embedding, and the dropout masks.
          condition: of the N/copies examples: classes, int [N/copies], where `num_classes` is the
            null class; or standardised numbers [N/copies, K], or images [N/copies, ..., C'], where
            NaN is the null condition. None: the null condition for all.
          augmentation: how the N/copies examples were augmented, [N/copies, `augmentation_size`];
            None: they were not.

        Returns:
          [N, ..., C] in float32.
        """
        _check_shape(x.shape, len(self.channel_multipliers), self._like)
        seed = random.as_seed(seed) if seed is not None and self.stochastic else None
        cond = tf.cast(cond, tf.float32)
        x = tf.cast(x, tf.float32)
        x = tf.cast(x if self.centered else 2.0 * x - 1.0, self.compute_dtype)
        embedding, first = None, first_copy(cond, copies)
        x, added = with_condition(x, self.condition_layer, condition, tf.shape(first)[0], copies)
        added = with_augmentation(added, self.augmentation_layer, augmentation)
        if self.noise_embedding is not None:
            embedding = self.noise_embedding(first, added)
        part = {"embedding": embedding, "copies": copies}

        pyramid = None if self.progressive_input == "none" else x
        h = self.input_conv(x)
        skips, streams = [h], iter(range(2 * len(self.channel_multipliers) + 2))
        for level in self.down_levels:
            h, pyramid, more = level(h, pyramid=pyramid, seed=seed_of(seed, next(streams)), **part)
            skips.extend(more)
        h = self._middle(self.middle_0, h, seed_of(seed, next(streams)), **part)
        h = self.middle_attention(h)
        h = self._middle(self.middle_1, h, seed_of(seed, next(streams)), **part)
        pyramid = None
        for level in self.up_levels:
            taken = level.num_blocks
            skips, own = skips[:-taken], skips[-taken:]
            h, pyramid = level(h, own, pyramid=pyramid, seed=seed_of(seed, next(streams)), **part)

        y: Tensor = self.head(h) if self.head is not None else pyramid
        if self.scale_by_sigma:
            y = y / tf.reshape(cond, [-1, *[1] * (y.shape.rank - 1)])
        return y

    def _middle(self, block, h, seed, embedding, copies):
        return run_block(block, [h], embedding, self.rematerialise, seed=seed, copies=copies)

    def get_build_config(self) -> dict | None:
        return None if self._like is None else {"x_shape": self._like}

    def build_from_config(self, config: dict) -> None:
        self.build(tuple(config["x_shape"]))


def _check_shape(shape: OpenShape, num_levels: int, like: OpenShape | None = None) -> None:
    """Raises UsageError unless x of this shape fits the levels, and what was built.

    Args:
      shape: of x, [N, ..., C].
      num_levels: resolutions; each after the first halves every spatial axis.
      like: the shape for which the network was built; None before.
    """
    if not 3 <= len(shape) <= 5 or None in shape[1:]:
        raise UsageError(
            "NCSNpp takes x of shape [N, ..., C] with 1, 2 or 3 spatial axes of known size; "
            f"got {tuple(shape)}. For vectors [N, d] use the MLP."
        )
    divisor = 2 ** (num_levels - 1)
    if any(size % divisor or size == 0 for size in shape[1:-1]):
        raise UsageError(
            f"NCSNpp with {num_levels} levels halves every spatial axis {num_levels - 1} times, "
            f"so sizes must be multiples of {divisor}; got {tuple(shape[1:-1])}. Pad or crop the "
            "data, or give fewer channel_multipliers."
        )
    if like is not None and (len(shape), shape[-1]) != (len(like), like[-1]):
        raise UsageError(
            f"This NCSNpp was built for x of shape {like}; got {tuple(shape)}. The number of axes "
            "and of channels is fixed: make another network."
        )


__all__ = ["NCSNpp"]
