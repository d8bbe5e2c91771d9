"""Denoising score matching (Vincent 2011), for SDEs with a closed-form kernel."""

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.losses.base import Loss
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import LOSSES


@LOSSES.register
class DSMLoss(Loss):
    """J = ½‖S(x_t, t) + z/σ_t‖², x_t = α_t x_0 + σ_t z.

    Its terms: norm = ½‖S‖², trace = S·z/σ_t + ½‖z‖²/σ_t².
    """

    def check(self, sde):
        if not sde.has_marginal:
            name = type(sde).__name__
            raise UsageError(
                f"DSMLoss needs a closed-form transition kernel, {name} has none: use LCSSLoss, "
                f"which needs none, or make {name} an AffineSDE by defining marginal(t)."
            )

    def terms(self, score_fn, sde, x0, t, seed):
        # The stream from which every loss draws x_t: the same seed, the same points.
        z = random.normal(random.fold_in(seed, "path"), shape_of(x0))
        return self.terms_for_noise(score_fn, sde, x0, t, z)

    def terms_for_noise(self, score_fn, sde, x0, t, z):
        """`terms` for the given noise z, of the shape of x0."""
        self.check(sde)
        alpha_t, sigma_t = sde.marginal(t)
        sigma_t = like(sigma_t, x0)
        score = score_fn(like(alpha_t, x0) * x0 + sigma_t * z, t)
        # The square as a whole: its parts cancel to many digits where sigma_t is small.
        total = 0.5 * sum_over_data((score + z / sigma_t) ** 2)
        norm = 0.5 * sum_over_data(score**2)
        return {"norm": norm, "trace": total - norm}
