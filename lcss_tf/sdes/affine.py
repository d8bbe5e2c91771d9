"""Affine SDEs: drift linear in x, so that x_t given x_0 is Gaussian in closed form.

`VPSDE`, `SubVPSDE` and `VESDE` are those of Song et al. (2021), with their discretisations.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import bisect, gaussian_log_prob, gaussian_sample, like, shape_of
from lcss_tf.registry import SDES
from lcss_tf.sdes.base import SDE
from lcss_tf.sdes.path import GaussianKernel
from lcss_tf.typing import Seed, Shape, Tensor

_RHO = 7.0  # of EDM's times


class AffineSDE(SDE):
    """x_t = alpha_t x_0 + sigma_t z. Subclasses define `marginal` beside the four of `SDE`."""

    has_marginal = True
    kernel_cap = float("inf")  # the local kernel is exact

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), each [B]."""
        raise NotImplementedError(f"{type(self).__name__} must define marginal(t).")

    def perturb(self, x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """alpha_t x_0 + sigma_t z."""
        alpha_t, sigma_t = self.marginal(t)
        return like(alpha_t, x0) * x0 + like(sigma_t, x0) * z

    def sample_xt(self, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """Draws x_t given x_0 from the closed form."""
        return self.perturb(x0, t, random.normal(seed, shape_of(x0)))

    def time_of_log_noise(self, values: Tensor) -> Tensor:
        """The times t [B] in [0, T] at which log(sigma_t/alpha_t) takes `values` [B]; T if beyond.

        By bisection, in the graph: any `marginal` will do in which the ratio rises with t.
        """

        def log_noise(t: Tensor) -> Tensor:
            alpha_t, sigma_t = self.marginal(t)
            return tf.math.log(sigma_t) - tf.math.log(alpha_t)

        return bisect(log_noise, values, self.T)

    def check_weights(self) -> None:
        """Nothing to check: the weights have a closed form."""

    def sample_with_weight(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """(x_t, z/σ_t): the weight is −∇ log of the transition kernel, as in DSM."""
        z = random.normal(seed, shape_of(x0))
        return self.perturb(x0, t, z), z / like(self.marginal(t)[1], x0)

    def noise_scale(self, t: Tensor) -> Tensor:
        """sigma_t [B]."""
        return self.marginal(t)[1]

    def simulation_step(self, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """x_t from x_s, exactly."""
        mean, std = self.local_kernel(x, s, t)
        return mean + std * random.normal(seed, shape_of(x))

    def local_kernel(self, x_s: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, std) of x_t given x_s, exact: (α_t/α_s) x_s and √(σ_t² − (α_t/α_s)² σ_s²)."""
        alpha_t, sigma_t = self.marginal(t)
        alpha_s, sigma_s = self.marginal(s)
        ratio = alpha_t / alpha_s
        kept = ratio * sigma_s
        # (a − b)(a + b) loses fewer bits than a² − b².
        std = tf.sqrt(tf.maximum((sigma_t - kept) * (sigma_t + kept), 0.0))
        return like(ratio, x_s) * x_s, like(std, x_s)

    def last_step(self, x0: Tensor, t: Tensor, std: Tensor, seed: Seed) -> GaussianKernel:
        """The kernel of x_t given all of its noise but a last part of standard deviation `std`.

        x_t = α_t x_0 + √(σ_t² − std²) z' + std z: splitting a Gaussian is exact for
        any std up to σ_t, where it is the transition kernel itself. (At that limit the kernel
        includes VE's noise at time 0, which `local_kernel` from s = 0 lacks.)
        """
        alpha_t, sigma_t = self.marginal(t)
        std = tf.minimum(std, sigma_t)
        before = tf.sqrt((sigma_t - std) * (sigma_t + std))
        z = random.normal(seed, shape_of(x0))
        mean = like(alpha_t, x0) * x0 + like(before, x0) * z
        return GaussianKernel(mean, like(std, x0))

    def ancestral(
        self, x: Tensor, t: Tensor, score: Tensor, num_steps: int
    ) -> tuple[Tensor, Tensor]:
        """(mean, std) of the ancestral step back from t by T/num_steps (Ho et al. 2020).

        The Gaussian posterior of x_s given x_t and the x_0 that the score implies.
        """
        s = tf.maximum(t - self.T / num_steps, 0.0)
        alpha_t, sigma_t = self.marginal(t)
        alpha_s, sigma_s = self.marginal(s)
        ratio = alpha_t / alpha_s
        step_variance = (sigma_t - ratio * sigma_s) * (sigma_t + ratio * sigma_s)
        mean = (x + like(step_variance, x) * score) / like(ratio, x)
        return mean, like(sigma_s * tf.sqrt(step_variance) / sigma_t, x)


class LinearBeta(NamedTuple):
    """The schedule β(t) = low + t (high − low) on [0, 1] that several SDEs share."""

    low: float
    high: float

    def __call__(self, t: Tensor) -> Tensor:
        """β(t), of the shape of t."""
        return self.low + t * (self.high - self.low)

    def integral(self, s: Tensor, t: Tensor) -> Tensor:
        """∫ₛᵗ β, of the shape of s and t."""
        return (t - s) * self(0.5 * (s + t))


def linear_beta(beta_min: float, beta_max: float, owner: Any) -> LinearBeta:
    """A `LinearBeta`, checked.

    Raises:
      UsageError: unless 0 <= beta_min <= beta_max and beta_max > 0; it names `owner`.
    """
    if not 0 <= beta_min <= beta_max or beta_max == 0:
        raise UsageError(
            f"{type(owner).__name__} expects 0 <= beta_min <= beta_max and beta_max > 0; got "
            f"beta_min={beta_min}, beta_max={beta_max}."
        )
    return LinearBeta(beta_min, beta_max)


class VPFamily(AffineSDE):
    """What VP and sub-VP share: drift −½ β(t) x, β(t) = β_min + t (β_max − β_min), prior N(0, I).

    Args:
      beta_min: β(0).
      beta_max: β(T), T = 1.

    Raises:
      UsageError: unless 0 <= beta_min <= beta_max and beta_max > 0.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        self.beta = linear_beta(beta_min, beta_max, self)
        self.beta_min = beta_min
        self.beta_max = beta_max

    def log_alpha(self, t: Tensor) -> Tensor:
        """log α_t = −½ ∫₀ᵗ β = −¼ t² (β_max − β_min) − ½ t β_min, [B]."""
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -0.5 * like(self.beta(t), x) * x

    def discrete_beta(self, t: Tensor, num_steps: int) -> Tensor:
        """β_i of the discrete process with `num_steps` steps, i = ⌊t (N − 1)/T⌋, [B]."""
        table = np.linspace(
            self.beta_min / num_steps, self.beta_max / num_steps, num_steps, dtype=np.float32
        )
        index = tf.cast(t * ((num_steps - 1) / self.T), tf.int32)
        return tf.gather(table, tf.clip_by_value(index, 0, num_steps - 1))

    def langevin_alpha(self, t: Tensor, num_steps: int) -> Tensor:
        """1 − β_i."""
        return 1.0 - self.discrete_beta(t, num_steps)

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        return gaussian_sample(shape, seed)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return gaussian_log_prob(x)


@SDES.register
class VPSDE(VPFamily):
    """dx = −½ β(t) x dt + √β(t) dw;  α_t = exp(−½∫β), σ_t² = 1 − α_t²."""

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self.log_alpha(t)
        return tf.exp(log_alpha), tf.sqrt(-tf.math.expm1(2.0 * log_alpha))

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(self.beta(t)), x)

    def check_discretization(self, num_steps: int) -> None:
        if num_steps <= self.beta_max:
            raise UsageError(
                f"VPSDE's discrete process needs num_steps > beta_max = {self.beta_max} (β_i must "
                f"stay below 1); got num_steps = {num_steps}. Use more steps, or "
                "EulerMaruyamaPredictor without a Langevin corrector."
            )

    def discretize(self, x: Tensor, t: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
        """DDPM's own recursion: f = √(1 − β_i) x − x, G = √β_i."""
        beta_i = like(self.discrete_beta(t, num_steps), x)
        return tf.sqrt(1.0 - beta_i) * x - x, tf.sqrt(beta_i)

    def ancestral(
        self, x: Tensor, t: Tensor, score: Tensor, num_steps: int
    ) -> tuple[Tensor, Tensor]:
        """DDPM's step: mean (x + β_i score)/√(1 − β_i), std √β_i."""
        beta_i = like(self.discrete_beta(t, num_steps), x)
        return (x + beta_i * score) / tf.sqrt(1.0 - beta_i), tf.sqrt(beta_i)


@SDES.register
class SubVPSDE(VPFamily):
    """dx = −½ β(t) x dt + √(β(t) (1 − α_t⁴)) dw;  σ_t = 1 − α_t²."""

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self.log_alpha(t)
        return tf.exp(log_alpha), -tf.math.expm1(2.0 * log_alpha)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        damping = -tf.math.expm1(4.0 * self.log_alpha(t))
        return like(tf.sqrt(self.beta(t) * damping), x)


@SDES.register
class VESDE(AffineSDE):
    """dx = σ(t) √(2 ln(σ_max/σ_min)) dw,  σ(t) = σ_min (σ_max/σ_min)^t;  α_t = 1, σ_t = σ(t).

    As in the reference, σ(0) = σ_min: the data are taken to carry that much noise.

    Args:
      sigma_min: σ(0).
      sigma_max: σ(T), T = 1; about the largest distance between two examples.

    Raises:
      UsageError: unless 0 < sigma_min < sigma_max.
    """

    label_embedding = "fourier"
    sampling_t_min = 1e-5

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        if not 0 < sigma_min < sigma_max:
            raise UsageError(
                "VESDE expects 0 < sigma_min < sigma_max; got "
                f"sigma_min={sigma_min}, sigma_max={sigma_max}."
            )
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self._log_ratio = math.log(sigma_max / sigma_min)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return tf.ones_like(t), self.sigma_min * tf.exp(t * self._log_ratio)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return tf.zeros_like(x)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(self.marginal(t)[1] * math.sqrt(2.0 * self._log_ratio), x)

    def noise_label(self, t: Tensor) -> Tensor:
        """σ_t: the reference conditions its VE networks on the noise level itself."""
        return self.marginal(t)[1]

    def discrete_sigmas(self, t: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
        """(σ_i, σ_{i−1}) of the discrete process, i = ⌊t (N − 1)/T⌋ and σ_{−1} = 0, each [B]."""
        table = np.exp(np.linspace(math.log(self.sigma_min), math.log(self.sigma_max), num_steps))
        index = tf.cast(t * ((num_steps - 1) / self.T), tf.int32)
        index = tf.clip_by_value(index, 0, num_steps - 1)
        sigma_i = tf.gather(np.asarray(table, np.float32), index)
        return sigma_i, tf.gather(np.asarray(np.append(0.0, table), np.float32), index)

    def discretize(self, x: Tensor, t: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
        """f = 0, G = √(σ_i² − σ_{i−1}²)."""
        sigma_i, sigma_before = self.discrete_sigmas(t, num_steps)
        return tf.zeros_like(x), like(tf.sqrt(sigma_i**2 - sigma_before**2), x)

    def ancestral(
        self, x: Tensor, t: Tensor, score: Tensor, num_steps: int
    ) -> tuple[Tensor, Tensor]:
        """The exact posterior between the noise levels σ_i and σ_{i−1}."""
        sigma_i, sigma_before = self.discrete_sigmas(t, num_steps)
        variance = sigma_i**2 - sigma_before**2
        std = tf.sqrt(sigma_before**2 * variance) / sigma_i
        return x + like(variance, x) * score, like(std, x)

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        return gaussian_sample(shape, seed, self.sigma_max)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return gaussian_log_prob(x, self.sigma_max)


@SDES.register
class CosineVPSDE(AffineSDE):
    """α_t = cos(c t), σ_t = sin(c t): the cosine schedule (Nichol and Dhariwal 2021).

    dx = −½ β x dt + √β dw with β = 2c tan(c t).

    Args:
      final_alpha: α_T = cos c, the share of the data that is left at T = 1.

    Raises:
      UsageError: unless 0 < final_alpha < 1.
    """

    def __init__(self, final_alpha: float = 0.01) -> None:
        if not 0 < final_alpha < 1:
            raise UsageError(f"CosineVPSDE expects 0 < final_alpha < 1; got {final_alpha}.")
        self._rate = math.acos(final_alpha)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return tf.cos(self._rate * t), tf.sin(self._rate * t)

    def beta(self, t: Tensor) -> Tensor:
        """β(t) = 2c tan(c t), [B]."""
        return 2 * self._rate * tf.tan(self._rate * t)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -0.5 * like(self.beta(t), x) * x

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(self.beta(t)), x)

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        return gaussian_sample(shape, seed)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return gaussian_log_prob(x)


@SDES.register
class FlowMatchingSDE(AffineSDE):
    """α_t = 1 − t, σ_t = t: the linear interpolation of flow matching (Lipman et al. 2023).

    dx = −x/(1 − t) dt + √(2t/(1 − t)) dw. The probability-flow ODE is rectified flow's (Liu et al.
    2023), the score a linear function of its velocity: v = −(x + t ∇log p_t)/(1 − t). At t = 1 the
    SDE is singular, so it ends shortly before.

    Args:
      final_alpha: α_T = 1 − T.

    Raises:
      UsageError: unless 0 < final_alpha < 1.
    """

    def __init__(self, final_alpha: float = 0.001) -> None:
        if not 0 < final_alpha < 1:
            raise UsageError(f"FlowMatchingSDE expects 0 < final_alpha < 1; got {final_alpha}.")
        self.T = 1.0 - final_alpha

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1.0 - t, tf.identity(t)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -x / like(1.0 - t, x)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(2 * t / (1.0 - t)), x)

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        return gaussian_sample(shape, seed, self.T)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return gaussian_log_prob(x, self.T)


@SDES.register
class EDMSDE(AffineSDE):
    """dx = √(2t) dw: α_t = 1, σ_t = t, the time of Karras et al. (2022).

    Training times are dense where σ is small: σ = (σ_min^{1/ρ} + u (σ_max^{1/ρ} − σ_min^{1/ρ}))^ρ
    for u uniform in [0, 1], ρ = 7.

    Args:
      sigma_min: `t_min`.
      sigma_max: T; about the largest distance between two examples.

    Raises:
      UsageError: unless 0 < sigma_min < sigma_max.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        if not 0 < sigma_min < sigma_max:
            raise UsageError(
                "EDMSDE expects 0 < sigma_min < sigma_max; got "
                f"sigma_min={sigma_min}, sigma_max={sigma_max}."
            )
        self.t_min = self.sampling_t_min = float(sigma_min)
        self.T = float(sigma_max)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return tf.ones_like(t), tf.identity(t)

    def training_time(self, u: Tensor) -> Tensor:
        low, high = self.t_min ** (1 / _RHO), self.T ** (1 / _RHO)
        return tf.minimum((low + u * (high - low)) ** _RHO, self.T)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return tf.zeros_like(x)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(2.0 * t), x)

    def noise_label(self, t: Tensor) -> Tensor:
        """1 + 998 log(t/t_min)/log(T/t_min): the range of DDPM's labels, even in log σ."""
        return 1.0 + 998.0 * tf.math.log(t / self.t_min) / math.log(self.T / self.t_min)

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        return gaussian_sample(shape, seed, self.T)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return gaussian_log_prob(x, self.T)


__all__ = [
    "EDMSDE",
    "AffineSDE",
    "CosineVPSDE",
    "FlowMatchingSDE",
    "LinearBeta",
    "SubVPSDE",
    "VESDE",
    "VPFamily",
    "VPSDE",
    "linear_beta",
]
