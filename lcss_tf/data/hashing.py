"""Random numbers by index: every example has its own, in whichever batch it is drawn.

``tf.random.stateless_*`` numbers a whole tensor by one run of counters, so an example's numbers
depend on its place in the batch. Random access needs them to depend on the example's index alone.
So each counter is hashed by the finaliser of SplitMix64 (Steele, Lea and Flood 2014), vectorised
over the batch.
"""

import math
import zlib

import tensorflow as tf

from lcss_tf.typing import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def stream_key(seed: int, *names: str | int) -> int:
    """A 64-bit key for the stream called `names` of `seed`."""
    key = _mix_int(int(seed) & _MASK)
    for name in names:
        word = zlib.crc32(name.encode()) if isinstance(name, str) else int(name)
        key = _mix_int((key + (word + 1) * _GOLDEN) & _MASK)
    return key


def _mix_int(value: int) -> int:
    for shift, factor in _MIX:
        value = ((value ^ (value >> shift)) * factor) & _MASK
    return value ^ (value >> 31)


def words(key: int, counters: Tensor, count: int) -> Tensor:
    """uint64 [B, count], uniform over all 64 bits.

    Args:
      key: from `stream_key`.
      counters: int64 [B], not negative.
      count: words per counter; output i is a function of (key, counters[i], count).
    """
    counters = tf.cast(counters, tf.uint64)[:, None] * _word(count) + _words_up_to(count)
    value = _word(key) + (counters + _word(1)) * _word(_GOLDEN)
    for shift, factor in _MIX:
        value = _xor_shift(value, shift) * _word(factor)
    return _xor_shift(value, 31)


def _word(value: int) -> Tensor:
    return tf.constant(value, tf.uint64)


def _words_up_to(count: int) -> Tensor:
    return tf.constant(list(range(count)), tf.uint64)


def _xor_shift(value: Tensor, shift: int) -> Tensor:
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _word(shift)))


def uniform(key: int, counters: Tensor, count: int) -> Tensor:
    """U[0, 1) float32 [B, count], multiples of 2⁻²⁴; the arguments are those of `words`."""
    top = tf.bitwise.right_shift(words(key, counters, count), _word(40))
    return tf.cast(top, tf.float32) * 2.0**-24


def to_normal(uniforms: Tensor) -> Tensor:
    """N(0, 1) [B, n] from U[0, 1) [B, 2n], by the Box–Muller transform."""
    half = uniforms.shape[1] // 2
    radius = tf.sqrt(-2.0 * tf.math.log1p(-uniforms[:, :half]))  # uniforms < 1: finite
    angle = 2.0 * math.pi * uniforms[:, half:]
    return radius * tf.cos(angle)


__all__ = ["stream_key", "to_normal", "uniform", "words"]
