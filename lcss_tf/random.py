"""Stateless random numbers that do not know how many replicas there are.

A **seed** is an integer tensor of shape [2], as ``tf.random.stateless_*`` take
it; a Python int works too. A seed of shape [3] also holds the **row**: the
index in the global batch of the first example of this draw. Every draw of shape
[B, ...] then equals rows ``row .. row + B - 1`` of what a single device would
have drawn for the whole batch: number j of example i is a hash of (seed, i, j).
So one replica and eight see the same noise, and no replica draws more than its
share.

The hash is Threefry (Salmon et al. 2011), elementwise, so that XLA fuses it with
what the numbers are for. Its own Philox runs in one thread on CPUs, at some 200 ns a
number against 1 to 6 ns here (docs/results/performance.md).

Use `plain` to hand a seed to ``tf.random.stateless_*`` directly.
"""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import xla
from lcss_tf.errors import UsageError
from lcss_tf.typing import Seed, Shape, Tensor

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_SEEDS = 2**31  # an int32 holds what lies below, and as much below zero
_FOLD = 0xFFFFFFFF  # the counter's second word where a seed is made; no row is as large


def threefry(key: Sequence[Tensor], counter: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Threefry2x32 with 20 rounds: two uint32 tensors from two, under a key of two.

    Args:
      key: two uint32 tensors.
      counter: two uint32 tensors of one shape, or that broadcast.
    """
    keys = (*key, key[0] ^ key[1] ^ _word(_PARITY))
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for block in range(5):
        for bits in _ROTATIONS[block % 2]:
            x = x + y
            y = _rotated(y, bits) ^ x
        x = x + keys[(block + 1) % 3]
        y = y + keys[(block + 2) % 3] + _word(block + 1)
    return x, y


def _word(value: int) -> Tensor:
    return tf.constant(value, tf.uint32)


def _rotated(x: Tensor, bits: int) -> Tensor:
    left = tf.bitwise.left_shift(x, _word(bits))
    return left | tf.bitwise.right_shift(x, _word(32 - bits))


def check_seed(seed: Any, name: str = "A seed") -> None:
    """Raises UsageError unless `seed` is a whole number that 32 bits hold.

    Args:
      seed: what somebody set.
      name: of the setting, for the message: ``"fit.seed"``.
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not -_SEEDS <= int(seed) < _SEEDS:
        raise UsageError(
            f"{name} must be a whole number from -2**31 to 2**31 - 1; got {seed!r}. Choose a "
            "smaller one, such as 0."
        )


def as_seed(seed: Seed) -> Tensor:
    """An int, a pair, a triple or a tensor as an int32 seed of shape [2] or [3].

    Raises:
      UsageError: the shape is neither [], [2] nor [3], or an int does not fit 32 bits.
    """
    if isinstance(seed, int | float):
        check_seed(seed)
    seed = tf.cast(tf.convert_to_tensor(seed), tf.int32)
    if seed.shape == ():
        return tf.stack([seed, tf.zeros_like(seed)])
    if seed.shape not in ((2,), (3,)):
        raise UsageError(
            f"A seed is an int, or an integer tensor of shape [2] or [3]; got shape {seed.shape}."
        )
    return seed


def at_row(seed: Seed, row: int | Tensor) -> Tensor:
    """The seed for the part of a global batch that begins at example `row`."""
    return tf.concat([as_seed(seed)[:2], tf.reshape(tf.cast(row, tf.int32), [1])], axis=0)


def fold_in(seed: Seed, data: int | str | Tensor) -> Tensor:
    """A seed for a sub-stream: `data` is an int (or integer tensor) or a name.

    The row is kept. Equal in and outside XLA (TF's own fold_in is not).
    """
    if isinstance(data, str):
        data = zlib.crc32(data.encode()) & 0x7FFFFFFF
    return _folded(as_seed(seed), tf.cast(data, tf.int32))


@xla.piece
def _folded(seed: Tensor, data: Tensor) -> Tensor:
    counter = tf.bitcast(data, tf.uint32), _word(_FOLD)
    mixed = tf.bitcast(tf.stack(threefry(_key(seed), counter)), tf.int32)
    return tf.concat([mixed, seed[2:]], axis=0)


def _key(seed: Tensor) -> list[Tensor]:
    return tf.unstack(tf.bitcast(seed[:2], tf.uint32))


def seed_for(seed: Seed, *path: int | str | Tensor) -> Tensor:
    """The seed at a path of ints and names, e.g. ``seed_for(0, step, "noise")``."""
    seed = as_seed(seed)
    for part in path:
        seed = fold_in(seed, part)
    return seed


def split(seed: Seed, count: int) -> list[Tensor]:
    """`count` independent seeds, with the same row."""
    return [fold_in(seed, i) for i in range(count)]


def plain(seed: Seed) -> Tensor:
    """The seed as [2], the row folded in: for ``tf.random.stateless_*``."""
    seed = as_seed(seed)
    return seed if seed.shape == (2,) else fold_in(seed[:2], seed[2])


def _words(seed: Tensor, shape: Shape) -> tuple[Tensor, ...]:
    """Two independent random words for every place of `shape` [B, ...], each uint32.

    Example i of the global batch has the counters (j, i), j over the example's places.
    """
    batch, size = shape[0], math.prod(shape[1:])
    row = seed[2] if seed.shape == (3,) else 0
    rows = tf.bitcast(tf.range(batch) + row, tf.uint32)[:, None]
    places = tf.bitcast(tf.range(size), tf.uint32)[None, :]
    words = threefry(_key(seed), (places, rows))
    return tuple(tf.reshape(word, shape) for word in words)


def _fraction(word: Tensor) -> Tensor:
    """U[0, 1) on a grid of 2⁻²⁴."""
    return tf.cast(tf.bitwise.right_shift(word, _word(8)), tf.float32) * 2.0**-24


def _static(shape: Shape) -> tuple[int, ...]:
    shape = tuple(shape)
    if not shape:
        raise UsageError("A draw needs a batch axis; got the shape ().")
    return shape


def uniform(seed: Seed, shape: Shape, dtype: Any = tf.float32) -> Tensor:
    """U[0, 1) of `shape` [B, ...]; B may be a tensor, the rest is static."""
    return tf.cast(_uniform(as_seed(seed), _static(shape)), dtype)


@xla.piece
def _uniform(seed: Tensor, shape: Shape) -> Tensor:
    return _fraction(_words(seed, shape)[0])


def normal(seed: Seed, shape: Shape, dtype: Any = tf.float32) -> Tensor:
    """N(0, 1) of `shape` [B, ...], by Box and Muller's transform; |z| < 6.8."""
    return tf.cast(_normal(as_seed(seed), _static(shape)), dtype)


@xla.piece
def _normal(seed: Tensor, shape: Shape) -> Tensor:
    first, second = _words(seed, shape)
    # All 32 bits: near 0, where the tails come from, float32 is finer than a grid of 2⁻²⁴.
    u = (tf.cast(first, tf.float32) + 0.5) * 2.0**-32
    radius = tf.sqrt(-2.0 * tf.math.log(u))
    return radius * tf.cos(2.0 * np.pi * _fraction(second))


def rademacher(seed: Seed, shape: Shape, dtype: Any = tf.float32) -> Tensor:
    """±1 with equal probability, of `shape` [B, ...]."""
    return tf.where(uniform(seed, shape) < 0.5, tf.ones([], dtype), -tf.ones([], dtype))


def gamma(seed: Seed, shape: Shape, alpha: float) -> Tensor:
    """Gamma(α, 1) of `shape` [B, ...], float32, by Marsaglia and Tsang's rejection (2000).

    Numbers are drawn again until all are accepted, 98 % of them at once. XLA compiles it, which it
    does not TensorFlow's own.

    Args:
      seed: as everywhere.
      shape: [B, ...].
      alpha: α > 0.

    Raises:
      UsageError: α is not positive and finite.
    """
    if not (alpha > 0 and math.isfinite(alpha)):
        raise UsageError(f"A Gamma distribution needs a shape alpha > 0; got {alpha}.")
    seed, shape = as_seed(seed), _static(shape)
    d = (alpha if alpha >= 1 else alpha + 1) - 1 / 3
    c = 1 / math.sqrt(9 * d)

    def again(i: Tensor, value: Tensor, accepted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = normal(fold_in(fold_in(seed, "normal"), i), shape)
        u = 1 - uniform(fold_in(fold_in(seed, "uniform"), i), shape)
        v = (1 + c * x) ** 3
        log_v = tf.math.log(tf.maximum(v, 1e-30))
        good = (v > 0) & (tf.math.log(u) < 0.5 * x**2 + d - d * v + d * log_v)
        value = tf.where(accepted, value, d * v)
        return i + 1, value, accepted | good

    left = lambda i, value, accepted: ~tf.reduce_all(accepted)
    start = (tf.constant(0), tf.zeros(shape), tf.zeros(shape, tf.bool))
    value = tf.while_loop(left, again, start)[1]
    if alpha >= 1:
        return value
    # Gamma(α) = Gamma(α + 1) U^(1/α).
    u = 1 - uniform(fold_in(seed, "boost"), shape)
    return value * u ** (1 / alpha)


def sphere(seed: Seed, shape: Shape, dtype: Any = tf.float32) -> Tensor:
    """Uniform on the sphere of radius √d, d the size of one example.

    Its covariance is the identity, like that of `normal` and `rademacher`.
    """
    values = normal(seed, shape)
    axes = list(range(1, len(shape)))
    norm = tf.sqrt(tf.reduce_sum(values**2, axes, keepdims=True))
    return tf.cast(values * (math.sqrt(math.prod(shape[1:])) / norm), dtype)
