"""What every score-matching loss shares: times, weighting, reduction.

    L = E_t λ(t) E_{x_0, x_t} J(S; x_t, t)

A subclass defines `terms` (or `per_example` alone): J for given times,
unweighted, summed over the data's dimensions. It sees `score_fn(x, t)` and the
SDE, never a network, and is a pure function of its seed.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.registry import WEIGHTINGS
from lcss_tf.typing import ScoreFn, Seed, Shape, Tensor

# The times of a batch -----------------------------------------------------------------------


def stratified(seed: Seed, batch: int, global_batch: int) -> Tensor:
    """One uniform draw in each of `global_batch` equal slices of [0, 1): [batch].

    The seed's row says which slices are this replica's, so that all replicas
    together cover all of them. Same expectation as independent draws, far less
    variance.
    """
    seed = random.as_seed(seed)
    first = seed[2] if seed.shape == (3,) else 0
    slices = tf.cast(first + tf.range(batch), tf.float32)
    return (slices + random.uniform(seed, (batch,))) / tf.cast(global_batch, tf.float32)


def independent(seed: Seed, batch: int, global_batch: int) -> Tensor:
    """Independent uniform draws over [0, 1): [batch]."""
    del global_batch
    return random.uniform(seed, (batch,))


TIME_SAMPLINGS = {"stratified": stratified, "independent": independent}


# The weighting λ(t) -------------------------------------------------------------------------


@WEIGHTINGS.register
def noise_scale(sde: Any, t: Tensor) -> Tensor:
    """λ = s(t)² [B]: every time counts alike in units of its own noise. For sample quality."""
    return sde.noise_scale(t) ** 2


@WEIGHTINGS.register
def likelihood(sde: Any, t: Tensor) -> Tensor:
    """λ = g(0, t)² [B]: the weighted loss bounds the negative log-likelihood (Song et al. 2021)."""
    return sde.noise_rate(t)


# The contract -------------------------------------------------------------------------------


class LossValues(NamedTuple):
    """One batch's loss: per example [B], weighted and reduced; its terms likewise; the times."""

    per_example: Tensor
    terms: dict[str, Tensor]
    t: Tensor


class Loss:
    """Base of the losses.

    Args:
      weighting: λ(t): a name in `WEIGHTINGS`, or a function (sde, t [B]) -> [B].
      time_sampling: "stratified" over the global batch, or "independent".
      reduction: "mean": 2/D times the sum over the D dimensions, so that DSM is the
        mean squared error of the noise prediction; "sum": the sum, that is J itself.

    Raises:
      UsageError: an unknown name.
    """

    differentiates_score: bool = False  # whether it takes derivatives of the score by x

    def __init__(
        self,
        weighting: str | Callable[[Any, Tensor], Tensor] = "noise_scale",
        time_sampling: str = "stratified",
        reduction: str = "mean",
    ) -> None:
        if time_sampling not in TIME_SAMPLINGS:
            raise UsageError(
                f"time_sampling must be one of {sorted(TIME_SAMPLINGS)}; got {time_sampling!r}."
            )
        if reduction not in ("mean", "sum"):
            raise UsageError(f"reduction must be 'mean' or 'sum'; got {reduction!r}.")
        self.weighting = weighting if callable(weighting) else WEIGHTINGS[weighting]
        self.reduction = reduction
        self._draw_times = TIME_SAMPLINGS[time_sampling]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.terms is Loss.terms and cls.per_example is Loss.per_example:
            raise TypeError(f"{cls.__name__} must define terms(...) or per_example(...).")

    def check(self, sde: Any) -> None:
        """Raises UsageError if the SDE lacks something that this loss needs."""

    def describe(self, sde: Any) -> str:
        """What the loss does on this SDE, where there is a choice: a sentence for people."""
        return f"{type(self).__name__} on {type(sde).__name__}."

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

    def sample_times(
        self, sde: Any, seed: Seed, batch: int, global_batch: int | None = None
    ) -> Tensor:
        """Times in [t_min, T], [batch]."""
        u = self._draw_times(seed, batch, batch if global_batch is None else global_batch)
        return sde.training_time(u)

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
    ) -> LossValues:
        """Draws times, evaluates, weights and reduces.

        Args:
          score_fn: (x, t) -> score.
          sde: the forward SDE.
          x0: data, [B, ...].
          seed: see `lcss_tf.random`; with a row where x0 is a part of a global batch.
          global_batch: size of the global batch; B by default.

        Returns:
          `LossValues`.
        """
        t = self.sample_times(sde, random.fold_in(seed, "time"), x0.shape[0], global_batch)
        terms = self.terms(score_fn, sde, x0, t, random.fold_in(seed, "noise"))
        scale = self.scale(sde, t, x0.shape)
        terms = {name: scale * value for name, value in terms.items()}
        return LossValues(tf.add_n(list(terms.values())), terms, t)


__all__ = ["TIME_SAMPLINGS", "Loss", "LossValues", "likelihood", "noise_scale"]
