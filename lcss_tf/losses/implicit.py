"""Implicit score matching (Hyvärinen 2005), with the exact trace of the Jacobian."""

import math

import tensorflow as tf

from lcss_tf import rng, xla
from lcss_tf.losses.base import Loss
from lcss_tf.registry import LOSSES
from lcss_tf.sdes.shapes import shape_of, sum_over_data

_MOST_DIMENSIONS = 4096


@LOSSES.register
class ISMLoss(Loss):
    """J = ½‖S‖² + tr ∇S, the trace by one backward pass for each of the d dimensions.

    What all the others estimate: for small d, and to measure them against. One evaluation for
    the norm, and d evaluations with their backward passes, stacked: memory grows like d.

    Raises (at the first use):
      ValueError: d > 4,096.
    """

    differentiates_score = True

    def terms(self, score_fn, sde, x0, t, seed):
        x = xla.call(sde.sample_xt, x0, t, rng.fold_in(seed, "path"))
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
        score = score_fn(x, t)
        trace = self._trace_of(score_fn, x, t, tf.range(dimension))
        return {"norm": 0.5 * sum_over_data(score**2), "trace": trace}

    @staticmethod
    def _trace_of(score_fn, x, t, axes):
        """Σ_i ∂S_i/∂x_i [B] over the given axes.

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
