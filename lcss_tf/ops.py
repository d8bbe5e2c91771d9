"""Operations that the mathematics shares: broadcasting of times, derivatives, the Gaussian."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.typing import Array, Seed, Shape, Tensor

_Result = TypeVar("_Result")
_HALVINGS = 40  # float32 knows no finer numbers, but very near 0


def like(value: Tensor, x: Tensor) -> Tensor:
    """`value` [B] reshaped to [B, 1, ...] so that it broadcasts against x."""
    value = tf.convert_to_tensor(value)
    return tf.reshape(value, [-1] + [1] * (len(x.shape) - 1)) if len(value.shape) == 1 else value


def spread_indices(count: int, size: int) -> Array:
    """`count` distinct indices below `size`, spread evenly, in increasing order: int64.

    This is the one meaning of "some examples". Data may be sorted, by class for instance, so the
    first ones may all be alike. Index k is the middle of the k-th of `count` equal shares:
    ⌊(k + ½)·size/count⌋. All of them where there are no more than `count`.
    """
    count = min(count, size)
    return (2 * np.arange(count, dtype=np.int64) + 1) * size // (2 * max(count, 1))


def some_of(x: Tensor, most: int) -> Tensor:
    """x [B, ...], or `most` of its examples, spread evenly over them."""
    return x if len(x) <= most else tf.gather(x, spread_indices(most, len(x)))


def shape_of(x: Tensor) -> tuple:
    """The shape of x, static but for a batch axis that may be a tensor."""
    batch = x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]
    return (batch, *x.shape[1:])


def sum_over_data(x: Tensor) -> Tensor:
    """Sum over all axes but the first: [B, ...] -> [B]."""
    return tf.reduce_sum(x, axis=list(range(1, len(x.shape))))


def with_derivatives(function: Callable[[Tensor], Tensor], x: Tensor, order: int) -> list[Tensor]:
    """[function(x), its derivative, ...] up to `order`; `function` acts on each number by itself.

    The gradient of the sum is then the derivative, of the shape of x; where the function
    does not depend on x, zeros.
    """
    if order == 0:
        return [function(x)]
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = with_derivatives(function, x, order - 1)
    derivative = tape.gradient(values[-1], x)
    return [*values, tf.zeros_like(x) if derivative is None else derivative]


def square_and_divergence(noise: Callable[[Tensor], Tensor], x: Tensor) -> tuple:
    """(g², ∂(g²)) of g = noise(x), broadcastable to x, for a reverse drift (Anderson 1982).

    ∂(g²) is the derivative of g_i² with respect to x_i; None where g does not depend on x.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        square = noise(x) ** 2
        total = tf.reduce_sum(tf.broadcast_to(square, tf.shape(x)))
    return square, tape.gradient(total, x)


def bisect(function: Callable[[Tensor], Tensor], values: Tensor, high: float = 1.0) -> Tensor:
    """Where in [0, high] a rising function takes `values`, [B] -> [B]; the ends if it does not.

    In the graph, by halving; the function acts on each number by itself.
    """
    state = (tf.constant(0), tf.zeros_like(values), tf.fill(tf.shape(values), tf.constant(high)))

    def halve(i: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        middle = 0.5 * (low + high)
        below = function(middle) < values
        return i + 1, tf.where(below, middle, low), tf.where(below, high, middle)

    return tf.while_loop(lambda i, *_: i < _HALVINGS, halve, state)[2]


@tf.autograph.experimental.do_not_convert
def outside_graphs(function: Callable[[], _Result]) -> _Result:
    """What function() returns when it is run at once, whatever is being traced or differentiated.

    In a thread of its own. tf.init_scope leaves graphs as well, but it pauses gradient tapes.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def gaussian_sample(shape: Shape, seed: Seed, std: float = 1.0) -> Tensor:
    """N(0, std² I) of `shape` [B, ...]."""
    return std * random.normal(seed, shape)


def gaussian_log_prob(x: Tensor, std: float = 1.0) -> Tensor:
    """log N(x; 0, std² I) in nats, [B]."""
    dimension = math.prod(x.shape[1:])
    log_normaliser = dimension * (0.5 * math.log(2 * math.pi) + math.log(std))
    return -0.5 * sum_over_data(tf.square(x / std)) - log_normaliser


__all__ = [
    "bisect",
    "gaussian_log_prob",
    "gaussian_sample",
    "like",
    "outside_graphs",
    "shape_of",
    "square_and_divergence",
    "sum_over_data",
    "with_derivatives",
]
