"""Samplers for affine SDEs: DDIM, DPM-Solver++, EDM's Heun, ancestral sampling.

The first three step the marginals' (alpha_t, sigma_t) rather than the SDE, and need few steps.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of
from lcss_tf.registry import PREDICTORS, SAMPLERS
from lcss_tf.samplers.base import Reverse, Sampler, Step
from lcss_tf.samplers.schedules import (
    LogSNRSchedule,
    PowerSchedule,
    RhoSchedule,
    Schedule,
    log_noise,
)
from lcss_tf.samplers.stochastic import Predictor, PredictorCorrector
from lcss_tf.sdes import SDE
from lcss_tf.typing import Seed, Tensor

_MOST_CHURN = math.sqrt(2.0) - 1.0  # of one step (Karras et al. 2022)


class AffineSampler(Sampler):
    """Base of the samplers for affine SDEs, where x_t = alpha_t x_0 + sigma_t ε.

    The score gives estimates of the noise and of the data,

        ε(x, t) = −sigma_t ∇log p_t(x),    D(x, t) = E[x_0 | x_t = x] = (x − sigma_t ε)/alpha_t.

    Args:
      num_steps, t_end, schedule: of `Sampler`.
      denoise: evaluate once more, at t_end, and return D there.

    Raises:
      UsageError: num_steps < 1.
    """

    def __init__(
        self,
        num_steps: int = 20,
        t_end: float | None = None,
        denoise: bool = True,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(num_steps, t_end, denoise, schedule)

    def check(self, sde: SDE) -> None:
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

    def nfe(self) -> int:
        return self.num_steps * self.nfe_per_step() + int(self.denoise)

    def finish(self, reverse: Reverse, step: Step, t: Tensor) -> Tensor:
        if not self.denoise:
            return step.x
        return data_and_noise(reverse, step.x, t)[0]


def alpha_sigma(sde: SDE, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha_t, sigma_t), each broadcastable to x."""
    alpha_t, sigma_t = sde.marginal(t)
    return like(alpha_t, x), like(sigma_t, x)


def data_and_noise(reverse: Reverse, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(D, ε), each of the shape of x, from one function evaluation at t [B]."""
    alpha_t, sigma_t = alpha_sigma(reverse.sde, t, x)
    noise = -sigma_t * reverse.score_fn(x, t)
    return (x - sigma_t * noise) / alpha_t, noise


def log_snr(sde: SDE, t: Tensor) -> Tensor:
    """λ_t = log(alpha_t/sigma_t) [B]: half the logarithm of the signal-to-noise ratio."""
    alpha_t, sigma_t = sde.marginal(t)
    return tf.math.log(alpha_t) - tf.math.log(sigma_t)


@SAMPLERS.register
class DDIM(AffineSampler):
    """x_s = alpha_s D + √(sigma_s² − η² v) ε + η √v z,  v = Var[x_s | x_t, x_0].

    v = (sigma_s/sigma_t)² (sigma_t² − (alpha_t/alpha_s)² sigma_s²). At η = 0 it is deterministic,
    of order 1 for the probability-flow ODE, and exact where D does not change. At η = 1 it is
    the ancestral step between any two times. One function evaluation a step. (Song, Meng and
    Ermon 2021.)

    Args:
      eta: η in [0, 1].
      **options: of `AffineSampler`; times are quadratic by default.

    Raises:
      UsageError: eta out of its range.
    """

    default_schedule = PowerSchedule(2.0)

    def __init__(self, eta: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= eta <= 1:
            raise UsageError(f"DDIM expects 0 <= eta <= 1; got {eta}.")
        self.eta = eta

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, seed: Seed) -> Step:
        alpha_t, sigma_t = alpha_sigma(reverse.sde, t, x)
        alpha_s, sigma_s = alpha_sigma(reverse.sde, s, x)
        data, noise = data_and_noise(reverse, x, t)
        if not self.eta:
            x = alpha_s * data + sigma_s * noise
            return Step(x, x)
        # sigma_s² − v = (kept/sigma_t · sigma_s)²; (a − b)(a + b) loses fewer bits than a² − b².
        kept = alpha_t / alpha_s * sigma_s
        variance = (sigma_s / sigma_t) ** 2 * tf.maximum((sigma_t - kept) * (sigma_t + kept), 0.0)
        rest = tf.sqrt((kept / sigma_t * sigma_s) ** 2 + (1.0 - self.eta**2) * variance)
        mean = alpha_s * data + rest * noise
        z = random.normal(seed, shape_of(x))
        return Step(mean + self.eta * tf.sqrt(variance) * z, mean)


@SAMPLERS.register
class DPMSolverPP(AffineSampler):
    """DPM-Solver++ 2M (Lu et al. 2022b): exponential multistep in λ_t = log(alpha_t/sigma_t).

        x_s = (sigma_s/sigma_t) x − alpha_s (e^{−h} − 1) D̄,    h = λ_s − λ_t > 0,

    D̄ = D + (h/2h') (D − D'), with D' and h' of the step before: second order with one function
    evaluation a step. The first step has no D' and is DDIM's, of order 1. The form for the SDE,

        x_s = (sigma_s/sigma_t) e^{−h} x + alpha_s (1 − e^{−2h}) D̄ + sigma_s √(1 − e^{−2h}) z,

    damps the errors of earlier steps.

    Args:
      order: 2, or 1.
      stochastic: the form for the SDE.
      first_order_end: take the last step with order 1, where D changes faster than a few steps
        can follow. None: if num_steps < 15, as in the paper's code, and no last function
        evaluation (`denoise`) follows.
      **options: of `AffineSampler`; times are equal steps of λ by default.

    Raises:
      UsageError: order is neither 1 nor 2.
    """

    default_schedule = LogSNRSchedule()

    def __init__(
        self,
        order: int = 2,
        stochastic: bool = False,
        first_order_end: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if order not in (1, 2):
            raise UsageError(f"DPMSolverPP.order must be 1 or 2; got {order}.")
        self.order = order
        self.stochastic = stochastic
        if first_order_end is None:
            first_order_end = self.num_steps < 15 and not self.denoise
        self.first_order_end = first_order_end

    def begin(self, reverse: Reverse, x: Tensor) -> tuple:
        """(D', 1/h'): before the first step, as if after a step of infinite length."""
        return tf.zeros_like(x), tf.zeros(shape_of(x)[:1])

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        t, s = times
        h = log_snr(reverse.sde, s) - log_snr(reverse.sde, t)
        data, _ = data_and_noise(reverse, x, t)
        before, inverse = memory
        share = 0.5 * h * inverse if self.order == 2 else tf.zeros_like(h)
        if self.first_order_end:
            share = tf.where(s > tf.constant(self.end(reverse.sde), tf.float32), share, 0.0)
        extrapolated = data + like(share, x) * (data - before)
        memory = (data, 1.0 / h)
        return self._step(reverse, x, times, extrapolated, seed), memory

    def _step(self, reverse, x, times, data, seed):
        t, s = times
        _, sigma_t = alpha_sigma(reverse.sde, t, x)
        alpha_s, sigma_s = alpha_sigma(reverse.sde, s, x)
        h = like(log_snr(reverse.sde, s) - log_snr(reverse.sde, t), x)
        if not self.stochastic:
            x = sigma_s / sigma_t * x - alpha_s * tf.math.expm1(-h) * data
            return Step(x, x)
        fresh = -tf.math.expm1(-2.0 * h)
        mean = sigma_s / sigma_t * tf.exp(-h) * x + alpha_s * fresh * data
        return Step(mean + sigma_s * tf.sqrt(fresh) * random.normal(seed, shape_of(x)), mean)


@SAMPLERS.register
class EDMHeun(AffineSampler):
    """Heun's steps of dy/dς = ε(x, t), y = x/alpha_t, ς = sigma_t/alpha_t (Karras et al. 2022).

    Every affine SDE's probability flow is this ODE. Two function evaluations a step. With churn,
    noise first raises ς to ς' = (1 + γ) ς, y' = y + √(ς'² − ς²) s_noise z, with
    γ = min(s_churn/num_steps, √2 − 1), and the step starts there; T bounds ς'. (Their Alg. 1
    and 2.)

    Args:
      s_churn: 0: deterministic.
      s_min, s_max: churn acts for ς in [s_min, s_max].
      s_noise: factor of the churn's noise. A little over 1 makes up for a network that removes
        too much noise.
      **options: of `AffineSampler`; the schedule is `RhoSchedule`(7) by default.

    Raises:
      UsageError: a number out of its range.
    """

    default_schedule = RhoSchedule(7.0)

    def __init__(
        self,
        s_churn: float = 0.0,
        s_min: float = 0.0,
        s_max: float = math.inf,
        s_noise: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if s_churn < 0 or not 0 <= s_min < s_max or s_noise <= 0:
            raise UsageError(
                "EDMHeun expects s_churn >= 0, 0 <= s_min < s_max and s_noise > 0; got "
                f"s_churn={s_churn}, s_min={s_min}, s_max={s_max}, s_noise={s_noise}."
            )
        self.s_churn = s_churn
        self.s_min = s_min
        self.s_max = s_max
        self.s_noise = s_noise

    def nfe_per_step(self) -> int:
        return 2

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, seed: Seed) -> Step:
        if self.s_churn:
            x, t = self._churned(reverse.sde, x, t, random.normal(seed, shape_of(x)))
        alpha_t, sigma_t = alpha_sigma(reverse.sde, t, x)
        alpha_s, sigma_s = alpha_sigma(reverse.sde, s, x)
        change = sigma_s / alpha_s - sigma_t / alpha_t
        _, noise = data_and_noise(reverse, x, t)
        predicted = alpha_s * (x / alpha_t + change * noise)
        _, after = data_and_noise(reverse, predicted, s)
        x = alpha_s * (x / alpha_t + 0.5 * change * (noise + after))
        return Step(x, x)

    def _churned(self, sde, x, t, z):
        """(x, t) with more noise."""
        log_level = -log_snr(sde, t)
        level = tf.exp(log_level)
        share = min(self.s_churn / self.num_steps, _MOST_CHURN)
        share = tf.where((level >= self.s_min) & (level <= self.s_max), share, 0.0)
        later = tf.maximum(sde.time_of_log_noise(log_level + tf.math.log1p(share)), t)
        alpha_t, sigma_t = alpha_sigma(sde, t, x)
        alpha_s, sigma_s = alpha_sigma(sde, later, x)
        # The noise between these two times, not ς'² − ς²: bisection leaves the last bit open.
        kept = alpha_s / alpha_t * sigma_t
        std = tf.sqrt(tf.maximum((sigma_s - kept) * (sigma_s + kept), 0.0))
        return alpha_s / alpha_t * x + self.s_noise * std * z, later


@PREDICTORS.register
class AncestralPredictor(Predictor):
    """Ancestral sampling from the discrete process (Ho et al. 2020); affine SDEs only."""

    def check(self, sde: SDE, num_steps: int) -> None:
        if not sde.has_marginal:
            raise UsageError(
                "AncestralPredictor needs a closed-form transition kernel, "
                f"{type(sde).__name__} has none: use EulerMaruyamaPredictor or "
                "ReverseDiffusionPredictor."
            )
        sde.check_discretization(num_steps)

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Step:
        score = reverse.score_fn(x, t)
        sde: Any = reverse.sde  # an affine one: `check`
        mean, std = sde.ancestral(x, t, score, reverse.num_steps)
        return Step(mean + std * z, mean)


@SAMPLERS.register
class Ancestral(PredictorCorrector):
    """`AncestralPredictor` without a corrector (Ho et al. 2020); affine SDEs only.

    Args:
      **options: of `Sampler`, except the schedule.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(AncestralPredictor(), **options)


__all__ = [
    "DDIM",
    "AffineSampler",
    "Ancestral",
    "AncestralPredictor",
    "DPMSolverPP",
    "EDMHeun",
    "alpha_sigma",
    "data_and_noise",
    "log_snr",
]
