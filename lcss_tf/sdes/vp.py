"""The variance-preserving SDE (Ho et al. 2020; Song et al. 2021)."""

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.ops import gaussian_log_prob, gaussian_sample, like
from lcss_tf.registry import SDES
from lcss_tf.sdes.affine import AffineSDE
from lcss_tf.sdes.beta import linear_beta


class LinearDrift(AffineSDE):
    """What VP and sub-VP share: drift −½ β(t) x, β(t) = β_min + t (β_max − β_min), prior N(0, I).

    Args:
      beta_min: β(0).
      beta_max: β(T), T = 1.

    Raises:
      ValueError: unless 0 <= beta_min <= beta_max and beta_max > 0.
    """

    def __init__(self, beta_min=0.1, beta_max=20.0):
        self.beta = linear_beta(beta_min, beta_max, self)
        self.beta_min = beta_min
        self.beta_max = beta_max

    def log_alpha(self, t):
        """log α_t = −½ ∫₀ᵗ β = −¼ t² (β_max − β_min) − ½ t β_min, [B]."""
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def drift(self, x, t):
        return -0.5 * like(self.beta(t), x) * x

    def discrete_beta(self, t, num_steps):
        """β_i of the discrete process with `num_steps` steps, i = ⌊t (N − 1)/T⌋, [B]."""
        table = np.linspace(
            self.beta_min / num_steps, self.beta_max / num_steps, num_steps, dtype=np.float32
        )
        index = tf.cast(t * ((num_steps - 1) / self.T), tf.int32)
        return tf.gather(table, tf.clip_by_value(index, 0, num_steps - 1))

    def langevin_alpha(self, t, num_steps):
        """1 − β_i."""
        return 1.0 - self.discrete_beta(t, num_steps)

    def prior_sample(self, shape, seed):
        return gaussian_sample(shape, seed)

    def prior_log_prob(self, x):
        return gaussian_log_prob(x)


@SDES.register
class VPSDE(LinearDrift):
    """dx = −½ β(t) x dt + √β(t) dw;  α_t = exp(−½∫β), σ_t² = 1 − α_t²."""

    def marginal(self, t):
        log_alpha = self.log_alpha(t)
        return tf.exp(log_alpha), tf.sqrt(-tf.math.expm1(2.0 * log_alpha))

    def diffusion(self, x, t):
        return like(tf.sqrt(self.beta(t)), x)

    def check_discretization(self, num_steps):
        if num_steps <= self.beta_max:
            raise UsageError(
                f"VPSDE's discrete process needs num_steps > beta_max = {self.beta_max} (β_i must "
                f"stay below 1); got num_steps = {num_steps}. Use more steps, or "
                "EulerMaruyamaPredictor without a Langevin corrector."
            )

    def discretize(self, x, t, num_steps):
        """DDPM's own recursion: f = √(1 − β_i) x − x, G = √β_i."""
        beta_i = like(self.discrete_beta(t, num_steps), x)
        return tf.sqrt(1.0 - beta_i) * x - x, tf.sqrt(beta_i)

    def ancestral(self, x, t, score, num_steps):
        """DDPM's step: mean (x + β_i score)/√(1 − β_i), deviation √β_i."""
        beta_i = like(self.discrete_beta(t, num_steps), x)
        return (x + beta_i * score) / tf.sqrt(1.0 - beta_i), tf.sqrt(beta_i)
