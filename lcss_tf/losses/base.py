"""What every score-matching loss shares: times, weighting, reduction.

    L = E_t λ(t) E_{x_0, x_t} J(S; x_t, t)

`lcss_tf.losses.times` has the distributions of t, `lcss_tf.losses.weightings` the weights λ.

A subclass defines `terms` (or `per_example` alone): J for given times,
unweighted, summed over the data's dimensions. It sees `score_fn(x, t)` and the
SDE, never a network, and is a pure function of its seed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.losses.times import State, TimeDistribution
from lcss_tf.registry import TIME_DISTRIBUTIONS, WEIGHTINGS
from lcss_tf.typing import ScoreFn, Seed, Shape, Tensor

# The contract -------------------------------------------------------------------------------


class LossValues(NamedTuple):
    """One batch's loss.

    per_example: weighted and reduced, [B]. terms: likewise, by name. t: the times, [B]. weight: the
    importance weights of the times, which `per_example` contains, [B] or a number. statistics: what
    the time distribution keeps of the batch, vectors by name, summed over it.
    """

    per_example: Tensor
    terms: dict[str, Tensor]
    t: Tensor
    weight: Tensor = 1.0
    statistics: Mapping[str, Tensor] = {}


class Loss:
    """Base of the losses.

    Args:
      weighting: λ(t): a name in `WEIGHTINGS`, an object of it, or a function (sde, t [B]) -> [B].
      times: the distribution of t: a name in `TIME_DISTRIBUTIONS`, or an object of it.
      reduction: "mean": 2/D times the sum over the D dimensions, so that DSM is the
        mean squared error of the noise prediction; "sum": the sum, that is J itself.

    Raises:
      UsageError: an unknown name.
    """

    differentiates_score: bool = False  # whether it takes derivatives of the score by x

    def __init__(
        self,
        weighting: str | Callable[[Any, Tensor], Tensor] = "noise_scale",
        times: str | TimeDistribution = "UniformTimes",
        reduction: str = "mean",
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise UsageError(f"reduction must be 'mean' or 'sum'; got {reduction!r}.")
        self.weighting = WEIGHTINGS.make(weighting)
        self.times = TIME_DISTRIBUTIONS.make(times)
        self.reduction = reduction

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.terms is Loss.terms and cls.per_example is Loss.per_example:
            raise TypeError(f"{cls.__name__} must define terms(...) or per_example(...).")

    def check(self, sde: Any) -> None:
        """Raises UsageError if the SDE lacks something that this loss needs."""
        self.times.check(sde)
        if hasattr(self.weighting, "check"):
            self.weighting.check(sde)

    def describe(self, sde: Any) -> str:
        """What the loss does on this SDE, where there is a choice: a sentence for people."""
        return f"{type(self).__name__} on {type(sde).__name__}.{self.about_times()}"

    def about_times(self) -> str:
        """What the times are, where they are not the default: a sentence after others, or ""."""
        text = self.times.describe()
        return f" {text}" if text else ""

    def noise_mse_offset(self, sde: Any) -> float | None:
        """What the loss lacks of the mean squared error of the noise prediction, E‖ε − ε̂‖²/D.

        That figure, ε-MSE, is 1 for a score of 0 and falls as the model learns, whatever the loss.
        None where the loss is no such error plus a constant.
        """
        return None

    def _is_noise_mse(self, sde: Any) -> bool:
        """Whether J is weighted and reduced so that DSM would be ε-MSE."""
        weighted = self.weighting is WEIGHTINGS["noise_scale"] and self.reduction == "mean"
        return bool(sde.has_marginal and weighted)

    def terms(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed
    ) -> dict[str, Tensor]:
        """The additive terms of J by name, each [B]."""
        return {"loss": self.per_example(score_fn, sde, x0, t, seed)}

    def per_example(self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """J [B], unweighted, summed over the data's dimensions."""
        return tf.add_n(list(self.terms(score_fn, sde, x0, t, seed).values()))

    def terms_and_sizes(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed
    ) -> tuple[dict[str, Tensor], Tensor]:
        """`terms`, and the size of each example's loss by which times adapt, [B].

        J itself, but for a loss that lacks a square's constant: there the square, whose gradient
        is that of J.
        """
        terms = self.terms(score_fn, sde, x0, t, seed)
        return terms, tf.add_n(list(terms.values()))

    def scale(self, sde: Any, t: Tensor, shape: Shape) -> Tensor:
        """What J is multiplied by, [B]: λ(t), and 2/D for the reduction "mean"."""
        factor = 2.0 / math.prod(shape[1:]) if self.reduction == "mean" else 1.0
        return factor * self.weighting(sde, t)

    def __call__(
        self,
        score_fn: ScoreFn,
        sde: Any,
        x0: Tensor,
        seed: Seed,
        global_batch: int | None = None,
        state: State | None = None,
    ) -> LossValues:
        """Draws times, evaluates, weights and reduces.

        Args:
          score_fn: (x, t) -> score.
          sde: the forward SDE.
          x0: data, [B, ...].
          seed: see `lcss_tf.random`; with a row where x0 is a part of a global batch.
          global_batch: size of the global batch; B by default.
          state: of an adaptive time distribution; by default its first.

        Returns:
          `LossValues`.
        """
        batch = x0.shape[0]
        drawn = self.times.sample(sde, random.fold_in(seed, "time"), batch, global_batch, state)
        t, noise_seed = drawn.t, random.fold_in(seed, "noise")
        scale = self.scale(sde, t, x0.shape) * drawn.weight
        statistics: Mapping[str, Tensor] = {}
        if self.times.initial_state():
            terms, size = self.terms_and_sizes(score_fn, sde, x0, t, noise_seed)
            factor = scale / sde.noise_scale(t) ** 2
            statistics = self.times.statistics(drawn, tf.stop_gradient(scale * size), factor, state)
        else:
            terms = self.terms(score_fn, sde, x0, t, noise_seed)
        terms = {name: scale * value for name, value in terms.items()}
        return LossValues(tf.add_n(list(terms.values())), terms, t, drawn.weight, statistics)


__all__ = ["Loss", "LossValues"]
