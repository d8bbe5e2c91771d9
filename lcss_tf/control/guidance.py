"""Guidance: a score is pushed away from a second one that knows less.

Classifier-free guidance (Ho and Salimans 2022) and autoguidance (Karras et al. 2024), everywhere or
in an interval of noise levels (Kynkäänniemi et al. 2024), as compositions of score functions.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.conditioning import spec_of
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.ops import like
from lcss_tf.typing import Network, ScoreFn, Tensor

ScorePair = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True)
class Guidance:
    """s = s_2 + w (s_1 − s_2): the model's score s_1, guided by a second score s_2.

    Since the denoised estimate D is affine in the score, this is D = D_2 + w (D_1 − D_2). The
    second score is

    - that of the null condition, "of any condition": classifier-free guidance (Ho and Salimans
      2022). Both are evaluated in one batch of twice the size;
    - or that of a weaker model, under the same condition: autoguidance (Karras et al. 2024). It
      costs the weaker network's evaluation.

    With an interval, s = s_1 where sigma_t/alpha_t lies outside of it (Kynkäänniemi et al. 2024).
    There s_1 alone is evaluated, at its usual cost.

    Args:
      scale: w. 1: s_1 alone; 0: s_2 alone; w > 1 guides.
      interval: (lo, hi): guidance acts for lo < sigma_t/alpha_t <= hi; None: everywhere. hi may be
        ``math.inf``. Affine SDEs only.
      weaker: a `ScoreModel` of the same data and SDE, trained less or smaller; or the path of a run
        or of a file, as for `ScoreModel.load`; or what makes one for a `Distribution`. None: the
        null condition.
      checkpoint: of a weaker run: "newest", "best", or a step.

    Raises:
      UsageError: a scale that is not finite, or an interval that is none.
    """

    scale: float = 1.0
    interval: tuple[float, float] | None = None
    weaker: Any = None
    checkpoint: str = "newest"

    def __post_init__(self) -> None:
        if not np.isfinite(self.scale):
            raise UsageError(f"The guidance must be a finite number; got {self.scale}.")
        if self.interval is None:
            return
        ends = tuple(float(end) for end in np.atleast_1d(np.asarray(self.interval, float)))
        if len(ends) != 2 or not 0 <= ends[0] < ends[1]:
            raise UsageError(
                "An interval of guidance is two noise levels sigma_t/alpha_t, 0 <= lo < hi; got "
                f"{self.interval}. (0.2, 5.0), for instance."
            )
        object.__setattr__(self, "interval", ends)

    @property
    def needs_condition(self) -> bool:
        """Whether a condition, of a network that takes one, has any effect."""
        return self.scale != 0 or self.interval is not None or self.weaker is not None

    def loading(self, load: Callable[..., Any]) -> "Guidance":
        """The same, where a path in `weaker` is replaced by what loads it for a `Distribution`.

        Args:
          load: (path, checkpoint, distribution) -> a `ScoreModel`.
        """
        if not isinstance(self.weaker, str | os.PathLike):
            return self
        weaker = functools.partial(load, self.weaker, self.checkpoint)
        return dataclasses.replace(self, weaker=weaker)

    def weaker_model(self, distribution: Any) -> Any:
        """The weaker model, made for a `Distribution` if it is not there yet; None without one.

        Raises:
          UsageError: a path, which nobody has loaded.
        """
        if isinstance(self.weaker, str | os.PathLike):
            raise UsageError(
                f"The weaker model is the path {self.weaker} here, and a model is needed: pass "
                "weaker=ScoreModel.load(path)."
            )
        if self.weaker is None or hasattr(self.weaker, "state"):
            return self.weaker
        return self.weaker(distribution)

    def score_fn(self, sde: Any, plain: ScoreFn, pair: ScorePair) -> ScoreFn:
        """score_fn(x, t) -> s.

        Args:
          sde: of the scores; only an interval needs it.
          plain: (x, t) -> s_1.
          pair: (x, t) -> (s_1, s_2).
        """
        w = self.scale

        def everywhere(x: Tensor, t: Tensor) -> Tensor:
            strong, weak = pair(x, t)
            return weak + w * (strong - weak)

        if w == 1:
            return plain
        if self.interval is None:
            return (lambda x, t: pair(x, t)[1]) if w == 0 else everywhere
        lowest, highest = self.interval

        def score_fn(x: Tensor, t: Tensor) -> Tensor:
            alpha_t, sigma_t = sde.marginal(t)
            level = sigma_t / alpha_t
            acts = (level > lowest) & (level <= highest)

            def guided() -> Tensor:
                # Samples may have times of their own: some of them may be outside.
                strong, weak = pair(x, t)
                return tf.where(like(acts, x), weak + w * (strong - weak), strong)

            return tf.cond(tf.reduce_any(acts), guided, lambda: plain(x, t))

        return score_fn


def as_guidance(guidance: "float | Guidance") -> Guidance:
    """A number is the scale of a `Guidance` that acts everywhere, by the null condition."""
    if isinstance(guidance, int | float | np.number):
        return Guidance(float(guidance))
    return guidance


def guided_score(
    score_fn_for: Callable[[Tensor], ScoreFn],
    condition: Tensor,
    null: float,
    guidance: float | Guidance,
    sde: Any = None,
) -> ScoreFn:
    """score_fn(x, t) = s(x, t, ∅) + w (s(x, t, y) − s(x, t, ∅)): classifier-free guidance.

    w = 1 gives the conditional score and w = 0 the unconditional one, each at its usual cost. Any
    other w takes one batch of twice the size. w > 1 increases fidelity to the condition and reduces
    variety; the result is then no longer the score of a noised distribution.

    Args:
      score_fn_for: conditions [N, ...] -> score_fn(x, t).
      condition: y [B, ...]: classes, vectors or images.
      null: the number that fills the null condition ∅; see `ConditionSpec.null`.
      guidance: w, or a `Guidance` without a weaker model.
      sde: of the scores; needed with an interval.
    """
    guidance = as_guidance(guidance)
    nulls = tf.fill(tf.shape(condition), tf.cast(null, condition.dtype))
    nulls = tf.ensure_shape(nulls, condition.shape)
    if guidance.scale == 0 and guidance.interval is None:
        return score_fn_for(nulls)
    if guidance.scale == 1:
        return score_fn_for(condition)
    both = score_fn_for(tf.concat([condition, nulls], axis=0))

    def pair(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(tf.split(both(tf.concat([x, x], 0), tf.concat([t, t], 0)), 2))

    return guidance.score_fn(sde, lambda x, t: score_fn_for(condition)(x, t), pair)


def autoguided_score(
    score_fn: ScoreFn, weaker_fn: ScoreFn, guidance: Guidance, sde: Any = None
) -> ScoreFn:
    """score_fn(x, t) = s_2 + w (s_1 − s_2), s_2 a weaker model's: autoguidance.

    The weaker model errs in the same places and more; w > 1 leads away from both models' errors
    (Karras et al. 2024). w = 1 evaluates the main model alone, w = 0 the weaker one alone.

    Args:
      score_fn: s_1(x, t).
      weaker_fn: s_2(x, t), of the same SDE and data.
      guidance: w and the interval.
      sde: of the scores; needed with an interval.
    """
    if guidance.scale == 0 and guidance.interval is None:
        return weaker_fn
    return guidance.score_fn(sde, score_fn, lambda x, t: (score_fn(x, t), weaker_fn(x, t)))


def check_guidance(guidance: float | Guidance, network: Network, sde: Any = None) -> None:
    """Raises UsageError if guidance has nothing to act by; warns if the null one is untrained.

    Args:
      guidance: a scale, or a `Guidance`.
      network: the main one.
      sde: the SDE, which an interval must suit.
    """
    guidance = as_guidance(guidance)
    if guidance.interval is not None and sde is not None and not sde.has_marginal:
        raise UsageError(
            f"An interval of guidance is one of sigma_t/alpha_t, and {type(sde).__name__} has none "
            "in closed form. Leave the interval out, or use an affine SDE such as VPSDE."
        )
    if guidance.scale == 1 or guidance.weaker is not None:
        return
    if spec_of(network) is None:
        raise UsageError(
            f"guidance = {guidance.scale:g} was asked of a network without classes or another "
            "condition. Leave it out; or train a network made with num_classes, condition_size or "
            "condition_channels, and with condition_dropout above 0; or guide by a weaker model "
            "(--weaker, Guidance(weaker=...))."
        )
    warn_of_untrained_null(network)


def warn_of_untrained_null(network: Network) -> None:
    """Warns if a network was never trained on the null condition."""
    layer = getattr(network, "condition_layer", None)
    if layer is not None and layer.built and not np.any(np.asarray(layer.null_weights())):
        warn(
            "The null condition, with which guidance compares, was never trained: train this "
            "network with TrainStep.condition_dropout = 0.1, say."
        )


def interval_of(text: str) -> tuple[float, float]:
    """(lo, hi) of a text such as "0.2,5" or "0.2,inf".

    Raises:
      UsageError: it is none.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not 0 <= low < high:
        raise UsageError(
            f"An interval of guidance is two noise levels, as 0.2,5 or 0.2,inf; got {text!r}."
        )
    return low, high


__all__ = [
    "Guidance",
    "as_guidance",
    "autoguided_score",
    "check_guidance",
    "guided_score",
    "interval_of",
    "warn_of_untrained_null",
]
