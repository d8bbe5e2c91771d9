"""Stateless random numbers that do not know how many replicas there are.

A **seed** is an integer tensor of shape [2], as ``tf.random.stateless_*`` take
it; a Python int works too. A seed of shape [3] carries in its third place the
**row**: the index, in the global batch, of the first example drawn for. Every
draw of shape [B, ...] then equals rows ``row .. row + B - 1`` of what a single
device would have drawn for the whole batch, because Philox is counter-based:
each example owns its own run of counters. So one replica and eight see the same
noise, and no replica draws more than its share.

Use `plain` to hand a seed to ``tf.random.stateless_*`` directly.
"""

import math
import zlib

import numpy as np
import tensorflow as tf

_PHILOX = 1  # StatelessRandom*V2's number for the Philox generator
_WORDS_PER_COUNTER = 4  # 32-bit words that Philox gives for one counter


def as_seed(seed):
    """An int, a pair, a triple or a tensor as an int32 seed of shape [2] or [3].

    Raises:
      ValueError: the shape is neither [], [2] nor [3].
    """
    seed = tf.cast(tf.convert_to_tensor(seed), tf.int32)
    if seed.shape == ():
        return tf.stack([seed, tf.zeros_like(seed)])
    if seed.shape not in ((2,), (3,)):
        raise ValueError(
            f"A seed is an int, or an integer tensor of shape [2] or [3]; got shape {seed.shape}."
        )
    return seed


def at_row(seed, row):
    """The seed for the part of a global batch that begins at example `row`."""
    return tf.concat([as_seed(seed)[:2], tf.reshape(tf.cast(row, tf.int32), [1])], axis=0)


def fold_in(seed, data):
    """A seed for a sub-stream: `data` is an int (or integer tensor) or a name.

    The row is kept. Equal in and outside XLA (TF's own fold_in is not).
    """
    seed = as_seed(seed)
    if hasattr(data, "encode"):  # a name
        data = zlib.crc32(data.encode()) & 0x7FFFFFFF
    key = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed[:2]).key
    mixed = tf.bitcast(key[0], tf.int32)
    mixed = tf.stack([mixed[0], mixed[1] ^ tf.cast(data, tf.int32)])
    return tf.concat([mixed, seed[2:]], axis=0)


def seed_for(seed, *path):
    """The seed at a path of ints and names, e.g. ``seed_for(0, step, "noise")``."""
    seed = as_seed(seed)
    for part in path:
        seed = fold_in(seed, part)
    return seed


def split(seed, count):
    """`count` independent seeds, with the same row."""
    return [fold_in(seed, i) for i in range(count)]


def plain(seed):
    """The seed as [2], the row folded in: for ``tf.random.stateless_*``."""
    seed = as_seed(seed)
    return seed if seed.shape == (2,) else fold_in(seed[:2], seed[2])


def _words(seed, shape, draw):
    """Random words [B, W], W a multiple of 4 and at least the example's size.

    Example i of the global batch takes the counters i·W/4 .. (i+1)·W/4 − 1.
    """
    seed = as_seed(seed)
    batch, size = shape[0], math.prod(shape[1:])
    counters_per_row = -(-size // _WORDS_PER_COUNTER)
    words_per_row = counters_per_row * _WORDS_PER_COUNTER
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed[:2])
    if seed.shape == (3,):
        skipped = tf.cast(seed[2], tf.uint64) * tf.constant(counters_per_row, tf.uint64)
        counter = tf.stack([counter[0] + skipped, counter[1]])
    return draw(
        shape=[batch, words_per_row], key=key, counter=counter, alg=_PHILOX, dtype=tf.float32
    )


def _static(shape):
    shape = tuple(shape)
    if not shape:
        raise ValueError("A draw needs a batch axis; got the shape ().")
    return shape


def uniform(seed, shape, dtype=tf.float32):
    """U[0, 1) of `shape` [B, ...]; B may be a tensor, the rest is static."""
    shape = _static(shape)
    size = math.prod(shape[1:])
    words = _words(seed, shape, tf.raw_ops.StatelessRandomUniformV2)
    return tf.cast(tf.reshape(words[:, :size], shape), dtype)


def normal(seed, shape, dtype=tf.float32):
    """N(0, 1) of `shape` [B, ...], by Box and Muller's transform."""
    shape = _static(shape)
    size = math.prod(shape[1:])
    words = _words(seed, shape, tf.raw_ops.StatelessRandomUniformV2)
    half = words.shape[1] // 2
    radius = tf.sqrt(-2.0 * tf.math.log1p(-words[:, :half]))  # words < 1: finite
    angle = 2.0 * np.pi * words[:, half:]
    values = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=1)
    return tf.cast(tf.reshape(values[:, :size], shape), dtype)


def rademacher(seed, shape, dtype=tf.float32):
    """±1 with equal probability, of `shape` [B, ...]."""
    return tf.where(uniform(seed, shape) < 0.5, tf.ones([], dtype), -tf.ones([], dtype))


def sphere(seed, shape, dtype=tf.float32):
    """Uniform on the sphere of radius √d, d the size of one example.

    Its covariance is the identity, like that of `normal` and `rademacher`.
    """
    values = normal(seed, shape)
    axes = list(range(1, len(shape)))
    norm = tf.sqrt(tf.reduce_sum(values**2, axes, keepdims=True))
    return tf.cast(values * (math.sqrt(math.prod(shape[1:])) / norm), dtype)
