"""DiT, the diffusion transformer of Peebles and Xie (2023), for one, two or three spatial axes.

The input is cut into patches, and each patch becomes a token. The tokens pass through transformer
blocks. The noise label and the condition enter every block through its normalisations (adaLN-Zero).
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from lcss_tf import random
from lcss_tf.conditioning import check_options
from lcss_tf.errors import UsageError
from lcss_tf.networks.blocks import attention, run_block
from lcss_tf.networks.conditions import (
    make_augmentation,
    make_condition,
    with_augmentation,
    with_condition,
)
from lcss_tf.networks.layers import (
    Block,
    Dense,
    NoiseEmbedding,
    dropout,
    first_copy,
    model_options,
    one_of,
    positional,
    register,
    repeat_copies,
)
from lcss_tf.registry import NETWORKS
from lcss_tf.typing import OpenShape, Seed, Shape, Tensor

_EMBEDDED = 256  # numbers that the noise label becomes before the dense layers, as in the paper


@register
class TransformerBlock(Block):
    """A transformer block with adaLN-Zero: an embedding shifts, scales and gates what it does.

    With (β_1, γ_1, α_1, β_2, γ_2, α_2) = W e, W = 0 at first, and LN without weights of its own:

        h ← h + α_1 W_o attention(LN(h) (1 + γ_1) + β_1)
        h ← h + α_2 W_2 gelu(W_1 (LN(h) (1 + γ_2) + β_2))

    h [N, T, D] -> the same shape. e is the embedding [N/copies, E], with its SiLU applied. So the
    block begins as the identity.

    Args:
      num_heads: of the attention; divides D.
      mlp_ratio: width of the hidden layer over D.
      dropout: rate in [0, 1) on what is added to h; acts only if a seed is given.
    """

    def __init__(
        self, num_heads: int, *, mlp_ratio: float = 4.0, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.keep(num_heads=num_heads, mlp_ratio=mlp_ratio, dropout=dropout)

    def build(self, h_shape: OpenShape, embedding_shape: OpenShape) -> None:
        width = h_shape[-1]
        hidden = int(self.mlp_ratio * width)
        self.modulation = self.add(
            keras.layers.Dense,
            [embedding_shape],
            6 * width,
            kernel_initializer="zeros",
            name="modulation",
            dtype="float32",
        )
        self.qkv = self.add(Dense, [h_shape], 3 * width, name="qkv")
        self.out = self.add(Dense, [h_shape], width, name="out")
        self.mlp_0 = self.add(Dense, [h_shape], hidden, name="mlp_0")
        self.mlp_1 = self.add(Dense, [(None, None, hidden)], width, name="mlp_1")

    def call(
        self, h: Tensor, embedding: Tensor, seed: Seed | None = None, copies: int = 1
    ) -> Tensor:
        first, second = tf.split(repeat_copies(self.modulation(embedding), copies), 2, axis=-1)
        h = self._add(h, first, self._attended, seed, 0, copies)
        return self._add(h, second, self._mlp, seed, 1, copies)

    def _add(self, h, modulation, branch, seed, index, copies):
        """h + gate · branch(LN(h) (1 + scale) + shift)."""
        shift, scale, gate = tf.split(modulation[:, None], 3, axis=-1)
        seed = None if seed is None else random.fold_in(seed, index)
        update = branch(tf.cast(modulated(h, shift, scale), self.compute_dtype))
        return h + tf.cast(gate, h.dtype) * dropout(update, self.dropout, seed, copies)

    def _attended(self, h):
        tokens, width = h.shape[1:]

        def heads(values: Tensor) -> Tensor:
            values = tf.reshape(values, [-1, tokens, self.num_heads, width // self.num_heads])
            return tf.transpose(values, [0, 2, 1, 3])

        query, key, value = (heads(part) for part in tf.split(self.qkv(h), 3, axis=-1))
        together = tf.transpose(attention(query, key, value), [0, 2, 1, 3])
        return self.out(tf.reshape(together, [-1, tokens, width]))

    def _mlp(self, h):
        return self.mlp_1(tf.nn.gelu(self.mlp_0(h), approximate=True))


def modulated(h: Tensor, shift: Tensor, scale: Tensor, epsilon: float = 1e-6) -> Tensor:
    """LN(h) (1 + scale) + shift in float32; LN(h) = (h − mean)/√(variance + ε) over the last axis.

    h [N, T, D], shift and scale [N, 1, D].
    """
    h = tf.cast(h, tf.float32)
    h = h - tf.reduce_mean(h, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(h), axis=-1, keepdims=True)
    return h * tf.math.rsqrt(variance + epsilon) * (1.0 + scale) + shift


@NETWORKS.register
@register
class DiT(keras.Model):
    """The diffusion transformer of Peebles and Xie (2023), with adaLN-Zero.

    The defaults are DiT-S/2. DiT-B is ``width=768, depth=12, num_heads=12``; DiT-L
    ``width=1024, depth=24, num_heads=16``; DiT-XL ``width=1152, depth=28, num_heads=16``.

    ``network(x, cond, seed=None, copies=1, condition=None, augmentation=None)``: x [N, ..., C] with
    1, 2 or 3 spatial axes and cond [N] give [N, ..., C] in float32. All that ends a path starts at
    zero, so the output of an untrained network is exactly 0. The network is a pure function of its
    arguments: dropout acts only with a `seed`. The first call, or ``build((None, ..., C))``, fixes
    the number of axes and channels. The sides may differ between calls: positions are embedded by
    fixed sines and cosines, an equal share of the width for each axis.

    Args:
      patch_size: side of a patch, in pixels: one for all spatial axes, or one for each.
      width: D, features of a token.
      depth: transformer blocks.
      num_heads: of the attention; divides the width.
      mlp_ratio: width of the blocks' hidden layers over D.
      dropout: rate in [0, 1) on what each block adds.
      embedding: ``"positional"`` (cond is like 999·t) or ``"fourier"`` (cond is σ > 0).
      fourier_scale: standard deviation of the Fourier frequencies.
      rematerialise: recompute each block in the backward pass instead of keeping its intermediate
        values: far less memory, about a third more work.
      num_classes: of a class-conditional network; labels run from 0. None: no classes.
      condition_size: in place of it K, of a network that is told K numbers; None: it is not.
      condition_channels: or C', of a network that is told an image [..., C'] of the spatial shape
        of x, which joins x along the channels; None: it is not.
      augmentation_size: beside any of them, the numbers of a label that says how an example was
        augmented (`lcss_tf.data.Augmented`); None: it is not told.

    Raises:
      UsageError: an option is none of those above; the patches do not fit x.
    """

    takes_copies = True
    parts_on_cpu = True  # see `lcss_tf.cores`

    def __init__(
        self,
        *,
        patch_size: int | Sequence[int] = 2,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        embedding: str = "positional",
        fourier_scale: float = 16.0,
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
        if num_heads < 1 or width < 1 or width % num_heads:
            raise UsageError(
                f"DiT expects num_heads >= 1 that divides the width; got width = {width} and "
                f"num_heads = {num_heads}. Heads of 64 features are usual: num_heads = width / 64."
            )
        sides = patch_size if isinstance(patch_size, int) else tuple(patch_size)
        if min((sides,) if isinstance(sides, int) else sides, default=0) < 1:
            raise UsageError(
                "DiT.patch_size is the side of a patch, at least 1, or one for each spatial axis; "
                f"got {patch_size}."
            )
        self._hyperparameters = {
            "patch_size": sides,
            "width": width,
            "depth": depth,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "dropout": dropout,
            "embedding": one_of("embedding", embedding, ("positional", "fourier")),
            "fourier_scale": fourier_scale,
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

    @property
    def stochastic(self) -> bool:
        """Whether a seed makes a difference."""
        return self.dropout > 0.0

    def build(self, x_shape: OpenShape, cond_shape: OpenShape | None = None) -> None:
        """Makes the weights for x of shape [N, ..., C]; without effect on a built network.

        Raises:
          UsageError: the patches do not fit the shape, or the network was built for another.
        """
        patch = self._patch_of(x_shape)
        if self._like is not None:
            return
        self._like = (None, *x_shape[1:])
        fourier = self.embedding == "fourier"
        self.noise_embedding = NoiseEmbedding(
            _EMBEDDED // 2 if fourier else _EMBEDDED,
            units=self.width,
            kind=self.embedding,
            fourier_scale=self.fourier_scale,
            name="noise_embedding",
        )
        self.noise_embedding.build((None,))
        self.condition_layer = make_condition(
            self.width, self.num_classes, self.condition_size, self.condition_channels
        )
        self.augmentation_layer = make_augmentation(self.augmentation_size, self.width)

        def zero(outputs: int, name: str) -> keras.layers.Layer:
            made = keras.layers.Dense(
                outputs, kernel_initializer="zeros", name=name, dtype="float32"
            )
            made.build((None, self.width))
            return made

        channels, pixels = x_shape[-1], math.prod(patch)
        inputs = channels + (self.condition_channels or 0)
        self.first = Dense(self.width, name="first", dtype=self.dtype_policy)
        self.first.build((None, None, pixels * inputs))
        tokens, embedding = (None, None, self.width), (None, self.width)
        self.blocks = []
        for i in range(self.depth):
            block = TransformerBlock(
                self.num_heads,
                mlp_ratio=self.mlp_ratio,
                dropout=self.dropout,
                name=f"block_{i}",
                dtype=self.dtype_policy,
            )
            block.build(tokens, embedding)
            self.blocks.append(block)
        self.modulation = zero(2 * self.width, "modulation")
        self.last = zero(pixels * channels, "last")

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
        patch = self._patch_of(x.shape)
        seed = random.as_seed(seed) if seed is not None and self.stochastic else None
        first = first_copy(tf.cast(cond, tf.float32), copies)
        x, rows = tf.cast(x, self.compute_dtype), tf.shape(first)[0]
        x, added = with_condition(x, self.condition_layer, condition, rows, copies)
        added = with_augmentation(added, self.augmentation_layer, augmentation)
        embedding = self.noise_embedding(first, added)

        grid = [side // p for side, p in zip(x.shape[1:-1], patch, strict=True)]
        h = self.first(to_patches(x, patch))
        h = h + tf.cast(position_embedding(grid, self.width), h.dtype)
        for i, block in enumerate(self.blocks):
            own = None if seed is None else random.fold_in(seed, i)
            h = run_block(block, [h], embedding, self.rematerialise, seed=own, copies=copies)
        modulation = repeat_copies(self.modulation(embedding), copies)[:, None]
        y = self.last(modulated(h, *tf.split(modulation, 2, axis=-1)))
        return from_patches(y, grid, patch)

    def _patch_of(self, shape: OpenShape) -> tuple[int, ...]:
        """The patch's side along each spatial axis, for x of a shape [N, ..., C]; checks it."""
        if not 3 <= len(shape) <= 5 or None in shape[1:]:
            raise UsageError(
                "DiT takes x of shape [N, ..., C] with 1, 2 or 3 spatial axes of known size; got "
                f"{tuple(shape)}. For vectors [N, d] use the MLP."
            )
        sides, size = tuple(shape[1:-1]), self.patch_size
        patch = (size,) * len(sides) if isinstance(size, int) else tuple(size)
        if len(patch) != len(sides) or any(
            side % p or side == 0 for side, p in zip(sides, patch, strict=False)
        ):
            raise UsageError(
                f"DiT.patch_size = {size} must divide every spatial axis of x; got sides {sides}. "
                "Choose another patch_size, one number or one for each axis, or pad or crop the "
                "data."
            )
        like = self._like
        if like is not None and (len(shape), shape[-1]) != (len(like), like[-1]):
            raise UsageError(
                f"This DiT was built for x of shape {like}; got {tuple(shape)}. The number of axes "
                "and of channels is fixed: make another network."
            )
        return patch

    def get_build_config(self) -> dict | None:
        return None if self._like is None else {"x_shape": self._like}

    def build_from_config(self, config: dict) -> None:
        self.build(tuple(config["x_shape"]))


def to_patches(x: Tensor, patch: Shape) -> Tensor:
    """x [N, ..., C] cut into patches of these sides: [N, T, Πp·C], patches in the order of x."""
    sides, rank = x.shape[1:-1], len(patch)
    cut = [size for side, p in zip(sides, patch, strict=True) for size in (side // p, p)]
    x = tf.reshape(x, [-1, *cut, x.shape[-1]])
    grid_axes, pixel_axes = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    x = tf.transpose(x, [0, *grid_axes, *pixel_axes, 2 * rank + 1])
    tokens = math.prod(cut[::2])
    return tf.reshape(x, [-1, tokens, math.prod(patch) * x.shape[-1]])


def from_patches(tokens: Tensor, grid: Shape, patch: Shape) -> Tensor:
    """`to_patches` undone: tokens [N, T, Πp·C] of a grid of patches -> [N, ..., C]."""
    rank, channels = len(patch), tokens.shape[-1] // math.prod(patch)
    x = tf.reshape(tokens, [-1, *grid, *patch, channels])
    pairs = [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
    x = tf.transpose(x, [0, *pairs, 2 * rank + 1])
    return tf.reshape(x, [-1, *[n * p for n, p in zip(grid, patch, strict=True)], channels])


def position_embedding(grid: Shape, width: int) -> Tensor:
    """Fixed sines and cosines of the places on a grid: [T, width], the last axis fastest.

    For k axes, each has 2F features, F = ⌊width/2k⌋: [sin(ω_i n), cos(ω_i n)] of its coordinate n,
    ω_i = 10000^{−i/F} (Vaswani et al. 2017; Peebles and Xie 2023). Features that remain are 0.
    """
    each = 2 * (width // (2 * len(grid)))
    parts = []
    for axis, size in enumerate(grid):
        table = positional(tf.range(size, dtype=tf.float32), each, endpoint=False)
        shape = [size if i == axis else 1 for i in range(len(grid))]
        parts.append(tf.broadcast_to(tf.reshape(table, [*shape, each]), [*grid, each]))
    parts.append(tf.zeros([*grid, width - len(grid) * each]))
    return tf.reshape(tf.concat(parts, axis=-1), [-1, width])


__all__ = [
    "DiT",
    "TransformerBlock",
    "from_patches",
    "modulated",
    "position_embedding",
    "to_patches",
]
