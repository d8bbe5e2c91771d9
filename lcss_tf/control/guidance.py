"""Classifier-free guidance (Ho and Salimans 2022), as a composition at the score function."""

import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf.errors import UsageError


def guided_score(score_fn_for, labels, null, scale):
    """score_fn(x, t) = s(x, t, ∅) + w (s(x, t, y) − s(x, t, ∅)), w the scale.

    w = 1 is the conditional score and w = 0 that of any class, each at its usual cost; any
    other w takes one batch of twice the size. w > 1 pushes towards what is typical of the class,
    at the cost of variety; the result is then no longer the score of a noised law.

    Args:
      score_fn_for: labels [N] -> score_fn(x, t), as `ScoreModel.score_fn` makes it.
      labels: classes [B].
      null: the label of the null class.
      scale: w, a float.
    """
    nulls = tf.fill(tf.shape(labels), tf.cast(null, labels.dtype))
    if scale in (0, 1):
        return score_fn_for(labels if scale == 1 else nulls)
    both = score_fn_for(tf.concat([labels, nulls], axis=0))

    def score_fn(x, t):
        scores = both(tf.concat([x, x], axis=0), tf.concat([t, t], axis=0))
        conditional, unconditional = tf.split(scores, 2)
        return unconditional + scale * (conditional - unconditional)

    return score_fn


def check_guidance(guidance, network):
    """Raises ValueError if the network has no classes to guide to; warns of an untrained null."""
    if guidance == 1:
        return
    if not np.isfinite(guidance):
        raise UsageError(f"The guidance must be a finite number; got {guidance}.")
    if getattr(network, "num_classes", None) is None:
        raise UsageError(
            f"guidance = {guidance:g} was asked of a network without classes. Leave it out, or "
            "train one with num_classes bound, and train_step.class_dropout above 0."
        )
    table = getattr(getattr(network, "class_embedding", None), "table", None)
    if table is not None and not np.any(np.asarray(table)[-1]):
        logging.warning(
            "Guidance compares with the null class, which this network never saw: train it with "
            "train_step.class_dropout = 0.1, say."
        )
