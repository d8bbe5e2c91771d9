"""Derivatives of a field with respect to x, by automatic differentiation."""

import math

import tensorflow as tf

from lcss_tf.ops import shape_of, sum_over_data


def score_and_products(score_fn, x, t, vectors):
    """S(x, t), and vᵀ ∇S for each of the vectors v, by one backward pass each.

    Args:
      x: [B, ...].
      t: [B].
      vectors: a list of [B, ...].

    Returns:
      The score [B, ...] and a list of the products, each [B, ...].
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        score = score_fn(x, t)
    return score, [tape.gradient(score, x, output_gradients=v) for v in vectors]


def trace(score_fn, x, t, axes):
    """Σ_i ∂S_i/∂x_i [B] over the given axes, int [count], of the flattened data.

    All axes go through in one stacked batch. Neither tf.vectorized_map, which makes XLA
    compile anew for every batch of random numbers, nor a loop over (parts of) the axes, whose
    second derivative XLA refuses where a layer's gradient sums over broadcast axes.
    """
    shape, count = shape_of(x), axes.shape[0]
    dimension = math.prod(shape[1:])
    basis = tf.reshape(tf.one_hot(axes, dimension), (count, 1, *shape[1:]))
    basis = tf.reshape(basis * tf.ones_like(x)[None], (-1, *shape[1:]))
    stacked = tf.tile(x, [count] + [1] * (len(shape) - 1))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(stacked)
        score = score_fn(stacked, tf.tile(t, [count]))
    product = tape.gradient(
        score,
        stacked,
        output_gradients=basis,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return tf.reduce_sum(tf.reshape(sum_over_data(product * basis), (count, -1)), axis=0)
