"""The variance-exploding SDE (Song & Ermon 2019; Song et al. 2021)."""

import math

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.ops import gaussian_log_prob, gaussian_sample, like
from lcss_tf.registry import SDES
from lcss_tf.sdes.affine import AffineSDE


@SDES.register
class VESDE(AffineSDE):
    """dx = σ(t) √(2 ln(σ_max/σ_min)) dw,  σ(t) = σ_min (σ_max/σ_min)^t;  α_t = 1, σ_t = σ(t).

    As in the reference, σ(0) = σ_min: the data are taken to carry that much noise.

    Args:
      sigma_min: σ(0).
      sigma_max: σ(T), T = 1; about the largest distance between two examples.

    Raises:
      ValueError: unless 0 < sigma_min < sigma_max.
    """

    sampling_t_min = 1e-5

    def __init__(self, sigma_min=0.01, sigma_max=50.0):
        if not 0 < sigma_min < sigma_max:
            raise UsageError(
                "VESDE expects 0 < sigma_min < sigma_max; got "
                f"sigma_min={sigma_min}, sigma_max={sigma_max}."
            )
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self._log_ratio = math.log(sigma_max / sigma_min)

    def marginal(self, t):
        return tf.ones_like(t), self.sigma_min * tf.exp(t * self._log_ratio)

    def drift(self, x, t):
        return tf.zeros_like(x)

    def diffusion(self, x, t):
        return like(self.marginal(t)[1] * math.sqrt(2.0 * self._log_ratio), x)

    def noise_label(self, t):
        """σ_t: the reference's VE networks are told the noise level itself."""
        return self.marginal(t)[1]

    def discrete_sigmas(self, t, num_steps):
        """(σ_i, σ_{i−1}) of the discrete process, i = ⌊t (N − 1)/T⌋ and σ_{−1} = 0, each [B]."""
        table = np.exp(np.linspace(math.log(self.sigma_min), math.log(self.sigma_max), num_steps))
        index = tf.cast(t * ((num_steps - 1) / self.T), tf.int32)
        index = tf.clip_by_value(index, 0, num_steps - 1)
        sigma_i = tf.gather(np.float32(table), index)
        return sigma_i, tf.gather(np.float32(np.append(0.0, table)), index)

    def discretize(self, x, t, num_steps):
        """f = 0, G = √(σ_i² − σ_{i−1}²)."""
        sigma_i, sigma_before = self.discrete_sigmas(t, num_steps)
        return tf.zeros_like(x), like(tf.sqrt(sigma_i**2 - sigma_before**2), x)

    def ancestral(self, x, t, score, num_steps):
        """The exact posterior between the noise levels σ_i and σ_{i−1}."""
        sigma_i, sigma_before = self.discrete_sigmas(t, num_steps)
        variance = sigma_i**2 - sigma_before**2
        std = tf.sqrt(sigma_before**2 * variance) / sigma_i
        return x + like(variance, x) * score, like(std, x)

    def prior_sample(self, shape, seed):
        return gaussian_sample(shape, seed, self.sigma_max)

    def prior_log_prob(self, x):
        return gaussian_log_prob(x, self.sigma_max)
