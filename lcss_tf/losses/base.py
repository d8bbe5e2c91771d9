"""What every score-matching loss shares: times, weighting, reduction.

    L = E_t λ(t) E_{x_0, x_t} J(S; x_t, t)

A subclass defines `terms` (or `per_example` alone): J for given times,
unweighted, summed over the data's dimensions. It sees `score_fn(x, t)` and the
SDE, never a network, and is a pure function of its seed.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.losses.times import TIME_SAMPLINGS
from lcss_tf.registry import WEIGHTINGS


class LossValues(NamedTuple):
    """One batch's loss: per example [B], weighted and reduced; its terms likewise; the times."""

    per_example: tf.Tensor
    terms: dict
    t: tf.Tensor


class Loss:
    """Base of the losses.

    Args:
      weighting: λ(t): a name in `WEIGHTINGS`, or a function (sde, t [B]) -> [B].
      time_sampling: "stratified" over the global batch, or "independent".
      reduction: "mean": 2/D times the sum over the D dimensions, so that DSM is the
        mean squared error of the noise prediction; "sum": the sum, that is J itself.

    Raises:
      ValueError: an unknown name.
    """

    differentiates_score = False  # whether it takes derivatives of the score by x

    def __init__(self, weighting="noise_scale", time_sampling="stratified", reduction="mean"):
        if time_sampling not in TIME_SAMPLINGS:
            raise UsageError(
                f"time_sampling must be one of {sorted(TIME_SAMPLINGS)}; got {time_sampling!r}."
            )
        if reduction not in ("mean", "sum"):
            raise UsageError(f"reduction must be 'mean' or 'sum'; got {reduction!r}.")
        self.weighting = weighting if callable(weighting) else WEIGHTINGS[weighting]
        self.reduction = reduction
        self._draw_times = TIME_SAMPLINGS[time_sampling]

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.terms is Loss.terms and cls.per_example is Loss.per_example:
            raise TypeError(f"{cls.__name__} must define terms(...) or per_example(...).")

    def check(self, sde):
        """Raises ValueError if the SDE lacks something that this loss needs."""

    def terms(self, score_fn, sde, x0, t, seed):
        """The additive terms of J by name, each [B]."""
        return {"loss": self.per_example(score_fn, sde, x0, t, seed)}

    def per_example(self, score_fn, sde, x0, t, seed):
        """J [B], unweighted, summed over the data's dimensions."""
        return tf.add_n(list(self.terms(score_fn, sde, x0, t, seed).values()))

    def sample_times(self, sde, seed, batch, global_batch=None):
        """Times in [t_min, T], [batch]."""
        u = self._draw_times(seed, batch, batch if global_batch is None else global_batch)
        return sde.t_min + (sde.T - sde.t_min) * u

    def scale(self, sde, t, shape):
        """What J is multiplied by, [B]: λ(t), and 2/D for the reduction "mean"."""
        factor = 2.0 / math.prod(shape[1:]) if self.reduction == "mean" else 1.0
        return factor * self.weighting(sde, t)

    def __call__(self, score_fn, sde, x0, seed, global_batch=None):
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
