"""SDEs whose prior is not Gaussian: a generalised normal distribution, and Student's t."""

import math

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, sum_over_data
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

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -0.5 * like(self.beta(t), x) * tf.sign(x) * tf.abs(x) ** (self.power - 1)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(self.beta(t)), x)

    def linear_step(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """a = exp(−½∫β), std² = 1 − a²."""
        log_a = -0.5 * self.beta.integral(s, t)
        return tf.exp(log_a), tf.sqrt(-tf.math.expm1(2 * log_a))

    def flow(self, y: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """y b^{−1/q}, b = E + (1 − E)|y|^q, q = p − 2, E = exp(−½ q ∫β); y itself at q = 0."""
        q = self.power - 2
        if q == 0:
            return y
        half = like(0.5 * q * self.beta.integral(s, t), y)
        # |y|^q has no derivative at 0 for q < 1.
        powered = (tf.abs(y) if q >= 1 else tf.maximum(tf.abs(y), 1e-9)) ** q
        base = tf.exp(-half) - tf.math.expm1(-half) * powered
        # For q < 0 the flow reaches 0 in finite time, and stays.
        return y * tf.where(base > 0, tf.maximum(base, 1e-30) ** (-1 / q), tf.zeros_like(y))

    def prior_std(self) -> float:
        """√(p^{2/p} Γ(3/p)/Γ(1/p))."""
        p = self.power
        return math.sqrt(p ** (2 / p) * math.gamma(3 / p) / math.gamma(1 / p))

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        return generalized_normal_sample(shape, seed, self.power)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return generalized_normal_log_prob(x, self.power)


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
        return student_sample(shape, seed, self.degrees_of_freedom, self.scale)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return student_log_prob(x, self.degrees_of_freedom, self.scale)


@SDES.register
class MirafzaliSDE(ElementwiseSDE):
    """dX = −k β(t) (X − a)/(1 + (X − a)²) dt + σ √β(t) dw (Mirafzali et al. 2025).

    A bounded pull towards a. Its stationary density is ∝ (1 + (x − a)²)^(−k/σ²): Student's t with
    ν = 2k/σ² − 1 degrees of freedom. At k = σ = 1, the paper's choice, that is Cauchy's
    distribution, which has no variance; a variance needs k/σ² > 3/2. Far from a the pull fades, so
    that the stationary distribution is reached slowly.

    Args:
      strength: k > 0.
      center: a.
      noise: σ > 0.
      beta_min, beta_max: β(0) and β(T), T = 1.

    Raises:
      UsageError: k/σ² <= 3/2, where the prior has no variance to measure noise by, or another
        number out of its range.
    """

    # By 24 steps x_T spreads 2.3 % too far, by 48 steps 0.4 %: the error falls as steps⁻².
    simulation_steps = 32
    simulation_spacing = 0.5

    def __init__(
        self,
        strength: float = 3.0,
        center: float = 0.0,
        noise: float = 1.0,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
    ) -> None:
        if noise <= 0 or strength <= 1.5 * noise**2:
            raise UsageError(
                "MirafzaliSDE expects noise > 0 and strength/noise² > 3/2; got strength="
                f"{strength} and noise={noise}. Its prior, Student's t with 2 strength/noise² − 1 "
                "degrees of freedom, has a variance above 2 of them only (at strength = noise = 1 "
                "it is Cauchy's distribution). Raise strength, or lower noise."
            )
        self.strength, self.center, self.noise = float(strength), float(center), float(noise)
        self.degrees_of_freedom = 2 * self.strength / self.noise**2 - 1
        self.beta = linear_beta(beta_min, beta_max, self)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        y = x - self.center
        return -self.strength * like(self.beta(t), x) * y / (1 + y**2)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(self.noise * tf.sqrt(self.beta(t)), x)

    def prior_std(self) -> float:
        """√(1/(ν − 2))."""
        return math.sqrt(1 / (self.degrees_of_freedom - 2))

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        return self.center + student_sample(shape, seed, self.degrees_of_freedom)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return student_log_prob(x - self.center, self.degrees_of_freedom)


def generalized_normal_sample(shape: Shape, seed: Seed, power: float) -> Tensor:
    """x ∝ exp(−Σ|x_i|^p/p): |x|^p/p ~ Gamma(1/p, 1), with a random sign."""
    if power == 2:
        return random.normal(seed, shape)
    magnitude = random.gamma(random.fold_in(seed, "size"), shape, 1 / power)
    sign = random.rademacher(random.fold_in(seed, "sign"), shape)
    return sign * (power * magnitude) ** (1 / power)


def generalized_normal_log_prob(x: Tensor, power: float) -> Tensor:
    """log of the product of densities ∝ exp(−|x|^p/p), [B]."""
    log_normaliser = math.log(2) + (1 / power - 1) * math.log(power) + math.lgamma(1 / power)
    return sum_over_data(-(tf.abs(x) ** power) / power - log_normaliser)


def student_sample(shape: Shape, seed: Seed, nu: float, scale: float = 1.0) -> Tensor:
    """scale · T/√ν, T of Student's distribution with ν degrees of freedom."""
    chi_square = 2 * random.gamma(random.fold_in(seed, "tail"), shape, nu / 2)
    return scale * random.normal(random.fold_in(seed, "size"), shape) / tf.sqrt(chi_square)


def student_log_prob(x: Tensor, nu: float, scale: float = 1.0) -> Tensor:
    """log of the product of densities ∝ (1 + (x/scale)²)^(−(ν + 1)/2), [B]."""
    log_normaliser = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(math.pi)
    log_density = -0.5 * (nu + 1) * tf.math.log1p((x / scale) ** 2)
    return sum_over_data(log_normaliser - math.log(scale) + log_density)


__all__ = [
    "GeneralizedNormalSDE",
    "MirafzaliSDE",
    "PearsonSDE",
    "generalized_normal_log_prob",
    "generalized_normal_sample",
    "student_log_prob",
    "student_sample",
]
