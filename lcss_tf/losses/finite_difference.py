"""Finite-difference sliced score matching (Pang et al. 2020): no derivative of the network."""

import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.errors import UsageError
from lcss_tf.losses.base import Loss
from lcss_tf.losses.directions import DIRECTIONS, check_directions
from lcss_tf.losses.points import in_one_pass
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import LOSSES


@LOSSES.register
class FDSSMLoss(Loss):
    """J = ⅛‖S₊ + S₋‖² + (S₊ − S₋)·v/(2h), S± = S(x ± h v), with E vvᵀ = I.

    h = radius · noise_scale(t). In the paper's letters v has length ε: with v on the sphere
    of radius √d, ε = h√d, and the second term is (d/2ε²)(S₊ − S₋)·hv. Without
    `variance_reduced`: ⅛((S₊ + S₋)·v)² + (S₊ − S₋)·v/(2h), the norm by the same slice. (The
    published code of that form squares before it sums over the dimensions and omits 1/ε²;
    both are mended here, and a factor d gives it the scale of J.) Its expectation is that of
    SSM up to O(h²). Works on every SDE, by two evaluations in one pass.

    Args:
      variance_reduced: the norm as a whole, not by the slice.
      radius: h in units of noise_scale(t), positive.
      directions, num_directions: as in `SSMLoss`.
      **options: of `Loss`.

    Raises:
      ValueError: an unknown option, or a number out of its range.
    """

    def __init__(
        self,
        variance_reduced=True,
        radius=0.05,
        directions="sphere",
        num_directions=1,
        **options,
    ):
        super().__init__(**options)
        check_directions(type(self).__name__, directions, num_directions)
        if radius <= 0:
            raise UsageError(f"FDSSMLoss expects radius > 0; got {radius}.")
        self.variance_reduced, self.radius = variance_reduced, radius
        self.directions, self.num_directions = directions, num_directions

    def terms(self, score_fn, sde, x0, t, seed):
        x = xla.call(sde.sample_xt, x0, t, random.fold_in(seed, "path"))
        seeds = random.split(random.fold_in(seed, "direction"), self.num_directions)
        slices = [DIRECTIONS[self.directions](s, shape_of(x0)) for s in seeds]
        h = like(self.radius * sde.noise_scale(t), x0)
        return self.terms_for_slices(score_fn, x, t, slices, h)

    def terms_for_slices(self, score_fn, x, t, slices, h):
        """norm and trace, each [B], at x [B, ...] for a list of slices and steps h."""
        points = [x + sign * h * v for v in slices for sign in (1.0, -1.0)]
        scores = in_one_pass(score_fn, points, t)
        norms, traces = [], []
        for v, plus, minus in zip(slices, scores[::2], scores[1::2], strict=True):
            middle = 0.5 * (plus + minus)
            projected = sum_over_data(middle * v) ** 2
            norms.append(0.5 * (sum_over_data(middle**2) if self.variance_reduced else projected))
            traces.append(sum_over_data((plus - minus) * v / (2.0 * h)))
        count = len(slices)
        return {"norm": tf.add_n(norms) / count, "trace": tf.add_n(traces) / count}
