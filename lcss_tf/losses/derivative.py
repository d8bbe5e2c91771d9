"""Products of the score's Jacobian with vectors, by automatic differentiation."""

import tensorflow as tf


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
