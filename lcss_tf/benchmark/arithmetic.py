"""Floating-point operations, counted in the graph that TensorFlow traces."""

import math
import time

import tensorflow as tf

_MATRIX = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
_RATE_SIZE = 2048  # of the square matrices whose product is timed


def count_flops(function, *args):
    """Operations of all convolutions and matrix products in function(*args).

    A multiplication and an addition count as two. Whatever is elementwise is left out: this is
    the work that a perfect implementation would be bound by. Gradients are counted where the
    function takes them.
    """
    graph = tf.function(function, autograph=False).get_concrete_function(*args).graph
    return sum(_flops(op) for op in _all_operations(graph))


def _all_operations(graph):
    yield from graph.get_operations()
    library = graph.as_graph_def().library.function
    names = {f.signature.name for f in library}
    for name in names:
        inner = graph._get_function(name)
        inner_graph = getattr(inner, "graph", None)
        if inner_graph is not None and not _is_gradient_only(name):
            yield from inner_graph.get_operations()


def _is_gradient_only(name):
    """Functions that custom gradients keep for later, and that this graph never calls."""
    return name.startswith("__inference_internal_grad_fn")


def _flops(op):
    if op.type in _MATRIX:
        adjoint = "transpose_a" if op.type == "MatMul" else "adj_x"
        left, out = op.inputs[0].shape, op.outputs[0].shape
        inner = left[-2] if op.get_attr(adjoint) else left[-1]
        return 2 * out.num_elements() * inner
    # A convolution and both of its gradients: as many products as the kernel has numbers for
    # each place of the output and of the batch.
    if op.type in ("Conv2D", "Conv3D"):
        return _convolution(op.inputs[1].shape, op.outputs[0].shape)
    if op.type in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
        return _convolution(op.inputs[1].shape, op.inputs[2].shape)
    if op.type in ("Conv2DBackpropFilter", "Conv3DBackpropFilterV2"):
        return _convolution(op.outputs[0].shape, op.inputs[2].shape)
    return 0


def _convolution(kernel, out):
    return 2 * kernel.num_elements() * out.num_elements() // out[-1]


def matrix_product_rate(seconds=1.0):
    """FLOP/s of this machine in a product of two float32 matrices of 2,048 rows: the best seen."""
    a = tf.random.stateless_normal((_RATE_SIZE, _RATE_SIZE), [0, 1])
    product = tf.function(lambda a: tf.matmul(a, a))
    product(a)
    best, until = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        product(a)[0, 0].numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * _RATE_SIZE**3 / best
