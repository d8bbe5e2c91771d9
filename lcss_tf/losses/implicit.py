"""Implicit score matching (Hyvärinen 2005), with the exact trace of the Jacobian."""

import math

import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.errors import UsageError
from lcss_tf.losses.base import Loss
from lcss_tf.losses.derivative import trace
from lcss_tf.ops import shape_of, sum_over_data
from lcss_tf.registry import LOSSES

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
        x = xla.call(sde.sample_xt, x0, t, random.fold_in(seed, "path"))
        return self.terms_at(score_fn, x, t)

    def terms_at(self, score_fn, x, t):
        """norm and the exact trace at x, each [B]."""
        shape = shape_of(x)
        dimension = math.prod(shape[1:])
        if dimension > _MOST_DIMENSIONS:
            raise UsageError(
                f"ISMLoss takes the exact trace by one backward pass for each dimension, of which "
                f"there are {dimension:,}; it takes at most {_MOST_DIMENSIONS:,}. Use LCSSLoss, "
                "SSMLoss or FDSSMLoss."
            )
        score = score_fn(x, t)
        axes = tf.range(dimension)
        return {"norm": 0.5 * sum_over_data(score**2), "trace": trace(score_fn, x, t, axes)}
