"""TensorFlow graphs of other people, read by an allow-list of operations.

A graph can read and write files, open sockets and call Python, by operations made for that. So only
operations that compute numbers from numbers are let in, those that the Inception network of the
literature is made of; functions that a graph brings along are held to the same list.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from lcss_tf.errors import UsageError

# The graph of 2015-12-05, and what stands in the place of its oldest operations today.
OPERATIONS = frozenset({
    "Add", "AddV2", "AvgPool", "BatchNormWithGlobalNormalization", "BiasAdd", "Cast",
    "CheckNumerics", "Concat", "ConcatV2", "Const", "Conv2D", "DecodeJpeg", "ExpandDims",
    "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Identity", "MatMul", "MaxPool",
    "Mean", "Mul", "NoOp", "Pad", "Placeholder", "PlaceholderWithDefault", "RealDiv", "Relu",
    "Relu6", "Reshape", "ResizeBilinear", "Rsqrt", "Softmax", "Squeeze", "Sub",
})  # fmt: skip
_MAX_BYTES = 2**29  # of the file
_MAX_NUMBERS = 2**27  # of all constants: a constant can be large in few bytes
_NAMED = 5  # operations in a message


def read_graph(path: Path) -> Any:
    """The GraphDef of a file, made of `OPERATIONS` alone; devices that it names are left out.

    Raises:
      UsageError: not a graph, too large, or one with other operations; names them.
      OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise UsageError(
            f"{path} has {size:,} bytes, more than the {_MAX_BYTES:,} of a graph that is read."
        )
    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose module depends on its version
        raise UsageError(
            f"{path} is no frozen graph of TensorFlow ({error}): it is truncated or something "
            "else. Copy it again."
        ) from error
    _check_operations(path, definition)
    _check_constants(path, definition)
    for node in _nodes(definition):
        node.device = ""
        node.attr.pop("_output_shapes", None)  # they say that a batch is one image
    return definition


def _nodes(definition: Any) -> Iterator[Any]:
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _check_operations(path: Path, definition: Any) -> None:
    named = {function.signature.name for function in definition.library.function}
    refused = {node.op for node in _nodes(definition)} - OPERATIONS
    refused |= named & OPERATIONS  # a function under the name of an operation
    refused |= {
        f"{node.op} with a function"
        for node in _nodes(definition)
        if any(value.WhichOneof("value") == "func" or value.list.func
               for value in node.attr.values())
    }  # fmt: skip
    if refused:
        some = ", ".join(sorted(refused)[:_NAMED]) + (", …" if len(refused) > _NAMED else "")
        raise UsageError(
            f"{path} is refused: it has operations that the Inception graph does not need, which "
            f"may read or write files: {some}. Nothing of it was run. Take the graph of "
            "2015-12-05, or save your network as a .keras file for KerasFeatures."
        )


def _check_constants(path: Path, definition: Any) -> None:
    numbers = 0
    for node in _nodes(definition):
        for value in node.attr.values():
            for tensor in (value.tensor, *value.list.tensor):
                numbers += math.prod(max(dim.size, 0) for dim in tensor.tensor_shape.dim)
    if numbers > _MAX_NUMBERS:
        raise UsageError(
            f"{path} is refused: its constants hold {numbers:,} numbers, more than the "
            f"{_MAX_NUMBERS:,} that are read."
        )


__all__ = ["OPERATIONS", "read_graph"]
