"""Averages of the weights: how they move in training, and what others can be made of them after it.

An average is θ̄(t) = ∫₀ᵗ p(τ) θ(τ) dτ, t counting updates of the weights. Its *profile* p is what
distinguishes one from another. The profiles of `PowerFunction` keep their shape as training
continues, and snapshots of two of them span those of nearly any length. (Karras et al., "Analyzing
and improving the training dynamics of diffusion models", 2024.) `combination` finds the
coefficients.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.arguments import Recorded
from lcss_tf.errors import UsageError
from lcss_tf.registry import AVERAGES
from lcss_tf.typing import Array, Tensor

LONGEST = 12**-0.5  # σ_rel of γ = 0, the plain mean of all weights so far


class Average(Recorded, ABC):
    """One or several averages θ̄ of the weights θ, moved after each update of them.

    Attributes:
      sigma_rels: the relative lengths of the averages; empty where they have none.
    """

    sigma_rels: tuple[float, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """What a checkpoint calls the averages; samples are drawn by the first."""
        return ("ema",)

    @abstractmethod
    def rates(self, n: Tensor) -> tuple[Tensor, ...]:
        """What `moved` is told of each average at the n-th update, n from 1: scalars."""

    @abstractmethod
    def moved(self, average: Tensor, weight: Tensor, rate: Tensor) -> Tensor:
        """θ̄ after an update to `weight`."""


@AVERAGES.register
class Exponential(Average):
    """θ̄ ← d θ̄ + (1 − d) θ with d = min(decay, (1 + n)/(10 + n)) at the n-th update.

    Args:
      decay: in [0, 1). The memory is about 1/(1 − decay) updates, however long the training is.

    Raises:
      UsageError: decay outside [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"ema_decay must lie in [0, 1); got {decay}.")
        self.decay = decay

    def rates(self, n: Tensor) -> tuple[Tensor, ...]:
        """(d,)."""
        n = tf.cast(n, tf.float32)
        return (tf.minimum(self.decay, (1.0 + n) / (10.0 + n)),)

    def moved(self, average: Tensor, weight: Tensor, rate: Tensor) -> Tensor:
        """See `Average`."""
        keep = tf.cast(rate, average.dtype)
        return keep * average + (1 - keep) * weight


@AVERAGES.register
class PowerFunction(Average):
    """θ̄ ← β θ̄ + (1 − β) θ with β = (1 − 1/n)^(γ + 1) at the n-th update.

    Its profile is (γ + 1) τ^γ/t^(γ + 1), and its weight of the n-th update in t of them is exactly
    (n/t)^(γ + 1) − ((n − 1)/t)^(γ + 1). The length is told by `sigma_rel`, the profile's standard
    deviation as a share of t: it grows with the training, and nothing of the random initial weights
    remains. Source: Karras et al. (2024), section 3.

    Args:
      sigma_rels: of the averages, each in (0, 0.2886]; samples are drawn by the first. Two lengths
        or more let others be reconstructed: EDM2's are 0.05 and 0.10. Each takes the memory of the
        weights once.

    Raises:
      UsageError: none, one twice, or one outside the range.
    """

    def __init__(self, sigma_rels: Sequence[float] = (0.05, 0.10)) -> None:
        self.sigma_rels = tuple(float(sigma_rel) for sigma_rel in np.atleast_1d(sigma_rels))
        different = {f"{sigma_rel:g}" for sigma_rel in self.sigma_rels}  # as checkpoints name them
        if not self.sigma_rels or len(different) < len(self.sigma_rels):
            raise UsageError(
                "PowerFunction.sigma_rels expects one or more different lengths, such as "
                f"(0.05, 0.10); got {sigma_rels!r}."
            )
        self._gammas = [exponent(sigma_rel) for sigma_rel in self.sigma_rels]

    @property
    def groups(self) -> tuple[str, ...]:
        """``ema``, and ``ema_<σ_rel>`` of the second and the others."""
        return ("ema", *(f"ema_{sigma_rel:g}" for sigma_rel in self.sigma_rels[1:]))

    def rates(self, n: Tensor) -> tuple[Tensor, ...]:
        """1 − β of each, without the cancellation that would lose it where n is large."""
        log_ratio = tf.math.log1p(-1.0 / tf.cast(n, tf.float32))
        return tuple(-tf.math.expm1((gamma + 1.0) * log_ratio) for gamma in self._gammas)

    def moved(self, average: Tensor, weight: Tensor, rate: Tensor) -> Tensor:
        """See `Average`. What is no float, such as a count, is taken over."""
        if not average.dtype.is_floating:
            return tf.identity(weight)
        return average + tf.cast(rate, average.dtype) * (weight - average)


def exponent(sigma_rel: float) -> float:
    """γ ≥ 0 of the profile τ^γ whose relative standard deviation is `sigma_rel`.

    The root of σ² = (γ + 1)/((γ + 2)² (γ + 3)), the variance of a Beta(γ + 1, 1) variable.

    Raises:
      UsageError: sigma_rel outside (0, 1/√12].
    """
    if not 1e-6 <= sigma_rel <= LONGEST * (1 + 1e-12):
        raise UsageError(
            "sigma_rel, the length of an average as a share of the training, lies from 1e-6 to "
            f"{LONGEST:.4f}, which is the mean of all weights; got {sigma_rel}."
        )
    inverse = sigma_rel**-2
    gamma = float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())
    return max(gamma, 0.0)


def relative_length(gamma: float) -> float:
    """σ_rel of the profile τ^γ: the inverse of `exponent`."""
    return math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)))


class Profile(NamedTuple):
    """p(τ) = (γ + 1) τ^γ/t^(γ + 1) on [0, t], of a power-function average after t updates."""

    updates: int
    sigma_rel: float


class Combination(NamedTuple):
    """Coefficients of stored averages, and how well they make the one that is wanted.

    coefficients: float64 [K], whose sum is 1. error: ‖Σ x_i p_i − p‖/‖p‖ in L².
    """

    coefficients: Array
    error: float


def inner_products(one: Sequence[Profile], two: Sequence[Profile]) -> Array:
    """∫ p_i p_j dτ, float64 [len(one), len(two)].

    With m = min(t_i, t_j) it is (γ_i + 1)(γ_j + 1)/(γ_i + γ_j + 1) · (m/t_i)^γ_i (m/t_j)^γ_j
    · m/(t_i t_j).
    """
    known = {p.sigma_rel: exponent(p.sigma_rel) for p in (*one, *two)}
    t, s = (np.array([p.updates for p in each], np.float64) for each in (one, two))
    a, b = (np.array([known[p.sigma_rel] for p in each], np.float64) for each in (one, two))
    t, a = t[:, None], a[:, None]
    m = np.minimum(t, s)
    return (a + 1) * (b + 1) / (a + b + 1) * (m / t) ** a * (m / s) ** b * m / (t * s)


def combination(stored: Sequence[Profile], wanted: Profile) -> Combination:
    """The coefficients x with which Σ x_i θ̄_i is the average that is wanted, or nearly.

    They minimise ‖Σ x_i p_i − p‖² in L² under Σ x_i = 1, so that weights which do not move are
    reconstructed exactly. Of an average that is stored they are that one alone.

    Args:
      stored: the profiles there are, each once.
      wanted: the profile p.

    Raises:
      UsageError: there are none.
    """
    if not stored:
        raise UsageError("No average is stored that another could be made of.")
    if wanted in stored:
        return Combination(np.eye(len(stored))[list(stored).index(wanted)], 0.0)
    return _least_squares(stored, wanted)


def _least_squares(stored: Sequence[Profile], wanted: Profile) -> Combination:
    gram = inner_products(stored, stored)
    aim = inner_products(stored, [wanted])[:, 0]
    scale = np.diag(gram) ** -0.5  # to profiles of norm 1, which differ by their shapes alone
    system = np.zeros((len(stored) + 1,) * 2)
    system[:-1, :-1] = scale[:, None] * gram * scale
    system[-1, :-1] = system[:-1, -1] = scale / scale.max()
    right = np.append(scale * aim, 1.0 / scale.max())
    x = scale * np.linalg.lstsq(system, right, rcond=None)[0][:-1]
    norm = inner_products([wanted], [wanted])[0, 0]
    return Combination(x, math.sqrt(max(0.0, x @ gram @ x - 2 * x @ aim + norm) / norm))


__all__ = [
    "LONGEST",
    "Average",
    "Combination",
    "Exponential",
    "PowerFunction",
    "Profile",
    "combination",
    "exponent",
    "inner_products",
    "relative_length",
]
