"""An SDE that ends in a generalised normal law, and is VP at power 2."""

import math

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import SDES
from lcss_tf.sdes.beta import linear_beta
from lcss_tf.sdes.elementwise import ElementwiseSDE


@SDES.register
class GeneralizedNormalSDE(ElementwiseSDE):
    """dx = −½ β(t) sign(x)|x|^{p−1} dt + √β(t) dw;  prior ∝ exp(−Σ|x_i|^p/p).

    No closed-form transition kernel but at p = 2, where it is `VPSDE` in law. Its prior is
    flatter-topped and lighter-tailed than a Gaussian for p > 2: at p = 4 a uniform-like bump.

    A step is split into the Gaussian process dy = −½βy dt + √β dw, exact, and the flow of
    dy = ½β (y − sign(y)|y|^{p−1}) dt (Bernoulli's equation), exact too. At p = 2 the flow
    rests.

    Args:
      power: p > 1.
      beta_min, beta_max: β(0) and β(T), T = 1.
      simulation_steps, simulation_spacing: as in `SDE`; the spacing ½ gives every step the
        same share of the noise.

    Raises:
      ValueError: power <= 1, or another number out of its range.
    """

    simulation_spacing = 0.5

    def __init__(
        self,
        power=4.0,
        beta_min=0.1,
        beta_max=20.0,
        simulation_steps=None,
        simulation_spacing=None,
    ):
        super().__init__(simulation_steps, simulation_spacing)
        if power <= 1:
            raise UsageError(f"GeneralizedNormalSDE expects power > 1; got {power}.")
        self.power = float(power)
        self.beta = linear_beta(beta_min, beta_max, self)
        # The path's weight takes the second derivative of the flow, about |x|^{p−3} near 0:
        # without a finite variance for p < 2.5, and without bound below 3.
        self.smoothing = "path" if power == 2 or power >= 3 else "gaussian"

    def drift(self, x, t):
        return -0.5 * like(self.beta(t), x) * tf.sign(x) * tf.abs(x) ** (self.power - 1)

    def diffusion(self, x, t):
        return like(tf.sqrt(self.beta(t)), x)

    def linear_step(self, s, t):
        """a = exp(−½∫β), std² = 1 − a²."""
        log_a = -0.5 * self.beta.integral(s, t)
        return tf.exp(log_a), tf.sqrt(-tf.math.expm1(2 * log_a))

    def flow(self, y, s, t):
        """y (E + (1 − E)|y|^q)^{−1/q}, q = p − 2, E = exp(−½ q ∫β); y itself at q = 0."""
        q = self.power - 2
        if q == 0:
            return y
        _, base, _ = self._bernoulli(y, s, t)
        # For q < 0 the flow reaches 0 in finite time, and stays.
        if q < 0:
            return tf.where(base > 0, y * tf.maximum(base, 1e-30) ** (-1 / q), tf.zeros_like(y))
        return y * base ** (-1 / q)

    def flow_with_derivatives(self, y, s, t):
        """With b = E + (1 − E)|y|^q: F = y b^{−1/q}, F' = E F/(y b), F'' as below."""
        q = self.power - 2
        if q < 1:  # where the second derivative is without bound
            return super().flow_with_derivatives(y, s, t)
        E, base, powered = self._bernoulli(y, s, t)
        shrink = base ** (-1 / q)
        slope = E * shrink / base
        # sign(y)|y|^{q−1} = |y|^q/y, safe at 0 where q = 1 gives the sign of 0.
        lever = tf.math.divide_no_nan(powered, y)
        return [y * shrink, slope, -(1 + q) * (1 - E) * lever * slope / base]

    def _bernoulli(self, y, s, t):
        """(E, E + (1 − E)|y|^q, |y|^q)."""
        q = self.power - 2
        half = like(0.5 * q * self.beta.integral(s, t), y)
        E, powered = tf.exp(-half), tf.abs(y) ** q
        return E, E - tf.math.expm1(-half) * powered, powered

    def prior_std(self):
        """√(p^{2/p} Γ(3/p)/Γ(1/p))."""
        p = self.power
        return math.sqrt(p ** (2 / p) * math.gamma(3 / p) / math.gamma(1 / p))

    def prior_sample(self, shape, seed):
        """|x|^p/p ~ Gamma(1/p, 1), with a random sign."""
        p = self.power
        magnitude = tf.random.stateless_gamma(shape, random.fold_in(seed, "size"), 1 / p)
        return random.rademacher(random.fold_in(seed, "sign"), shape) * (p * magnitude) ** (1 / p)

    def prior_log_prob(self, x):
        p = self.power
        log_normaliser = math.log(2) + (1 / p - 1) * math.log(p) + math.lgamma(1 / p)
        return sum_over_data(-(tf.abs(x) ** p) / p) - log_normaliser * math.prod(shape_of(x)[1:])
