"""Conjugate gradients (Hestenes and Stiefel 1952), example by example."""

from collections.abc import Callable

import tensorflow as tf

from lcss_tf.ops import like, sum_over_data
from lcss_tf.typing import Tensor

_TINY = 1e-30  # of b = 1: matrices in units as small as 1e-9 are solved as well

# u, what is left of b, the direction, and the square of what is left [B].
_State = tuple[Tensor, Tensor, Tensor, Tensor]


def conjugate_gradients(matrix: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """u of the shape of b [B, ...] with matrix(u) ≈ b, example by example.

    A direction along which the matrix is not positive ends the search of its example. Each
    iteration is written out, so that `matrix` may use a gradient tape that is open around it.
    """
    b, size = _of_unit_norm(b)
    state = _first(b)
    for _ in range(iterations):
        state = _next(matrix, *state)
    return size * state[0]


def solve(
    matrix: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float
) -> Tensor:
    """As `conjugate_gradients`, in a loop that ends when ‖b − matrix(u)‖ <= tolerance ‖b‖."""
    b, size = _of_unit_norm(b)
    enough = (tolerance**2) * sum_over_data(b**2)

    def step(i: Tensor, *state: Tensor) -> tuple:
        after = _next(matrix, *state)
        left = state[3] > enough  # an example that has arrived keeps what it has
        kept = [tf.where(like(left, new), new, old) for new, old in zip(after, state, strict=True)]
        return i + 1, *kept

    state = (tf.constant(0), *_first(b))
    going = lambda i, *state: tf.reduce_any(state[3] > enough)
    return size * tf.while_loop(going, step, state, maximum_iterations=iterations)[1]


def _of_unit_norm(b: Tensor) -> tuple[Tensor, Tensor]:
    """(b/‖b‖, ‖b‖) of each example, [B, ...] and [B, 1, ...]; 0 stays 0."""
    largest = tf.reduce_max(tf.abs(b), axis=list(range(1, len(b.shape))), keepdims=True)
    largest = tf.where(largest > 0.0, largest, tf.ones_like(largest))
    b = b / largest  # first, or the squares of small numbers would vanish
    norm = like(tf.sqrt(tf.maximum(sum_over_data(b**2), 1.0)), b)  # at least 1, but for b = 0
    return b / norm, largest * norm


def _first(b: Tensor) -> _State:
    return tf.zeros_like(b), b, b, sum_over_data(b**2)


def _next(
    matrix: Callable[[Tensor], Tensor], u: Tensor, rest: Tensor, direction: Tensor, squared: Tensor
) -> _State:
    image = matrix(direction)
    bend = sum_over_data(direction * image)
    step = tf.where(bend > _TINY, squared / tf.maximum(bend, _TINY), 0.0)
    u += like(step, u) * direction
    rest -= like(step, u) * image
    before, squared = squared, sum_over_data(rest**2)
    turn = tf.where(bend > _TINY, squared / tf.maximum(before, _TINY), 0.0)
    direction = rest + like(turn, u) * direction
    direction *= like(tf.cast(bend > _TINY, u.dtype), u)
    return u, rest, direction, squared


__all__ = ["conjugate_gradients", "solve"]
