"""Implicit score matching (Hyvärinen 2005), with the exact trace of the Jacobian."""

import math

import tensorflow as tf

from lcss_tf import rng
from lcss_tf.losses.base import Loss
from lcss_tf.registry import LOSSES
from lcss_tf.sdes.shapes import shape_of, sum_over_data

_MOST_DIMENSIONS = 4096


@LOSSES.register
class ISMLoss(Loss):
    """J = ½‖S‖² + tr ∇S, the trace by one backward pass for each of the d dimensions.

    What all the others estimate: for small d, and to measure them against.

    Raises (at the first use):
      ValueError: d > 4,096.
    """

    def terms(self, score_fn, sde, x0, t, seed):
        x = sde.sample_xt(x0, t, rng.fold_in(seed, "path"))
        return self.terms_at(score_fn, x, t)

    def terms_at(self, score_fn, x, t):
        """norm and the exact trace at x, each [B]."""
        shape = shape_of(x)
        dimension = math.prod(shape[1:])
        if dimension > _MOST_DIMENSIONS:
            raise ValueError(
                f"ISMLoss takes the exact trace by one backward pass for each dimension, of which "
                f"there are {dimension:,}; it takes at most {_MOST_DIMENSIONS:,}. Use LCSSLoss, "
                "SSMLoss or FDSSMLoss."
            )
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            score = score_fn(x, t)

        def add(i, trace):
            axis = tf.reshape(tf.one_hot(i, dimension), (1, *shape[1:]))
            column = tape.gradient(score, x, output_gradients=axis * tf.ones_like(score))
            return i + 1, trace + sum_over_data(column * axis)

        _, trace = tf.while_loop(
            lambda i, _: i < dimension,
            add,
            (tf.constant(0), tf.zeros_like(score[(slice(None), *[0] * (len(shape) - 1))])),
            maximum_iterations=dimension,
        )
        return {"norm": 0.5 * sum_over_data(score**2), "trace": trace}
