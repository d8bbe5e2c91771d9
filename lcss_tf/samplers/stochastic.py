"""Samplers of the reverse SDE: Euler–Maruyama, stochastic Heun, predictor–corrector.

A predictor is one step of the reverse SDE with given noise. A corrector is a step of a Markov
chain that leaves p_t invariant (Song et al. 2021).
"""

from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import CORRECTORS, PREDICTORS, SAMPLERS
from lcss_tf.samplers.base import Reverse, Sampler, Step
from lcss_tf.samplers.schedules import PowerSchedule
from lcss_tf.sdes import SDE, noise
from lcss_tf.typing import Array, Seed, Tensor


class Predictor:
    """Base of the predictors.

    Attributes:
      nfe: function evaluations of one step.
      any_times: whether it steps between any two times. If not, it steps by T/num_steps, as its
        discrete process does.
    """

    nfe: int = 1
    any_times: bool = False

    def check(self, sde: SDE, num_steps: int) -> None:
        """Raises UsageError if this predictor cannot reverse the SDE in `num_steps` steps."""

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Step:
        """The step of x [B, ...] from t down to s, both [B], with noise z of the shape of x."""
        raise NotImplementedError(f"{type(self).__name__} must define step(reverse, x, t, s, z).")


@PREDICTORS.register
class EulerMaruyamaPredictor(Predictor):
    """x − [f − ∂(g²) − g² score] (t − s) + g √(t − s) z.

    ∂(g²), the derivative of g_i² with respect to x_i, is 0 where the noise does not depend on x.
    """

    any_times = True

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Step:
        h = like(t - s, x)
        mean = x - reverse.sde.reverse_drift(x, t, reverse.score_fn(x, t)) * h
        return Step(mean + noise.apply(reverse.sde.diffusion(x, t), h**0.5 * z), mean)


@PREDICTORS.register
class ReverseDiffusionPredictor(Predictor):
    """The SDE's own discretisation (f, G) reversed: x − [f − ∂(G²) − G² score] + G z."""

    def check(self, sde: SDE, num_steps: int) -> None:
        sde.check_discretization(num_steps)

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Step:
        f, G = reverse.sde.discretize(x, t, reverse.num_steps)
        _, divergence = reverse.sde.noise_divergence(x, t)
        mean = x - (f - noise.apply_covariance(G, reverse.score_fn(x, t)))
        if divergence is not None:
            mean += divergence * (reverse.sde.T / reverse.num_steps)
        return Step(mean + noise.apply(G, z), mean)


class Corrector:
    """Base of the correctors: `num_steps` steps x + ε score + √(2ε) z at each time.

    Args:
      snr: signal-to-noise ratio, which sets the step size ε.
      num_steps: steps at each time.

    Raises:
      UsageError: unless snr > 0 and num_steps >= 1.
    """

    def __init__(self, snr: float = 0.16, num_steps: int = 1) -> None:
        if snr <= 0 or num_steps < 1:
            raise UsageError(
                f"{type(self).__name__} expects snr > 0 and num_steps >= 1; got snr={snr}, "
                f"num_steps={num_steps}."
            )
        self.snr = snr
        self.num_steps = num_steps

    @property
    def nfe(self) -> int:
        """Function evaluations at each time."""
        return self.num_steps

    def check(self, sde: SDE, num_steps: int) -> None:
        """Raises UsageError if this corrector does not suit `num_steps` steps of the SDE.

        On VP the step size has the factor 1 − β_i, which must be positive.
        """
        sde.check_discretization(num_steps)

    def step_size(self, reverse: Reverse, score: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """The step size ε [B], or a scalar for all."""
        raise NotImplementedError(f"{type(self).__name__} must define step_size(...).")

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, z: Tensor) -> Step:
        """One step with noise z of the shape of x."""
        score = reverse.score_fn(x, t)
        size = like(self.step_size(reverse, score, t, z), x)
        mean = x + size * score
        return Step(mean + tf.sqrt(2.0 * size) * z, mean)

    def correct(self, reverse: Reverse, x: Tensor, t: Tensor, seed: Seed) -> Step:
        """`num_steps` steps at time t [B]."""
        step = Step(x, x)
        for i in range(self.num_steps):
            z = random.normal(random.fold_in(seed, i), shape_of(x))
            step = self.step(reverse, step.x, t, z)
        return step


@CORRECTORS.register
class Langevin(Corrector):
    """ε = 2α (snr ‖z‖/‖score‖)² (Song et al. 2021, Alg. 4 and 5).

    Args:
      snr, num_steps: see `Corrector`.
      norms: "batch": norms averaged over the batch, as in score_sde; a sample then depends on its
        batch. "sample": each sample's own. Use these for data of many dimensions: in a few,
        ‖score‖ varies so much between samples that their distribution becomes too wide.

    Raises:
      UsageError: other norms; or as `Corrector`.
    """

    def __init__(self, snr: float = 0.16, num_steps: int = 1, norms: str = "batch") -> None:
        super().__init__(snr, num_steps)
        if norms not in ("batch", "sample"):
            raise UsageError(f"Langevin.norms must be 'batch' or 'sample'; got {norms!r}.")
        self.norms = norms

    def step_size(self, reverse: Reverse, score: Tensor, t: Tensor, z: Tensor) -> Tensor:
        score_norm, noise_norm = (tf.sqrt(sum_over_data(v**2)) for v in (score, z))
        if self.norms == "batch":
            score_norm, noise_norm = tf.reduce_mean(score_norm), tf.reduce_mean(noise_norm)
        alpha = reverse.sde.langevin_alpha(t, reverse.num_steps)
        return 2.0 * alpha * (self.snr * noise_norm / score_norm) ** 2


@CORRECTORS.register
class AnnealedLangevin(Corrector):
    """ε = 2α (snr s(t))², s the SDE's noise scale (Song and Ermon 2019)."""

    def step_size(self, reverse: Reverse, score: Tensor, t: Tensor, z: Tensor) -> Tensor:
        alpha = reverse.sde.langevin_alpha(t, reverse.num_steps)
        return 2.0 * alpha * (self.snr * reverse.sde.noise_scale(t)) ** 2


@CORRECTORS.register
class NoCorrector(Corrector):
    """Leaves x as it is, without a function evaluation."""

    nfe = 0

    def __init__(self) -> None:
        super().__init__(num_steps=1)

    def check(self, sde: SDE, num_steps: int) -> None:
        """Every SDE will do."""

    def correct(self, reverse: Reverse, x: Tensor, t: Tensor, seed: Seed) -> Step:
        return Step(x, x)


@SAMPLERS.register
class EulerMaruyama(Sampler):
    """`EulerMaruyamaPredictor` from time to time, for every SDE; equal steps by default."""

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, seed: Seed) -> Step:
        return EulerMaruyamaPredictor().step(reverse, x, t, s, random.normal(seed, shape_of(x)))


@SAMPLERS.register
class StochasticHeun(Sampler):
    """Platen's explicit scheme of weak order 2 (Kloeden and Platen 1992, 15.1), for every SDE.

    With a = −(f − ∂(g²) − g² score), b = g, h = t − s and ΔW = √h z, coordinate by coordinate,

        x_s = x + ½ (a + a(x + a h + b ΔW)) h
                + ¼ (b₊ + b₋ + 2b) ΔW + ¼ (b₊ − b₋) (ΔW² − h)/√h,    b± = b(x + a h ± b √h),

    a and b at (x, t), the others at time s. Two function evaluations a step.

    Where g does not depend on x this is stochastic Heun, with the mean of b at both times. The
    integral is Itô's. (Averaging b over x and the predicted state, as Heun does for the drift,
    would give Stratonovich's.) The order is 2 where g_i depends on x_i and t alone; 1 where it
    depends on other coordinates too.

    Args:
      **options: of `Sampler`. Times are quadratic by default. With `denoise` the last step is
        Euler's mean, x + a h.
    """

    default_schedule = PowerSchedule(2.0)

    def nfe_per_step(self) -> int:
        return 2

    def check(self, sde: SDE) -> None:
        super().check(sde)
        if sde.noise_is_matrix():
            raise self._refusal(sde)

    def _refusal(self, sde: SDE) -> UsageError:
        return UsageError(
            f"{type(self).__name__} takes noise that acts on each coordinate by itself; the "
            f"diffusion of {type(sde).__name__} is a matrix. Use EulerMaruyama, or "
            "ProbabilityFlowODE."
        )

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, seed: Seed) -> Step:
        return self.step_with(reverse, x, t, s, random.normal(seed, shape_of(x)))

    def step_with(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Step:
        """The step with given noise z, of the shape of x."""
        h = like(t - s, x)
        root = tf.sqrt(h)
        a, b = self._drift(reverse, x, t), reverse.sde.diffusion(x, t)
        if noise.is_matrix(b, x):
            raise self._refusal(reverse.sde)
        mean = x + a * h
        a_after = self._drift(reverse, mean + b * root * z, s)
        above = reverse.sde.diffusion(mean + b * root, s)
        below = reverse.sde.diffusion(mean - b * root, s)
        random_part = 0.25 * (above + below + 2.0 * b) * root * z
        random_part += 0.25 * (above - below) * root * (z**2 - 1.0)
        return Step(x + 0.5 * (a + a_after) * h + random_part, mean)

    @staticmethod
    def _drift(reverse, x, t):
        return -reverse.sde.reverse_drift(x, t, reverse.score_fn(x, t))


@SAMPLERS.register
class PredictorCorrector(Sampler):
    """At each of `num_steps` times on linspace(T, t_end): the corrector, then the predictor.

    As in score_sde, each predictor step covers T/num_steps, the last one from t_end. With a
    schedule, the predictor steps from each of its times to the next (Song et al. 2021).

    Args:
      predictor: an object of `PREDICTORS`; reverse diffusion by default.
      corrector: an object of `CORRECTORS`; none by default.
      **options: of `Sampler`.

    Raises:
      UsageError: a schedule for a predictor that steps by T/num_steps.
    """

    def __init__(
        self,
        predictor: Predictor | None = None,
        corrector: Corrector | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.predictor = predictor or ReverseDiffusionPredictor()
        self.corrector = corrector or NoCorrector()
        self._scheduled = options.get("schedule") is not None
        if self._scheduled and not self.predictor.any_times:
            raise UsageError(
                f"{type(self.predictor).__name__} steps by T/num_steps, as its discrete process "
                f"does, and takes no {type(self.schedule).__name__}: leave the schedule out, or "
                "use EulerMaruyamaPredictor, or DDIM(eta=1), the ancestral step between any times."
            )

    def check(self, sde: SDE) -> None:
        super().check(sde)
        self.predictor.check(sde, self.num_steps)
        self.corrector.check(sde, self.num_steps)

    def nfe_per_step(self) -> int:
        return self.predictor.nfe + self.corrector.nfe

    def times(self, sde: SDE) -> Array:
        if self._scheduled:
            return super().times(sde)
        times = np.linspace(sde.T, self.end(sde), self.num_steps)
        return np.append(times, times[-1])

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, seed: Seed) -> Step:
        x = self.corrector.correct(reverse, x, t, random.fold_in(seed, "corrector")).x
        if not self._scheduled:
            s = t - reverse.sde.T / reverse.num_steps
        z = random.normal(random.fold_in(seed, "predictor"), shape_of(x))
        return self.predictor.step(reverse, x, t, s, z)


@SAMPLERS.register
class ReverseDiffusion(PredictorCorrector):
    """`ReverseDiffusionPredictor` without a corrector (Song et al. 2021).

    Args:
      **options: of `Sampler`, except the schedule.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(ReverseDiffusionPredictor(), **options)


__all__ = [
    "AnnealedLangevin",
    "Corrector",
    "EulerMaruyama",
    "EulerMaruyamaPredictor",
    "Langevin",
    "NoCorrector",
    "Predictor",
    "PredictorCorrector",
    "ReverseDiffusion",
    "ReverseDiffusionPredictor",
    "StochasticHeun",
]
