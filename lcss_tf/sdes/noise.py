"""Diffusion coefficients g of every kind, as one.

`diffusion(x, t)` of an SDE may return, for x [B, ...],

- one number an example, [B, 1, ...]: G = g I;
- one number a coordinate, of the shape of x: G = diag(g);
- for vectors x [B, d] a matrix [B, d, d]: G itself.

Each may depend on all of x.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.ops import shape_of, sum_over_data
from lcss_tf.typing import Tensor

_MOST_DIMENSIONS = 256  # of a divergence by one backward pass a dimension


def is_matrix(g: Tensor, x: Tensor) -> bool:
    """Whether g [B, d, d] is a matrix for each example x [B, d]."""
    return len(g.shape) == len(x.shape) + 1


def apply(g: Tensor, z: Tensor) -> Tensor:
    """G z, of the shape of z."""
    return tf.linalg.matvec(g, z) if is_matrix(g, z) else g * z


def apply_covariance(g: Tensor, v: Tensor) -> Tensor:
    """G Gᵀ v, of the shape of v."""
    if is_matrix(g, v):
        return tf.linalg.matvec(g, tf.linalg.matvec(g, v, transpose_a=True))
    return g**2 * v


def whiten(g: Tensor, z: Tensor) -> Tensor:
    """G⁻ᵀ z, of the shape of z: −∇_x log N(x; μ, G Gᵀ) at x = μ + G z."""
    if is_matrix(g, z):
        return tf.linalg.solve(g, z[..., None], adjoint=True)[..., 0]
    return z / g


def log_density_change(g: Tensor, z: Tensor) -> Tensor:
    """A number whose gradient by what g depends on is that of log N(μ + r; μ, G Gᵀ), r = G z held.

    For a diagonal g that gradient is Σ_i (z_i² − 1) ∇ log g_i, for a matrix
    Σ_ij ((G⁻ᵀz)_i z_j − (G⁻ᵀ)_ij) ∇G_ij. The number itself has no meaning.
    """
    held = tf.stop_gradient(g)
    if not is_matrix(g, z):
        return tf.reduce_sum((z**2 - 1.0) * g / held)
    inverse = tf.linalg.inv(held)
    whitened = tf.linalg.matvec(inverse, z, transpose_a=True)
    weights = whitened[:, :, None] * z[:, None, :] - tf.linalg.matrix_transpose(inverse)
    return tf.reduce_sum(weights * g)


def check_invertible(g: Tensor, x: Tensor, name: str) -> None:
    """Raises UsageError, naming a direction without noise, unless G can be inverted; eager only."""
    if not is_matrix(g, x):
        g = np.broadcast_to(g, x.shape).reshape(x.shape[0], -1)
        bad = np.argwhere(~(np.abs(g) > 0))
        where = f"coordinate {bad[0][1]}" if len(bad) else ""
    else:
        left, values, _ = np.linalg.svd(np.asarray(g))
        bad = np.argwhere(~(values[:, -1] > 1e-6 * values[:, 0]))
        where = f"the direction {np.round(left[bad[0][0], :, -1], 3)}" if len(bad) else ""
    if where:
        raise UsageError(
            f"{name}.diffusion puts no noise, or none that is finite, into {where}. The score is "
            "learnt from noise in every direction: add some, or derive the SDE from "
            "lcss_tf.sdes.KineticSDE if noise enters through a velocity alone."
        )


def mean_square(g: Tensor, x: Tensor) -> Tensor:
    """tr(G Gᵀ)/d, [B]."""
    if is_matrix(g, x):
        return tf.reduce_sum(g**2, axis=[1, 2]) / x.shape[1]
    square = tf.broadcast_to(g**2, shape_of(x))
    return sum_over_data(square) / math.prod(x.shape[1:])


def covariance_divergence(
    diffusion: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    t: Tensor,
    name: str,
    elementwise: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """(g, ∇·(G Gᵀ)) at x, for a reverse drift (Anderson 1982); None: g does not depend on x.

    The divergence, Σ_j ∂_j (G Gᵀ)_ij, has the shape of x. One number an example, or noise that
    acts elementwise, take one backward pass. Others take one a dimension.

    Args:
      diffusion: (x, t) -> g.
      x, t: [B, ...] and [B].
      name: of the SDE, for messages.
      elementwise: whether g_i depends on x_i alone.

    Raises:
      UsageError: a general g with more than 256 dimensions.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        g = diffusion(x, t)
        total = tf.reduce_sum(g**2)
    gradient = tape.gradient(total, x)
    if gradient is None:
        return g, None
    dimension = math.prod(x.shape[1:])
    if elementwise or dimension == 1:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.broadcast_to(diffusion(x, t) ** 2, tf.shape(x)))
        return g, tape.gradient(total, x)
    if not is_matrix(g, x) and math.prod(g.shape[1:]) == 1:  # the total is g² itself
        return g, gradient
    if dimension > _MOST_DIMENSIONS:
        raise UsageError(
            f"{name}: the reverse drift of noise that depends on other coordinates takes one "
            f"backward pass for each dimension, of which there are {dimension:,}; it takes at most "
            f"{_MOST_DIMENSIONS}. Define {name}.noise_divergence(x, t), which returns "
            "∇·(G Gᵀ) of the shape of x, or derive the SDE from lcss_tf.ElementwiseSDE if g_i "
            "depends on x_i alone."
        )
    return g, _divergence_by_columns(diffusion, x, t)


def _divergence_by_columns(
    diffusion: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor
) -> Tensor:
    """Σ_j ∂_j (G Gᵀ)_ij: copy j of the batch differentiates column j along axis j."""
    shape, dimension = shape_of(x), math.prod(x.shape[1:])
    axes = tf.reshape(tf.eye(dimension), (dimension, 1, *shape[1:])) * tf.ones_like(x)[None]
    axes = tf.reshape(axes, (-1, *shape[1:]))
    stacked = tf.tile(x, [dimension] + [1] * (len(shape) - 1))
    times = tf.tile(t, [dimension])

    def row_products(v):
        """∂_j Σ_i v_i (G Gᵀ)_ij of each copy j; linear in v."""
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(stacked)
            g = diffusion(stacked, times)
            product = tf.reduce_sum(v * apply_covariance(g, axes))
        return tf.reduce_sum(
            tf.reshape(sum_over_data(inner.gradient(product, stacked) * axes), (dimension, -1)), 0
        )

    # The gradient by v of a function linear in v: all components i at once.
    v = tf.zeros_like(x)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(v)
        total = row_products(tf.tile(v, [dimension] + [1] * (len(shape) - 1)))
    return tape.gradient(total, v)


__all__ = [
    "apply",
    "apply_covariance",
    "check_invertible",
    "covariance_divergence",
    "is_matrix",
    "log_density_change",
    "mean_square",
    "whiten",
]
