"""Null-space models: the denoised estimate is corrected to what was observed."""

from lcss_tf.control.controlled import Controlled, Method
from lcss_tf.errors import UsageError
from lcss_tf.ops import like
from lcss_tf.registry import METHODS


@METHODS.register
class NullSpace(Method):
    """x̂_0 = (x + sigma_t² s)/alpha_t is replaced by x̂_0 + K A⁺ (y − A x̂_0) (Wang et al. 2023).

    As a score, s + K (alpha_t/sigma_t²) A⁺ (y − A x̂_0): every sampler can use it, at no further
    evaluation. Without noise in y, K = 1 (DDNM). With noise of deviation σ_y it is

        K = r²/(r² + σ_y²/γ),   r² = v_0 sigma_t²/(alpha_t² v_0 + sigma_t²),   A Aᵀ = γ I,

    as if x_0 given x_t were N(x̂_0, r² I) (Song et al. 2023, ΠGDM): the exact posterior where the
    data are N(m, v_0 I). Elsewhere an approximation: what is hidden learns of y only by way of
    the state. Affine SDEs only.

    Args:
      data_std: √v_0, of the scaled data; matters with noise only. 0.5 is EDM's for images in
        [−1, 1] (Karras et al. 2022).

    Raises:
      ValueError: data_std <= 0.
    """

    def __init__(self, data_std=0.5):
        if data_std <= 0:
            raise UsageError(f"{type(self).__name__}.data_std must be > 0; got {data_std}.")
        self.data_std = data_std

    def control(self, sampler, problem):
        return NullSpaceSampler(sampler, problem, self.data_std)


class DenoisingControl(Controlled):
    """Base of those that need the denoised estimate x̂_0."""

    def __init__(self, sampler, problem, data_std):
        super().__init__(sampler, problem)
        self.data_std = data_std

    def check(self, sde):
        if not sde.has_marginal:
            raise UsageError(
                f"{type(self).__name__} needs (alpha_t, sigma_t) of an affine SDE, and "
                f"{type(sde).__name__} has none in closed form: use Replacement, with "
                "TimeTravel round it if you like."
            )
        super().check(sde)

    def levels(self, sde, x, t):
        """(alpha_t, sigma_t, r²), each broadcastable to x."""
        alpha_t, sigma_t = (like(level, x) for level in sde.marginal(t))
        v_0 = self.data_std**2
        return alpha_t, sigma_t, v_0 * sigma_t**2 / (alpha_t**2 * v_0 + sigma_t**2)


class NullSpaceSampler(DenoisingControl):
    """See `NullSpace`."""

    def seen(self, reverse):
        operator, y, noise_std = self.problem

        def score_fn(x, t):
            shape = x.shape[1:]
            alpha_t, sigma_t, r_squared = self.levels(reverse.sde, x, t)
            score = reverse.score_fn(x, t)
            estimate = (x + sigma_t**2 * score) / alpha_t
            change = operator.pseudo_inverse(y - operator.apply(estimate), shape)
            if noise_std > 0:
                change *= r_squared / (r_squared + noise_std**2 / operator.gain(shape))
            return score + alpha_t / sigma_t**2 * change

        return reverse._replace(score_fn=score_fn)
