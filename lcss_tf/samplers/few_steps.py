"""What the few-step samplers share: they step the marginals' (alpha_t, sigma_t), not the SDE."""

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.ops import like
from lcss_tf.samplers.base import Sampler
from lcss_tf.samplers.spacing import log_noise


class FewSteps(Sampler):
    """Base of the samplers for affine SDEs, where x_t = alpha_t x_0 + sigma_t ε.

    From the score they take the noise and the data that it implies,

        ε(x, t) = −sigma_t ∇log p_t(x),    D(x, t) = E[x_0 | x_t = x] = (x − sigma_t ε)/alpha_t.

    Args:
      num_steps, t_end, spacing: of `Sampler`.
      denoise: evaluate once more, at t_end, and return D there.

    Raises:
      ValueError: as `Sampler`.
    """

    def __init__(self, num_steps=20, t_end=None, denoise=True, spacing=None):
        super().__init__(num_steps, t_end, denoise, spacing)

    def check(self, sde):
        if not sde.has_marginal:
            raise UsageError(
                f"{type(self).__name__} needs (alpha_t, sigma_t) of an affine SDE, and "
                f"{type(sde).__name__} has none in closed form: use ProbabilityFlowODE, "
                "StochasticHeun, EulerMaruyama or PredictorCorrector."
            )
        super().check(sde)
        if not np.isfinite(log_noise(sde, np.array([self.end(sde)]))):
            raise UsageError(
                f"{type(self).__name__} needs noise at t_end; {type(sde).__name__} has none at "
                f"t_end = {self.end(sde):g}. Set t_end > 0."
            )

    def evaluations(self):
        return super().evaluations() + int(self.denoise)

    def finish(self, reverse, step, t):
        if not self.denoise:
            return step.x
        return data_and_noise(reverse, step.x, t)[0]


def data_and_noise(reverse, x, t):
    """(D, ε), each of the shape of x, from one evaluation at t [B]."""
    alpha_t, sigma_t = levels(reverse.sde, t, x)
    noise = -sigma_t * reverse.score_fn(x, t)
    return (x - sigma_t * noise) / alpha_t, noise


def levels(sde, t, x):
    """(alpha_t, sigma_t), each broadcastable to x."""
    return tuple(like(level, x) for level in sde.marginal(t))


def log_snr(sde, t):
    """λ_t = log(alpha_t/sigma_t) [B]: half the logarithm of the signal-to-noise ratio."""
    alpha_t, sigma_t = sde.marginal(t)
    return tf.math.log(alpha_t) - tf.math.log(sigma_t)
