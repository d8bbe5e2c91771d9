"""Restart sampling for affine SDEs (Xu et al. 2023): up in noise again, and down again."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.affine import AffineSampler, EDMHeun
from lcss_tf.samplers.base import Reverse, Sampler, Step
from lcss_tf.samplers.schedules import RhoSchedule, log_noise, times_of_log_noise
from lcss_tf.sdes import SDE
from lcss_tf.typing import Array, Seed, Tensor


@SAMPLERS.register
class Restart(AffineSampler):
    """Another sampler's steps, some of which are taken again after new noise (Xu et al. 2023).

    t_low is the sampler's time at which sigma/alpha is nearest to `noise_min`, and t_high the time
    of `noise_max`. When the steps have reached t_low, the SDE's own transition takes the state up,

        x ← (alpha_high/alpha_low) x + √(sigma_high² − (alpha_high/alpha_low)² sigma_low²) z,

    and `restart_steps` steps, equal in (sigma/alpha)^{1/7}, take it down to t_low again; both
    `num_restarts` times. The steps are an ODE's, whose errors of discretisation are small. The
    noise contracts the errors made before, those of the score among them, as the noise of an SDE
    does. The memory of a multistep sampler starts anew after the noise.

    NFE: the sampler's own, and num_restarts · restart_steps times those of one step.

    Args:
      sampler: makes the sampler from num_steps, t_end, denoise and schedule: a class of `SAMPLERS`
        whose steps are deterministic, or a function; `EDMHeun` by default.
      noise_min, noise_max: the ends of the interval, values of sigma/alpha.
      num_restarts: K >= 0.
      restart_steps: steps from t_high down to t_low, at least 1.
      **options: of `AffineSampler`, for the sampler; num_steps are those from T to t_end. The
        schedule is the sampler's own by default.

    Raises:
      UsageError: a number out of its range, or a sampler whose steps are not deterministic.
    """

    goes_back = True

    def __init__(
        self,
        sampler: Callable[..., Sampler] = EDMHeun,
        noise_min: float = 0.06,
        noise_max: float = 0.3,
        num_restarts: int = 2,
        restart_steps: int = 3,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 < noise_min < noise_max or num_restarts < 0 or restart_steps < 1:
            raise UsageError(
                "Restart expects 0 < noise_min < noise_max, num_restarts >= 0 and restart_steps "
                f">= 1; got noise_min={noise_min}, noise_max={noise_max}, "
                f"num_restarts={num_restarts}, restart_steps={restart_steps}."
            )
        if not callable(sampler):
            raise UsageError(
                "Restart.sampler makes a sampler, from the num_steps given to Restart; got "
                f"{type(sampler).__name__}, which is one: give the class, in gin "
                f"@samplers.{type(sampler).__name__} without ()."
            )
        shared = {"t_end": self.t_end, "denoise": self.denoise, "schedule": options.get("schedule")}
        self.sampler = sampler(num_steps=self.num_steps, **shared)
        if not (self.sampler.deterministic and self.sampler.fixed_steps):
            raise UsageError(
                "Restart.sampler must take deterministic steps between any two times; those of "
                f"{type(self.sampler).__name__}, as it is set, are not. Use EDMHeun, DDIM, "
                "DPMSolverPP, UniPC, DEIS or ProbabilityFlowODE, without noise."
            )
        self.schedule = self.sampler.schedule
        self.noise_min, self.noise_max = noise_min, noise_max
        self.num_restarts, self.restart_steps = num_restarts, restart_steps
        self.num_steps += num_restarts * (restart_steps + 1)

    def check(self, sde: SDE) -> None:
        super().check(sde)
        self.sampler.check(sde)
        least, most = np.exp(log_noise(sde, np.array([self.end(sde), sde.T])))
        if not least < self.noise_max < most:
            raise UsageError(
                "Restart.noise_max must lie between the levels sigma/alpha at t_end and at T, of "
                f"{type(sde).__name__} {least:.3g} and {most:.3g}; got {self.noise_max:g}."
            )

    def times(self, sde: SDE) -> Array:
        times = np.asarray(self.sampler.times(sde))
        levels = log_noise(sde, times)
        far = np.abs(levels - np.log(self.noise_min))
        low = int(np.argmin(np.where(levels < np.log(self.noise_max), far, np.inf)))
        high = times_of_log_noise(sde, np.log([self.noise_max]), times[low])[0]
        again = RhoSchedule().between(sde, high, times[low], self.restart_steps)
        return np.concatenate(
            [times[: low + 1], np.tile(again, self.num_restarts), times[low + 1 :]]
        )

    def nfe_per_step(self) -> int:
        return self.sampler.nfe_per_step()

    def nfe(self) -> int:
        restarts = self.num_restarts * self.restart_steps * self.nfe_per_step()
        return int(self.sampler.nfe() or 0) + restarts

    def steps_asked(self) -> int:
        return self.sampler.num_steps

    def begin(self, reverse: Reverse, x: Tensor) -> tuple:
        return self.sampler.begin(reverse, x)

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        t, s = times

        def noised() -> tuple[Step, tuple]:
            after = reverse.sde.simulation_step(x, t, s, random.fold_in(seed, "restart"))
            return Step(after, after), self.sampler.begin(reverse, after)

        def step() -> tuple[Step, tuple]:
            return self.sampler.advance(reverse, x, times, seed, memory)

        return tf.cond(s[0] > t[0], noised, step)

    def finish(self, reverse: Reverse, step: Step, t: Tensor) -> Tensor:
        return self.sampler.finish(reverse, step, t)


__all__ = ["Restart"]
