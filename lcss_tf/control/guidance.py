"""Classifier-free guidance (Ho and Salimans 2022), as a composition of score functions."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lcss_tf.conditioning import spec_of
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.typing import Network, ScoreFn, Tensor


def guided_score(
    score_fn_for: Callable[[Tensor], ScoreFn], condition: Tensor, null: float, scale: float
) -> ScoreFn:
    """score_fn(x, t) = s(x, t, ∅) + w (s(x, t, y) − s(x, t, ∅)), w the scale.

    w = 1 gives the conditional score and w = 0 the unconditional one, each at its usual cost. Any
    other w takes one batch of twice the size. w > 1 increases fidelity to the condition and reduces
    variety; the result is then no longer the score of a noised distribution.

    Args:
      score_fn_for: conditions [N, ...] -> score_fn(x, t).
      condition: y [B, ...]: classes, vectors or images.
      null: the number that fills the null condition ∅; see `ConditionSpec.null`.
      scale: w.
    """
    nulls = tf.fill(tf.shape(condition), tf.cast(null, condition.dtype))
    nulls = tf.ensure_shape(nulls, condition.shape)
    if scale in (0, 1):
        return score_fn_for(condition if scale == 1 else nulls)
    both = score_fn_for(tf.concat([condition, nulls], axis=0))

    def score_fn(x: Tensor, t: Tensor) -> Tensor:
        scores = both(tf.concat([x, x], axis=0), tf.concat([t, t], axis=0))
        conditional, unconditional = tf.split(scores, 2)
        return unconditional + scale * (conditional - unconditional)

    return score_fn


def check_guidance(guidance: float, network: Network) -> None:
    """Raises UsageError if the network has no condition; warns if its null one is untrained."""
    if guidance == 1:
        return
    if not np.isfinite(guidance):
        raise UsageError(f"The guidance must be a finite number; got {guidance}.")
    if spec_of(network) is None:
        raise UsageError(
            f"guidance = {guidance:g} was asked of a network without classes or another condition. "
            "Leave it out, or train a network made with num_classes, condition_size or "
            "condition_channels, and with condition_dropout above 0."
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


__all__ = ["check_guidance", "guided_score", "warn_of_untrained_null"]
