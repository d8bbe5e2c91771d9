"""SDEs whose prior is not Gaussian: a generalised normal distribution, and Student's t."""

import math

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import SDES
from lcss_tf.sdes.affine import linear_beta
from lcss_tf.sdes.elementwise import ElementwiseSDE
from lcss_tf.typing import Seed, Shape, Tensor


@SDES.register
class GeneralizedNormalSDE(ElementwiseSDE):
    """dx = −½ β(t) sign(x)|x|^{p−1} dt + √β(t) dw;  prior ∝ exp(−Σ|x_i|^p/p).

    No closed-form transition kernel but at p = 2, where it has the distribution of `VPSDE`. Its
    prior is flatter-topped and lighter-tailed than a Gaussian for p > 2: at p = 4 nearly uniform.

    A step is split into the Gaussian process dy = −½βy dt + √β dw, exact, and the flow of
    dy = ½β (y − sign(y)|y|^{p−1}) dt (Bernoulli's equation), exact too. At p = 2 the flow is
    the identity.

    Args:
      power: p > 1.
      beta_min, beta_max: β(0) and β(T), T = 1.

    Raises:
      UsageError: power <= 1, or another number out of its range.
    """

    simulation_spacing = 0.5  # every step the same share of the noise

    def __init__(self, power: float = 4.0, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if power <= 1:
            raise UsageError(f"GeneralizedNormalSDE expects power > 1; got {power}.")
        self.power = float(power)
        self.beta = linear_beta(beta_min, beta_max, self)
        # The path's weight takes the second derivative of the flow, about |x|^{p−3} near 0:
        # without a finite variance for p < 2.5, and without bound below 3.
        self.smoothing = "path" if power == 2 or power >= 3 else "gaussian"

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -0.5 * like(self.beta(t), x) * tf.sign(x) * tf.abs(x) ** (self.power - 1)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(self.beta(t)), x)

    def linear_step(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """a = exp(−½∫β), std² = 1 − a²."""
        log_a = -0.5 * self.beta.integral(s, t)
        return tf.exp(log_a), tf.sqrt(-tf.math.expm1(2 * log_a))

    def flow(self, y: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """y (E + (1 − E)|y|^q)^{−1/q}, q = p − 2, E = exp(−½ q ∫β); y itself at q = 0."""
        q = self.power - 2
        if q == 0:
            return y
        _, base, _ = self._bernoulli(y, s, t)
        # For q < 0 the flow reaches 0 in finite time, and stays.
        if q < 0:
            return tf.where(base > 0, y * tf.maximum(base, 1e-30) ** (-1 / q), tf.zeros_like(y))
        return y * base ** (-1 / q)

    def flow_with_derivatives(self, y: Tensor, s: Tensor, t: Tensor) -> list[Tensor]:
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

    def _bernoulli(self, y: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(E, E + (1 − E)|y|^q, |y|^q)."""
        q = self.power - 2
        half = like(0.5 * q * self.beta.integral(s, t), y)
        E, powered = tf.exp(-half), tf.abs(y) ** q
        return E, E - tf.math.expm1(-half) * powered, powered

    def prior_std(self) -> float:
        """√(p^{2/p} Γ(3/p)/Γ(1/p))."""
        p = self.power
        return math.sqrt(p ** (2 / p) * math.gamma(3 / p) / math.gamma(1 / p))

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        """|x|^p/p ~ Gamma(1/p, 1), with a random sign."""
        p = self.power
        magnitude = tf.random.stateless_gamma(shape, random.fold_in(seed, "size"), 1 / p)
        return random.rademacher(random.fold_in(seed, "sign"), shape) * (p * magnitude) ** (1 / p)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        p = self.power
        log_normaliser = math.log(2) + (1 / p - 1) * math.log(p) + math.lgamma(1 / p)
        return sum_over_data(-(tf.abs(x) ** p) / p) - log_normaliser * math.prod(shape_of(x)[1:])


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

    Raises:
      UsageError: a number out of its range.
    """

    simulation_spacing = 0.5  # every step the same share of the noise

    def __init__(
        self,
        tail: float = 0.2,
        scale: float | None = None,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
    ) -> None:
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

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -0.5 * like(self.beta(t), x) * x

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(self.beta(t)), x) * self.latent_slope(x)

    def latent_slope(self, x: Tensor) -> Tensor:
        """γ(x) = √(a (x² + δ²))."""
        return tf.sqrt(self.tail * (x**2 + self.scale**2))

    def to_latent(self, x: Tensor) -> Tensor:
        return tf.asinh(x / self.scale) / math.sqrt(self.tail)

    def from_latent(self, y: Tensor) -> Tensor:
        return self.scale * tf.sinh(math.sqrt(self.tail) * y)

    def latent_noise(self, t: Tensor) -> Tensor:
        return tf.sqrt(self.beta(t))

    def latent_drift(self, y: Tensor, t: Tensor) -> Tensor:
        root = math.sqrt(self.tail)
        return -0.5 * like(self.beta(t), y) * (1 + self.tail) / root * tf.tanh(root * y)

    def linear_step(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """No linear part: std² = ∫β."""
        return tf.ones_like(t), tf.sqrt(self.beta.integral(s, t))

    def flow(self, y: Tensor, s: Tensor, t: Tensor) -> Tensor:
        root = math.sqrt(self.tail)
        shrink = like(tf.exp(-0.5 * (1 + self.tail) * self.beta.integral(s, t)), y)
        return tf.asinh(shrink * tf.sinh(root * y)) / root

    def prior_std(self) -> float:
        """√(a δ²/(1 − a))."""
        return self.scale * math.sqrt(self.tail / (1 - self.tail))

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        """A normal over the root of a chi-square."""
        nu = self.degrees_of_freedom
        chi_square = 2 * tf.random.stateless_gamma(shape, random.fold_in(seed, "tail"), nu / 2)
        return self.scale * random.normal(random.fold_in(seed, "size"), shape) / tf.sqrt(chi_square)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        nu = self.degrees_of_freedom
        log_normaliser = (
            math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(math.pi)
        ) - math.log(self.scale)
        log_density = log_normaliser - 0.5 * (nu + 1) * tf.math.log1p((x / self.scale) ** 2)
        return sum_over_data(log_density)


__all__ = ["GeneralizedNormalSDE", "PearsonSDE"]
