"""A Pearson diffusion: multiplicative noise and a Student-t prior, for heavy-tailed data."""

import math

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, sum_over_data
from lcss_tf.registry import SDES
from lcss_tf.sdes.beta import linear_beta
from lcss_tf.sdes.elementwise import ElementwiseSDE


@SDES.register
class PearsonSDE(ElementwiseSDE):
    """dx = −½ β(t) x dt + √(β(t) a (x² + δ²)) dw, with a = `tail`, δ = `scale`.

    Its noise grows with x, and its prior is Student's t with ν = 1 + 1/a degrees of freedom
    and scale δ/√ν (Forman and Sørensen 2008). The variance is a δ²/(1 − a).

    In y = asinh(x/δ)/√a the noise is √β(t), and the drift −½β(1 + a) tanh(√a y)/√a, whose
    flow is exact: sinh(√a y_t) = exp(−½(1 + a)∫β) sinh(√a y_s).

    Args:
      tail: a in (0, 1); smaller is lighter.
      scale: δ > 0; by default √(ν − 2), which gives the prior unit variance.
      beta_min, beta_max: β(0) and β(T), T = 1.
      simulation_steps, simulation_spacing: as in `SDE`.

    Raises:
      ValueError: a number out of its range.
    """

    simulation_spacing = 0.5

    def __init__(
        self,
        tail=0.2,
        scale=None,
        beta_min=0.1,
        beta_max=20.0,
        simulation_steps=None,
        simulation_spacing=None,
    ):
        super().__init__(simulation_steps, simulation_spacing)
        if not 0 < tail < 1:
            raise UsageError(
                f"PearsonSDE expects 0 < tail < 1 (its prior needs a variance); got {tail}."
            )
        self.tail = float(tail)
        self.degrees_of_freedom = 1 + 1 / self.tail
        self.scale = math.sqrt(self.degrees_of_freedom - 2) if scale is None else float(scale)
        if self.scale <= 0:
            raise UsageError(f"PearsonSDE expects scale > 0; got {scale}.")
        self.beta = linear_beta(beta_min, beta_max, self)

    def drift(self, x, t):
        return -0.5 * like(self.beta(t), x) * x

    def diffusion(self, x, t):
        return like(tf.sqrt(self.beta(t)), x) * self.latent_slope(x)

    def latent_slope(self, x):
        """γ(x) = √(a (x² + δ²))."""
        return tf.sqrt(self.tail * (x**2 + self.scale**2))

    def to_latent(self, x):
        return tf.asinh(x / self.scale) / math.sqrt(self.tail)

    def from_latent(self, y):
        return self.scale * tf.sinh(math.sqrt(self.tail) * y)

    def latent_noise(self, t):
        return tf.sqrt(self.beta(t))

    def latent_drift(self, y, t):
        root = math.sqrt(self.tail)
        return -0.5 * like(self.beta(t), y) * (1 + self.tail) / root * tf.tanh(root * y)

    def linear_step(self, s, t):
        """No linear part: std² = ∫β."""
        return tf.ones_like(t), tf.sqrt(self.beta.integral(s, t))

    def flow(self, y, s, t):
        root = math.sqrt(self.tail)
        shrink = like(tf.exp(-0.5 * (1 + self.tail) * self.beta.integral(s, t)), y)
        return tf.asinh(shrink * tf.sinh(root * y)) / root

    def transition_moments(self, x_s, s, t):
        """(mean, variance) of x_t given x_s, of the shape of x_s: exact, in closed form."""
        B = like(self.beta.integral(s, t), x_s)
        stationary = self.tail * self.scale**2 / (1 - self.tail)
        second = stationary + tf.exp(-(1 - self.tail) * B) * (x_s**2 - stationary)
        mean = tf.exp(-0.5 * B) * x_s
        return mean, second - mean**2

    def prior_std(self):
        """√(a δ²/(1 − a))."""
        return self.scale * math.sqrt(self.tail / (1 - self.tail))

    def prior_sample(self, shape, seed):
        """A normal over the root of a chi-square."""
        nu = self.degrees_of_freedom
        chi_square = 2 * tf.random.stateless_gamma(shape, random.fold_in(seed, "tail"), nu / 2)
        return self.scale * random.normal(random.fold_in(seed, "size"), shape) / tf.sqrt(chi_square)

    def prior_log_prob(self, x):
        nu = self.degrees_of_freedom
        log_normaliser = (
            math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(math.pi)
        ) - math.log(self.scale)
        log_density = log_normaliser - 0.5 * (nu + 1) * tf.math.log1p((x / self.scale) ** 2)
        return sum_over_data(log_density)
