"""Memory: what a training step will take, what would take less, and what a process takes now.

The traced loss and gradients are walked in the order in which they were made, which is close to
the order in which they run: a tensor lives from the operation that makes it to the last that
reads it. The largest sum on the way, and all that is there throughout (weights, their average,
the optimiser's state, the gradients), is the estimate. On CPUs the program itself is added, by a
rule that fits what was measured (docs/results/performance.md).
"""

import collections
import ctypes
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.training.state import TrainState

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Operations whose output is the same buffer as their first input.
_ALIASES = {
    "Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient",
    "Bitcast", "EnsureShape", "ReadVariableOp", "Placeholder", "Const",
}  # fmt: skip
# Operations that write into an input which nobody needs any more.
_IN_PLACE = {
    "Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Neg", "Exp", "Sigmoid", "Rsqrt", "Square",
    "Sqrt", "BiasAdd", "Softmax", "Cast", "SelectV2", "SigmoidGrad",
}  # fmt: skip


# Of the process: libraries that a first step loads, and each operation with its compiled program.
_PROGRAM_BYTES, _OPERATION_BYTES = 400 * 2**20, 50 * 2**10


class Footprint(NamedTuple):
    """Bytes: state throughout, gradients, and the most that activations take at a time.

    update: what a compiled update writes beside what it reads: a new state, clipped gradients.
    program: compiled code and graphs, where they share the memory, on CPUs.
    """

    state: int
    gradients: int
    activations: int
    update: int
    program: int

    @property
    def total(self) -> int:
        """Their sum: what was freed for one of them, the allocator mostly keeps."""
        return sum(self)

    def text(self) -> str:
        """For people, in MiB."""
        total, *parts = (f"{n / 2**20:,.0f}" for n in (self.total, *self))
        state, gradients, activations, update, program = parts
        return (
            f"about {total} MiB a replica: weights, average and optimiser {state}, gradients "
            f"{gradients}, activations {activations}, the update {update}, the program {program}"
        )


def footprint(state: TrainState, step: Any, batch: Any) -> Footprint:
    """The `Footprint` of a training step.

    Args:
      state: the `TrainState`.
      step: its `TrainStep`.
      batch: this replica's batch, or specifications of it (`tf.TensorSpec`).
    """
    seed = tf.TensorSpec([3], tf.int32)
    traced = tf.function(step.loss_and_gradients, autograph=False)
    graph = traced.get_concrete_function(batch, seed).graph
    held = state.num_bytes()
    gradients = sum(_bytes(v.shape, v.dtype) for v in state.network.trainable_variables)
    activations = step.parts_at_once * max(0, peak_bytes(graph) - gradients)
    update = held + gradients if step.compiles_update else 0
    on_gpu = tf.config.list_logical_devices("GPU")
    program = 0 if on_gpu else _PROGRAM_BYTES + _OPERATION_BYTES * len(graph.get_operations())
    return Footprint(held, step.parts_at_once * gradients, activations, update, program)


def step_footprint(run: Any, make_step: Callable, state: TrainState | None = None) -> Footprint:
    """The `Footprint` of a run's step, traced on shapes alone: no data are read, nothing is run.

    Args:
      run: the `Run`.
      make_step: as of `Trainer`.
      state: another state than the run's, of another network.
    """
    state = state or run.state
    preconditioning = state.score.preconditioning
    if preconditioning.measured is None:
        stand_in = random.normal(0, (16, *run.data.shape))
        preconditioning.prepare(state.sde, stand_in, run.seed)
    step = make_step(state, run.loss, run.batch_size, run.seed)
    rows = step.part_rows
    batch: Any = tf.TensorSpec([rows, *run.data.shape], tf.float32)
    spec = state.condition
    if spec is not None:
        batch = batch, tf.TensorSpec([rows, *spec.shape(run.data.shape)], spec.dtype)
    if state.augmentation_size is not None:
        batch = batch, tf.TensorSpec([rows, state.augmentation_size], tf.float32)
    return footprint(state, step, batch)


def advice(run: Any, make_step: Callable) -> str:
    """What would take less memory than the run's step as it is, with the estimates."""
    now = step_footprint(run, make_step)
    lines = [f"The device's memory does not hold this step: {now.text()}. What takes less:"]
    distribution = run.state.distribution
    rows = distribution.rows_per_replica(run.batch_size)
    network = type(run.state.network).__name__
    candidates: list[tuple[str, Callable, str]] = [
        (
            f"TrainStep.accumulation_steps = {parts}",
            functools.partial(
                step_footprint, run, functools.partial(make_step, accumulation_steps=parts)
            ),
            "the same step, in parts",
        )
        for parts in (2, 4, 8)
        if rows % parts == 0
    ]
    for change, binding, price in (
        ({"rematerialise": True}, "rematerialise = True", "the same step, slower"),
        ({"dtype": "mixed_bfloat16"}, "dtype = 'mixed_bfloat16'", "rounded; faster on GPUs"),
    ):
        changed = functools.partial(_changed, run, make_step, change)
        candidates.append((f"{network}.{binding}", changed, price))
    for binding, measure, price in candidates:
        less = measure()
        share = 1 - less.total / now.total if less else 0.0
        if share >= 0.01:
            mib = less.total / 2**20
            lines.append(f"  {binding:<42} about {mib:,.0f} MiB ({share:.0%} less): {price}")
    half = run.batch_size // 2
    if half >= distribution.num_replicas:
        lines.append(f"  fit.batch_size = {half}: another training, of noisier steps")
    return "\n".join(dict.fromkeys(lines))


def _changed(run: Any, make_step: Callable, change: dict) -> Footprint | None:
    """The `Footprint` with another network; None where it cannot be changed so."""
    state = run.state
    config = state.network.get_config()
    name, value = next(iter(change.items()))
    if config.get(name, "float32") in (value, True):
        return None
    try:
        # A network of its own, built on the host: the device is full.
        with tf.device("/cpu:0"):
            network = type(state.network).from_config(config | change)
            changed = TrainState(
                state.score, network, state.shape, state.distribution, averaging=state.averaging
            )
    except (TypeError, ValueError, tf.errors.OpError):
        return None
    changed.optimizer = state.optimizer
    return step_footprint(run, make_step, changed)


def peak_bytes(graph: tf.Graph) -> int:
    """The most bytes of tensors that are alive at a time, the graph's results included."""
    operations = graph.get_operations()
    owner: dict[str, str] = {}  # tensor name -> the name of the buffer that holds it
    size: dict[str, int] = {}
    readers: collections.Counter[str] = collections.Counter()
    for op in operations:
        for tensor in op.inputs:
            readers[_owner(owner, tensor.name)] += 1
        for i, tensor in enumerate(op.outputs):
            if op.type in _ALIASES and i < len(op.inputs):
                owner[tensor.name] = _owner(owner, op.inputs[i].name)
            else:
                size[tensor.name] = _tensor_bytes(tensor, op)
    kept = {_owner(owner, tensor.name) for tensor in graph.outputs}
    alive = peak = 0
    for op in operations:
        made = sum(
            size[t.name]
            for t in op.outputs
            if t.name in size and (readers[t.name] or t.name in kept)
        )
        freed = 0
        for tensor in op.inputs:
            buffer = _owner(owner, tensor.name)
            readers[buffer] -= 1
            if readers[buffer] == 0 and buffer not in kept:
                freed += size.get(buffer, 0)
        reused = min(made, freed) if op.type in _IN_PLACE else 0
        peak = max(peak, alive + made - reused)
        alive += made - freed
    return peak


def _owner(owner: dict, name: str) -> str:
    return owner.get(name, name)


def _tensor_bytes(tensor: Any, op: Any) -> int:
    if op.type in _ALIASES:  # a constant, a placeholder or a weight: counted elsewhere
        return 0
    return _bytes(tensor.shape, tensor.dtype)


def _bytes(shape: Any, dtype: Any) -> int:
    """0 where the shape is unknown or the type is no number."""
    shape = tuple(shape) if getattr(shape, "rank", 0) is not None else (None,)
    dtype = tf.as_dtype(dtype)
    if None in shape or not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        return 0
    return int(np.prod(shape, dtype=np.int64)) * dtype.size


def resident_mib() -> float:
    """The resident set of this process, MiB (Linux; elsewhere NaN)."""
    return _resident("VmRSS")


class PeakMemory:
    """The most memory used since `restart`, in MiB.

    On GPUs what TensorFlow allocated on the first; on Linux the resident set of the process,
    less what it was when this object was made (the libraries). Elsewhere NaN.
    """

    def __init__(self) -> None:
        self._gpus = tf.config.list_logical_devices("GPU")
        self._base = 0.0 if self._gpus else _resident("VmRSS")

    def restart(self) -> None:
        """Forgets the peak so far."""
        if self._gpus:
            tf.config.experimental.reset_memory_stats(self._gpus[0].name)
            return
        try:
            # What compilation left in the heap goes back to the system first.
            ctypes.CDLL(None).malloc_trim(0)
            _CLEAR.write_text("5")
        except (OSError, AttributeError):  # another system, or a kernel that forbids it
            self._base = float("nan")

    def peak(self) -> float:
        """MiB."""
        if self._gpus:
            return tf.config.experimental.get_memory_info(self._gpus[0].name)["peak"] / 2**20
        return _resident("VmHWM") - self._base


def _resident(key: str) -> float:
    try:
        found = re.search(rf"{key}:\s+(\d+) kB", _STATUS.read_text())
        return int(found[1]) / 1024 if found else float("nan")
    except OSError:
        return float("nan")
