"""NCSN++ and DDPM++, for one, two or three spatial axes."""

import keras
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.layers import (
    AttentionBlock,
    Conv,
    NoiseEmbedding,
    OutputHead,
    embed_classes,
    first_copy,
    make_class_embedding,
)
from lcss_tf.layers.base import feature_shape, one_of, register
from lcss_tf.networks.levels import RESIDUAL_BLOCKS, DownLevel, UpLevel, at, run_block
from lcss_tf.networks.sizes import check_shape
from lcss_tf.registry import NETWORKS


@NETWORKS.register
@register
class NCSNpp(keras.Model):
    """The U-shaped networks NCSN++ and DDPM++ of Song et al. (ICLR 2021), by configuration.

    The defaults are DDPM++ for 32-pixel images (positional embedding, no FIR filter, no
    pyramids). NCSN++ is ``embedding="fourier", fir=True, progressive_input="residual",
    scale_by_sigma=True, centered=False``.

    ``network(x, cond, seed=None, copies=1, labels=None)``: x [N, ..., C] with 1, 2 or 3 spatial
    axes and cond [N] give [N, ..., C] in float32. The network is a pure function of its arguments:
    dropout acts only if `seed` is given, and its masks are a function of the seed. The first
    call (or ``build``) fixes the number of axes and channels, and the sizes that have attention.

    Args:
      num_features: nf, the channels at full resolution before multiplication.
      channel_multipliers: channels of each level, as multiples of nf; every level after the
        first halves the size.
      num_res_blocks: residual blocks per level (one more on the way up).
      attention_resolutions: sizes (the longest spatial axis of a level) that have attention.
      dropout: rate in [0, 1) in the residual blocks.
      embedding: ``"positional"`` (cond is like 999·t) or ``"fourier"`` (cond is σ > 0).
      fourier_scale: standard deviation of the Fourier frequencies.
      conditional: False leaves the noise label out of the blocks.
      fir: resample with the FIR filter; else nearest neighbours and averages.
      fir_kernel: its taps.
      progressive_output: ``"none"``, ``"output_skip"`` or ``"residual"``.
      progressive_input: ``"none"``, ``"input_skip"`` or ``"residual"``.
      combine: ``"sum"`` or ``"cat"``: how ``"input_skip"`` joins the features.
      resblock: ``"biggan"`` or ``"ddpm"``.
      skip_rescale: divide residual sums by √2.
      scale_by_sigma: divide the output by cond (Fourier embedding only).
      resample_with_conv: ddpm blocks: follow the resampling between levels by a convolution.
      init_scale: initialisation scale of every block's last layer and the output; 0 means 1e-10.
      centered: False if x lies in [0, 1]: the network then takes 2x − 1.
      rematerialise: compute each residual block again in the backward pass instead of keeping its
        insides: far less memory, about a third more work.
      num_classes: classes of a conditional network, whose labels run from 0; None: no classes.

    Raises:
      ValueError: an option is none of those above; x does not fit the levels.
    """

    def __init__(
        self,
        *,
        num_features=128,
        channel_multipliers=(1, 2, 2, 2),
        num_res_blocks=4,
        attention_resolutions=(16,),
        dropout=0.1,
        embedding="positional",
        fourier_scale=16.0,
        conditional=True,
        fir=False,
        fir_kernel=(1, 3, 3, 1),
        progressive_output="none",
        progressive_input="none",
        combine="sum",
        resblock="biggan",
        skip_rescale=True,
        scale_by_sigma=False,
        resample_with_conv=True,
        init_scale=0.0,
        centered=True,
        rematerialise=False,
        num_classes=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        if not 0.0 <= dropout < 1.0:
            raise UsageError(f"dropout is a rate in [0, 1); got {dropout}.")
        if num_classes is not None and not conditional:
            raise UsageError(
                "num_classes needs conditional=True: classes enter where the noise label does."
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
            "resblock": one_of("resblock", resblock, tuple(RESIDUAL_BLOCKS)),
            "skip_rescale": skip_rescale,
            "scale_by_sigma": scale_by_sigma,
            "resample_with_conv": resample_with_conv,
            "init_scale": init_scale,
            "centered": centered,
            "rematerialise": rematerialise,
            "num_classes": num_classes,
        }
        for name, value in self._hyperparameters.items():
            setattr(self, name, value)

    def get_config(self):
        return {**super().get_config(), **self._hyperparameters}

    takes_copies = True
    pieces_on_cpu = True  # see `lcss_tf.xla`

    @property
    def stochastic(self):
        """Whether a seed makes a difference."""
        return self.dropout > 0.0

    def build(self, x_shape, cond_shape=None):
        check_shape(x_shape, len(self.channel_multipliers))
        self._like = (None, *x_shape[1:])
        channels = x_shape[-1]
        options = {"dtype": self.dtype_policy}

        self.noise_embedding = self.class_embedding = embedding = None
        if self.conditional:
            self.noise_embedding = NoiseEmbedding(
                self.num_features,
                kind=self.embedding,
                fourier_scale=self.fourier_scale,
                name="noise_embedding",
            )
            self.noise_embedding.build((None,))
            units = self.noise_embedding.units
            self.class_embedding = make_class_embedding(self.num_classes, units)
            embedding = (None, units)

        self.input_conv = Conv(self.num_features, name="input_conv", **options)
        self.input_conv.build(feature_shape(x_shape, channels))
        skips = self._build_down(embedding)
        inner = feature_shape(x_shape, self.down_levels[-1].out_channels)
        block = self._block_options()
        shared = {k: block[k] for k in ("skip_rescale", "init_scale")}
        make = RESIDUAL_BLOCKS[self.resblock]
        self.middle_0 = make(dropout=self.dropout, name="middle_0", **shared, **options)
        self.middle_attention = AttentionBlock(name="middle_attention", **shared, **options)
        self.middle_1 = make(dropout=self.dropout, name="middle_1", **shared, **options)
        self.middle_0.build(inner, embedding)
        self.middle_attention.build(inner)
        self.middle_1.build(inner, embedding)
        self._build_up(inner, skips, embedding)

        self.head = None
        if self.progressive_output != "output_skip":
            self.head = OutputHead(channels, scale=self.init_scale, name="head", dtype="float32")
            self.head.build(feature_shape(x_shape, self.up_levels[-1].features))

    def _block_options(self):
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
        pyramid = None if self.progressive_input == "none" else self._like
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

    def call(self, x, cond, seed=None, copies=1, labels=None):
        """The network's output.

        Args:
          x: [N, ..., C].
          cond: the noise label [N]: 999·t (positional) or σ (Fourier).
          seed: for dropout: an int or an int32 seed of shape [2] or [3]; None means none.
          copies: how many stacked copies of a batch x and cond hold, all with the same cond;
            they share its embedding, and the dropout masks.
          labels: classes, int [N/copies], `num_classes` meaning none; None: none for all.

        Returns:
          [N, ..., C] in float32.
        """
        check_shape(x.shape, len(self.channel_multipliers), self._like)
        seed = random.as_seed(seed) if seed is not None and self.stochastic else None
        cond = tf.cast(cond, tf.float32)
        x = tf.cast(x, tf.float32)
        x = tf.cast(x if self.centered else 2.0 * x - 1.0, self.compute_dtype)
        embedding, first = None, first_copy(cond, copies)
        classes = embed_classes(self.class_embedding, labels, tf.shape(first)[0])
        if self.conditional:
            embedding = self.noise_embedding(first, classes)
        part = {"embedding": embedding, "copies": copies}

        pyramid = None if self.progressive_input == "none" else x
        h = self.input_conv(x)
        skips, streams = [h], iter(range(2 * len(self.channel_multipliers) + 2))
        for level in self.down_levels:
            h, pyramid, more = level(h, pyramid=pyramid, seed=at(seed, next(streams)), **part)
            skips.extend(more)
        h = self._middle(self.middle_0, h, at(seed, next(streams)), **part)
        h = self.middle_attention(h)
        h = self._middle(self.middle_1, h, at(seed, next(streams)), **part)
        pyramid = None
        for level in self.up_levels:
            taken = level.num_blocks
            skips, own = skips[:-taken], skips[-taken:]
            h, pyramid = level(h, own, pyramid=pyramid, seed=at(seed, next(streams)), **part)

        y = self.head(h) if self.head is not None else pyramid
        if self.scale_by_sigma:
            y = y / tf.reshape(cond, [-1, *[1] * (y.shape.rank - 1)])
        return y

    def _middle(self, block, h, seed, embedding, copies):
        return run_block(block, [h], embedding, self.rematerialise, seed=seed, copies=copies)

    def get_build_config(self):
        return {"x_shape": self._like}

    def build_from_config(self, config):
        self.build(tuple(config["x_shape"]))
