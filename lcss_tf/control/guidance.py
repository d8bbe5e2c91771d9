"""Classifier-free guidance (Ho and Salimans 2022), as a composition of score functions."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.typing import Network, ScoreFn, Tensor


def guided_score(
    score_fn_for: Callable[[Tensor], ScoreFn], labels: Tensor, null: int, scale: float
) -> ScoreFn:
    """score_fn(x, t) = s(x, t, ∅) + w (s(x, t, y) − s(x, t, ∅)), w the scale.

    w = 1 gives the conditional score and w = 0 the unconditional one, each at its usual cost. Any
    other w takes one batch of twice the size. w > 1 increases fidelity to the class and reduces
    variety; the result is then no longer the score of a noised distribution.

    Args:
      score_fn_for: labels [N] -> score_fn(x, t).
      labels: classes [B].
      null: the label of the null class.
      scale: w.
    """
    nulls = tf.fill(tf.shape(labels), tf.cast(null, labels.dtype))
    if scale in (0, 1):
        return score_fn_for(labels if scale == 1 else nulls)
    both = score_fn_for(tf.concat([labels, nulls], axis=0))

    def score_fn(x: Tensor, t: Tensor) -> Tensor:
        scores = both(tf.concat([x, x], axis=0), tf.concat([t, t], axis=0))
        conditional, unconditional = tf.split(scores, 2)
        return unconditional + scale * (conditional - unconditional)

    return score_fn


def check_guidance(guidance: float, network: Network) -> None:
    """Raises UsageError if the network has no classes; warns if its null class is untrained."""
    if guidance == 1:
        return
    if not np.isfinite(guidance):
        raise UsageError(f"The guidance must be a finite number; got {guidance}.")
    if getattr(network, "num_classes", None) is None:
        raise UsageError(
            f"guidance = {guidance:g} was asked of a network without classes. Leave it out, or "
            "train a network made with num_classes, and with class_dropout above 0."
        )
    table = getattr(getattr(network, "class_embedding", None), "table", None)
    if table is not None and not np.any(np.asarray(table)[-1]):
        warn(
            "Guidance compares with the null class, on which this network was never trained: "
            "train it with class_dropout = 0.1, say."
        )


__all__ = ["check_guidance", "guided_score"]
