"""The programs that a model has: its score, its sampler and its training step."""

from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.data.base import DataInfo
from lcss_tf.export.program import Program, capture
from lcss_tf.inference.sampling import Sampling
from lcss_tf.training.state import TrainState
from lcss_tf.training.step import TrainStep
from lcss_tf.typing import Tensor


def train_step(state: TrainState, step: TrainStep, batch_size: int) -> Program:
    """One training step: loss, gradients, clipping, optimiser, average and counters.

    Arguments of the program: ``x`` [B, ...] scaled as the network sees it; ``labels`` [B] of a
    network with classes; ``step``, the number of the step, from which all noise follows; ``stop``,
    0. Outputs: the fields of `StepReport`, then the next state.

    Args:
      state: with an optimiser attached, and its moments measured.
      step: made for one replica with ``jit_compile=True``.
      batch_size: B.
    """
    arguments: dict[str, Any] = {"x": tf.zeros((batch_size, *state.shape))}
    if state.num_classes is not None:
        arguments["labels"] = tf.zeros((batch_size,), tf.int32)
    arguments |= {
        "step": tf.constant(state.step, tf.int64),
        "stop": tf.constant(0.0),
    }

    def take(x: Tensor, step_number: Tensor, stop: Tensor, labels: Tensor) -> dict[str, Tensor]:
        batch = x if labels is None else (x, labels)
        report = step.traced(batch, step_number, stop)._asdict()
        terms = report.pop("terms")
        return report | {f"terms/{name}": value for name, value in terms.items()}

    return capture(
        "train_step",
        lambda x, step, stop, labels=None: take(x, step, stop, labels),
        arguments,
        _variables(state),
        {"step": state.step, "parameters": state.num_parameters()},
    )


def score(state: TrainState, batch_size: int) -> Program:
    """(x, t) -> ∇log p_t(x) by the average of the weights, as `ScoreModel.score_fn`.

    Arguments of the program: ``x`` [B, ...] scaled as the network sees it, ``t`` [B] in [t_min, T],
    and ``labels`` [B] of a network with classes, where the number of classes means none of them.
    """
    arguments: dict[str, Any] = {
        "x": tf.zeros((batch_size, *state.state_shape)),
        "t": tf.fill((batch_size,), tf.constant(0.5 * state.sde.T, tf.float32)),
    }
    if state.num_classes is not None:
        arguments["labels"] = tf.zeros((batch_size,), tf.int32)

    def function(x: Tensor, t: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"score": state.score.score_fn(state.average, labels=labels)(x, t)}

    return capture("score", function, arguments, _variables(state), {"step": state.step})


def sampler(state: TrainState, sampling: Sampling, info: DataInfo) -> Program:
    """A whole sampler: a seed in, samples in the data's units out.

    Arguments of the program: ``seed`` [2], int32; and ``labels`` [B] of a network with classes.
    The outputs: ``samples`` [B, ...] in the units and dtype of the data, ``nfe``, and ``x``, the
    samples scaled as the network sees them.

    Args:
      state: what is sampled from.
      sampling: the sampler over it.
      info: of the data that the model was trained on.

    Raises:
      UsageError: XLA cannot compile it: an SDE whose prior is drawn by Gamma numbers, say.
    """
    size, sde = sampling.batch_size, state.sde
    shape = (size, *state.state_shape)
    arguments: dict[str, Any] = {"seed": tf.zeros((2,), tf.int32)}
    if state.num_classes is not None:
        arguments["labels"] = tf.range(size, dtype=tf.int32) % state.num_classes

    def function(seed: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        inputs = {"x_T": sde.broadcast_prior_sample(shape, random.fold_in(seed, "prior"))}
        if labels is not None:
            inputs["labels"] = labels
        x, nfe = sampling.traced(inputs, random.at_row(random.fold_in(seed, "steps"), 0))
        return {"samples": unscaled(info, x), "nfe": nfe, "x": x}

    notes = {"step": state.step, "sampler": type(sampling.sampler).__name__, "batch_size": size}
    if state.num_classes is not None:
        notes["classes"] = state.num_classes
    return capture("sampler", function, arguments, _variables(state), notes)


def unscaled(info: DataInfo, x: Tensor) -> Tensor:
    """`DataInfo.unscale` in a graph: samples in the data's units and dtype."""
    raw, dtype = info.scaling.invert(x), info.scaling.stored_dtype
    if dtype == "uint8":
        return tf.cast(tf.round(tf.clip_by_value(raw, 0, 255)), tf.uint8)
    largest = float(np.finfo(dtype).max)
    return tf.cast(tf.clip_by_value(raw, -largest, largest), dtype)


def _variables(state: TrainState) -> dict[str, Any]:
    return {
        f"{group}/{path}": variable
        for group, variables in state.variables().items()
        for path, variable in variables.items()
    }


__all__ = ["sampler", "score", "train_step"]
