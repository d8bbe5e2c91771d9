"""The programs that a model has: its score, its sampler and its training step."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import files, random
from lcss_tf.data.base import DataInfo
from lcss_tf.errors import UsageError
from lcss_tf.export.program import Program, capture
from lcss_tf.inference.sampling import Sampling
from lcss_tf.ops import sum_over_data
from lcss_tf.training.state import TrainState
from lcss_tf.training.step import TrainStep
from lcss_tf.typing import Seed, Tensor


def train_step(state: TrainState, step: TrainStep, batch_size: int) -> Program:
    """One training step: loss, gradients, clipping, optimiser, average and counters.

    Arguments of the program: ``x`` [B, ...] scaled as the network sees it; ``labels`` [B] of a
    network with classes, or ``condition`` [B, ...] of another that takes one, scaled as the network
    sees it; ``step``, the number of the step, and ``seed``, from which all noise follows; ``stop``,
    0. Outputs: the fields of `StepReport`, then the next state. The notes have the ``seed`` of
    `step`, whose initial weights the state holds.

    Args:
      state: with an optimiser attached, and its moments measured.
      step: made for one replica with ``jit_compile=True``.
      batch_size: B.
    """
    arguments: dict[str, Any] = {"x": tf.zeros((batch_size, *state.shape))}
    arguments |= _condition_argument(state, batch_size)
    arguments |= {
        "step": tf.constant(state.step, tf.int64),
        "stop": tf.constant(0.0),
        "seed": tf.constant(step.seed, tf.int32),
    }

    def take(
        x: Tensor, step_number: Tensor, stop: Tensor, seed: Tensor, told: dict
    ) -> dict[str, Tensor]:
        batch = (x, *told.values()) if told else x
        report = step.traced(batch, step_number, stop, seed)._asdict()
        nested = {name: report.pop(name) for name in ("terms", "scaling")}
        return report | {f"{k}/{n}": value for k, v in nested.items() for n, value in v.items()}

    return capture(
        "train_step",
        lambda x, step, stop, seed, **told: take(x, step, stop, seed, told),
        arguments,
        state.variables_by_name(),
        {"step": state.step, "seed": step.seed, "parameters": state.num_parameters()},
    )


class Function(NamedTuple):
    """Something that a model computes, as a function of tensors.

    what: its name. call: called with the arguments by keyword; returns tensors by name. arguments:
    tensors by name, whose shapes and dtypes it takes. notes: see `Program`. variables: what it
    reads beside the state's, by name.
    """

    what: str
    call: Callable[..., dict[str, Tensor]]
    arguments: dict[str, Any]
    notes: dict[str, Any]
    variables: Mapping[str, Any] = {}


def score(state: TrainState, batch_size: int, info: DataInfo | None = None) -> Function:
    """(x, t) -> ∇log p_t(x) by the average of the weights, as `ScoreModel.score_fn`.

    Arguments: ``x`` [B, ...] scaled as the network sees it, ``t`` [B] in [t_min, T],
    and ``labels`` [B] of a network with classes, where the number of classes means none of them; or
    ``condition`` [B, ...] of another that takes one, in the units of the data, where NaN means
    none.

    Args:
      state: whose score it is.
      batch_size: B.
      info: of the data; without it a condition is scaled as the network sees it.
    """
    arguments: dict[str, Any] = {
        "x": tf.zeros((batch_size, *state.state_shape)),
        "t": tf.fill((batch_size,), tf.constant(0.5 * state.sde.T, tf.float32)),
    }
    arguments |= _condition_argument(state, batch_size, info)

    def function(x: Tensor, t: Tensor, **told: Tensor) -> dict[str, Tensor]:
        condition = _scaled_condition(told, info)
        return {"score": state.score.score_fn(state.average, condition=condition)(x, t)}

    return Function("score", function, arguments, {"step": state.step})


def sampler(state: TrainState, sampling: Sampling, info: DataInfo) -> Function:
    """A whole sampler: a seed in, samples in the data's units out.

    Arguments: ``seed`` [2], int32; and ``labels`` [B] of a network with classes, or
    ``condition`` [B, ...], in the units of the data, of another that takes one. The outputs:
    ``samples`` [B, ...] in the units and dtype of the data, ``nfe``, and ``x``, the samples scaled
    as the network sees them.

    Args:
      state: what is sampled from.
      sampling: the sampler over it.
      info: of the data that the model was trained on.
    """
    size, sde = sampling.batch_size, state.sde
    shape = (size, *state.state_shape)
    arguments: dict[str, Any] = {"seed": tf.zeros((2,), tf.int32)}
    arguments |= _condition_argument(state, size, info)

    def function(seed: Tensor, **told: Tensor) -> dict[str, Tensor]:
        inputs = {"x_T": sde.broadcast_prior_sample(shape, random.fold_in(seed, "prior"))}
        return _sampled(sampling, info, inputs, seed, told)

    notes = _sampler_notes(state, sampling) | {"batch_size": size}
    return Function("sampler", function, arguments, notes, sampling.more_variables())


def sampler_from(state: TrainState, sampling: Sampling, info: DataInfo) -> Function:
    """A whole sampler: x_T in, samples in the data's units out.

    Arguments: ``x_T`` [B, ...], drawn from the prior; ``seed`` [2], int32, of the noise of the
    steps, on which nothing depends where the sampler is deterministic; and the condition. With x_T
    and seed as in `sampler`, the outputs are those of it. The notes say how to draw x_T where the
    prior is N(0, s² I): ``prior_std`` is s.

    Args:
      state, sampling, info: see `sampler`.
    """
    size, sde = sampling.batch_size, state.sde
    shape = (size, *state.state_shape)
    arguments: dict[str, Any] = {"x_T": tf.zeros(shape), "seed": tf.zeros((2,), tf.int32)}
    arguments |= _condition_argument(state, size, info)

    def function(x_T: Tensor, seed: Tensor, **told: Tensor) -> dict[str, Tensor]:
        return _sampled(sampling, info, {"x_T": x_T}, seed, told)

    notes = _sampler_notes(state, sampling) | {"sde": type(sde).__name__}
    prior_std = _prior_std(sde, state.state_shape)
    if prior_std is not None:
        notes["prior_std"] = prior_std
    return Function("sampler", function, arguments, notes, sampling.more_variables())


def _sampled(
    sampling: Sampling, info: DataInfo, inputs: dict, seed: Seed, told: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The outputs of a sampler, from a seed that is a tensor or an array."""
    condition = _scaled_condition(told, info)
    if condition is not None:
        inputs = inputs | {"condition": condition}
    with contextlib.nullcontext() if tf.is_tensor(seed) else tf.init_scope():  # a constant
        steps = random.at_row(random.fold_in(seed, "steps"), 0)
    x, nfe = sampling.traced(inputs, steps if tf.is_tensor(seed) else steps.numpy())
    return {"samples": unscaled(info, x), "nfe": nfe, "x": x}


def _sampler_notes(state: TrainState, sampling: Sampling) -> dict[str, Any]:
    notes = {"step": state.step, "sampler": type(sampling.sampler).__name__}
    if state.condition is not None and state.condition.is_class:
        notes["classes"] = state.condition.size
    return notes


def _prior_std(sde: Any, shape: Sequence[int]) -> float | None:
    """s where the prior is N(0, s² I), judged by its density at 0 and at random; else None."""
    try:
        at_zero = float(sde.prior_log_prob(tf.zeros((1, *shape)))[0])
        s = float(np.exp(-at_zero / math.prod(shape)) / math.sqrt(2 * math.pi))
        z = random.normal(0, (8, *shape))
        density = np.asarray(sde.prior_log_prob(s * z)) - at_zero
    except NotImplementedError:  # samples need no density
        return None
    normal = -0.5 * np.asarray(sum_over_data(z**2))
    return s if np.allclose(density, normal, rtol=1e-3, atol=1e-3) else None


def as_program(state: TrainState, function: Function) -> Program:
    """The function as StableHLO, with its state by name.

    Raises:
      UsageError: XLA cannot compile it.
    """
    variables = {**state.variables_by_name(), **function.variables}
    return capture(function.what, function.call, function.arguments, variables, function.notes)


def save_model(path: str | Path, state: TrainState, function: Function) -> list[Path]:
    """Writes the function as a SavedModel with the signature ``serving_default``; [its folder].

    TensorFlow alone loads and runs it; TensorFlow Serving takes the folder as a version of a model:
    ``model/1``.

    Args:
      path: the folder; it is made, or replaced if it holds a SavedModel.
      state: whose variables it reads.
      function: what to write.

    Raises:
      UsageError: the path holds something else.
    """
    path = Path(path)
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise UsageError(f"{path} is a folder that holds something else. Choose another path.")
    files.check_writable(path, folder=True)
    names = list(function.arguments)
    call = lambda *values: function.call(**dict(zip(names, values, strict=True)))
    signature = [
        tf.TensorSpec(value.shape, value.dtype, name) for name, value in function.arguments.items()
    ]
    module = tf.Module(name=function.what)
    variables = [*state.variables_by_name().values(), *function.variables.values()]
    module.state = [getattr(v, "value", v) for v in variables]
    module.call = tf.function(call, input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(path), signatures=module.call)
    return [path]


def unscaled(info: DataInfo, x: Tensor) -> Tensor:
    """`DataInfo.unscale` in a graph: samples in the data's units and dtype."""
    raw, dtype = info.scaling.invert(x), info.scaling.stored_dtype
    if dtype == "uint8":
        return tf.cast(tf.round(tf.clip_by_value(raw, 0, 255)), tf.uint8)
    largest = float(np.finfo(dtype).max)
    return tf.cast(tf.clip_by_value(raw, -largest, largest), dtype)


def _condition_argument(
    state: TrainState, batch_size: int, info: DataInfo | None = None
) -> dict[str, Tensor]:
    """The argument by which a program is told conditions; {} where the network takes none.

    Numbers of float64 data stay so until they are scaled: a large offset costs no digits.
    """
    spec = state.condition
    if spec is None:
        return {}
    shape = (batch_size, *spec.shape(state.shape))
    known = None if info is None else info.condition
    wide = known is not None and known.scaling.stored_dtype == "float64"
    return {spec.name: tf.zeros(shape, tf.float64 if wide else spec.dtype)}


def _scaled_condition(told: dict[str, Tensor], info: DataInfo | None) -> Tensor | None:
    """The argument as the network takes it; None where there is none."""
    known = None if info is None else info.condition
    for name, value in told.items():
        return value if name == "labels" or known is None else known.scaling.scale(value)
    return None


__all__ = [
    "Function",
    "as_program",
    "sampler",
    "sampler_from",
    "save_model",
    "score",
    "train_step",
]
