"""Sliced score matching (Song et al. 2019): the trace by random projections."""

import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.losses.base import Loss
from lcss_tf.losses.derivative import score_and_products
from lcss_tf.losses.directions import DIRECTIONS, check_directions
from lcss_tf.ops import shape_of, sum_over_data
from lcss_tf.registry import LOSSES


@LOSSES.register
class SSMLoss(Loss):
    """J = ½‖S‖² + vᵀ∇(vᵀS), averaged over slices v with E vvᵀ = I.

    Without `variance_reduced` the norm is estimated by the same slices, ½(vᵀS)². Works on
    every SDE: x_t is sampled, and no transition kernel is asked for. One evaluation and one
    backward pass a slice, through which the training differentiates once more.

    Args:
      variance_reduced: the form SSM-VR.
      directions: v "rademacher", "gaussian", or on the "sphere" of radius √d.
      num_directions: slices per example; they share the evaluation.
      **options: of `Loss`.

    Raises:
      ValueError: an unknown option.
    """

    differentiates_score = True

    def __init__(self, variance_reduced=True, directions="rademacher", num_directions=1, **options):
        super().__init__(**options)
        check_directions(type(self).__name__, directions, num_directions)
        self.variance_reduced = variance_reduced
        self.directions, self.num_directions = directions, num_directions

    def terms(self, score_fn, sde, x0, t, seed):
        x = xla.call(sde.sample_xt, x0, t, random.fold_in(seed, "path"))
        seeds = random.split(random.fold_in(seed, "direction"), self.num_directions)
        slices = [DIRECTIONS[self.directions](s, shape_of(x0)) for s in seeds]
        return self.terms_for_slices(score_fn, x, t, slices)

    def terms_for_slices(self, score_fn, x, t, slices):
        """norm and trace, each [B], at x [B, ...] for a list of slices [B, ...]."""
        score, products = score_and_products(score_fn, x, t, slices)
        count = len(slices)
        pairs = zip(slices, products, strict=True)
        trace = tf.add_n([sum_over_data(v * product) for v, product in pairs]) / count
        if self.variance_reduced:
            norm = 0.5 * sum_over_data(score**2)
        else:
            norm = 0.5 * tf.add_n([sum_over_data(v * score) ** 2 for v in slices]) / count
        return {"norm": norm, "trace": trace}
