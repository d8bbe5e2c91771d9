"""Time schedules: where a sampler's times lie between T and t_end."""

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.registry import SCHEDULES
from lcss_tf.sdes import SDE
from lcss_tf.typing import Array


class Schedule:
    """Base of the schedules."""

    def check(self, sde: SDE) -> None:
        """Raises UsageError if the SDE lacks something that this schedule needs."""

    def times(self, sde: SDE, end: float, num_steps: int) -> Array:
        """num_steps + 1 times from sde.T down to `end`, float64."""
        raise NotImplementedError(f"{type(self).__name__} must define times(sde, end, num_steps).")


@SCHEDULES.register
class UniformSchedule(Schedule):
    """Equal steps of t."""

    def times(self, sde: SDE, end: float, num_steps: int) -> Array:
        return np.linspace(sde.T, end, num_steps + 1)


@SCHEDULES.register
class PowerSchedule(Schedule):
    """Equal steps of t^(1/power): short steps near the data.

    Args:
      power: 1 gives equal steps, 2 times that are quadratic.

    Raises:
      UsageError: power <= 0.
    """

    def __init__(self, power: float = 2.0) -> None:
        if power <= 0:
            raise UsageError(f"PowerSchedule expects power > 0; got {power}.")
        self.power = power

    def times(self, sde: SDE, end: float, num_steps: int) -> Array:
        roots = np.linspace(sde.T ** (1 / self.power), end ** (1 / self.power), num_steps + 1)
        return roots**self.power


class _NoiseSchedule(Schedule):
    """Base of the schedules in log(sigma_t/alpha_t), for affine SDEs."""

    def check(self, sde: SDE) -> None:
        if not sde.has_marginal:
            raise UsageError(
                f"{type(self).__name__} needs sigma_t/alpha_t, which {type(sde).__name__} does "
                "not have in closed form: use UniformSchedule or PowerSchedule."
            )

    def times(self, sde: SDE, end: float, num_steps: int) -> Array:
        return self.between(sde, sde.T, end, num_steps)

    def between(self, sde: SDE, start: float, end: float, num_steps: int) -> Array:
        """num_steps + 1 times from `start` down to `end`, float64."""
        self.check(sde)
        ends = log_noise(sde, np.array([start, end]))
        if not np.isfinite(ends).all():
            raise UsageError(
                f"{type(self).__name__} needs noise at t_end; {type(sde).__name__} has none at "
                f"t_end = {end:g}. Set t_end > 0."
            )
        inner = self._levels(ends[0], ends[1], num_steps)[1:-1]
        return np.concatenate([[start], times_of_log_noise(sde, inner, end), [end]])

    def _levels(self, first: float, last: float, num_steps: int) -> Array:
        """num_steps + 1 values of log(sigma_t/alpha_t) from `first` to `last`."""
        raise NotImplementedError


@SCHEDULES.register
class LogSNRSchedule(_NoiseSchedule):
    """Equal steps of log(alpha_t/sigma_t) (Lu et al. 2022)."""

    def _levels(self, first: float, last: float, num_steps: int) -> Array:
        return np.linspace(first, last, num_steps + 1)


@SCHEDULES.register
class RhoSchedule(_NoiseSchedule):
    """Equal steps of (sigma_t/alpha_t)^(1/rho) (Karras et al. 2022).

    Args:
      rho: 7 in the paper.

    Raises:
      UsageError: rho <= 0.
    """

    def __init__(self, rho: float = 7.0) -> None:
        if rho <= 0:
            raise UsageError(f"RhoSchedule expects rho > 0; got {rho}.")
        self.rho = rho

    def _levels(self, first: float, last: float, num_steps: int) -> Array:
        roots = np.linspace(np.exp(first / self.rho), np.exp(last / self.rho), num_steps + 1)
        return self.rho * np.log(roots)


def log_noise(sde: SDE, times: Array) -> Array:
    """log(sigma_t/alpha_t) of an affine SDE at an array of times, float64; −∞ without noise."""
    with tf.init_scope():
        alpha_t, sigma_t = sde.marginal(tf.constant(times, tf.float32))
    with np.errstate(divide="ignore"):
        return np.log(np.float64(sigma_t.numpy())) - np.log(np.float64(alpha_t.numpy()))


def times_of_log_noise(sde: SDE, values: Array, end: float) -> Array:
    """The times in [end, T] at which log(sigma_t/alpha_t) takes the given values: by bisection."""
    low, high = np.full_like(values, end), np.full_like(values, sde.T)
    for _ in range(50):
        middle = (low + high) / 2
        below = log_noise(sde, middle) < values
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


__all__ = [
    "LogSNRSchedule",
    "PowerSchedule",
    "RhoSchedule",
    "Schedule",
    "UniformSchedule",
    "log_noise",
    "times_of_log_noise",
]
