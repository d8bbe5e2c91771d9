"""How much memory a training step will take, from its graph, before it runs.

The traced loss and gradients are walked in the order in which they were made, which is close to
the order in which they run: a tensor lives from the operation that makes it to the last that
reads it. The largest sum on the way, and all that is there throughout (weights, their average,
the optimiser's state, the gradients), is the estimate. On CPUs the program itself is added, by a
rule that fits what was measured (docs/performance.md).
"""

import collections
from typing import NamedTuple

import numpy as np
import tensorflow as tf

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
    def total(self):
        """Their sum: what was freed for one of them, the allocator mostly keeps."""
        return sum(self)

    def text(self):
        """For people, in MiB."""
        total, *parts = (f"{n / 2**20:,.0f}" for n in (self.total, *self))
        state, gradients, activations, update, program = parts
        return (
            f"about {total} MiB a replica: weights, average and optimiser {state}, gradients "
            f"{gradients}, activations {activations}, the update {update}, the program {program}"
        )


def footprint(state, step, batch):
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
    activations = max(0, peak_bytes(graph) - gradients)
    update = held + gradients if step.compiles_update else 0
    on_gpu = tf.config.list_logical_devices("GPU")
    program = 0 if on_gpu else _PROGRAM_BYTES + _OPERATION_BYTES * len(graph.get_operations())
    return Footprint(held, gradients, activations, update, program)


def peak_bytes(graph):
    """The most bytes of tensors that are alive at a time, the graph's results included."""
    operations = graph.get_operations()
    owner = {}  # tensor name -> the name of the buffer that holds it
    size, readers = {}, collections.Counter()
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


def _owner(owner, name):
    return owner.get(name, name)


def _tensor_bytes(tensor, op):
    if op.type in _ALIASES:  # a constant, a placeholder or a weight: counted elsewhere
        return 0
    return _bytes(tensor.shape, tensor.dtype)


def _bytes(shape, dtype):
    """0 where the shape is unknown or the type is no number."""
    shape = tuple(shape) if getattr(shape, "rank", 0) is not None else (None,)
    dtype = tf.as_dtype(dtype)
    if None in shape or not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        return 0
    return int(np.prod(shape, dtype=np.int64)) * dtype.size
