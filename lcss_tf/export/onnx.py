"""A function of a model as one ONNX file, which ONNX Runtime runs, and what else reads ONNX.

tf2onnx converts the graph. It lacks what is written here: expm1 and log1p, of which schedules are
made; the arithmetic of 32-bit words, of which noise is made (`lcss_tf.random`); a choice by which
NaN does not spread; and derivatives. So a stochastic sampler takes a seed, and draws there the
noise that it draws here.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import files
from lcss_tf._version import __version__
from lcss_tf.errors import MissingPackageError, UsageError
from lcss_tf.export.programs import Function

OPSET = 18  # the first with operations on the bits of whole numbers
_WORDS = 2**32
_BATCH = "batch"
_OF_NOISE = "BitwiseXor"  # of the generator alone
_PASSES = ("fold_constants", "merge_duplication")  # which make the file smaller


def write_onnx(path: str | Path, function: Function) -> list[Path]:
    """Writes a function as an ONNX file; returns [its path].

    The size of the batch is free, unless a part of the model needs to know it: then it is that of
    the function's arguments. An argument ``seed`` is left out where nothing is drawn from it. The
    file's metadata hold the function's notes.

    Args:
      path: of the file, which ends in ``.onnx``.
      function: what to write.

    Raises:
      MissingPackageError: tf2onnx is not installed.
      UsageError: another ending, a file that cannot be written, or operations that ONNX lacks.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"ONNX is one file, which ends in .onnx; got {path}. Try {path}.onnx.")
    files.check_writable(path)
    _packages()
    model, draws = _converted(function, seed=np.zeros(2, np.int32))
    if draws and "seed" in function.arguments:
        model, _ = _converted(function)
    _describe(model, function)
    return [files.write_bytes(path, model.SerializeToString())]


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import tf2onnx
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"Writing ONNX needs {error.name}, which is not installed: pip install 'lcss_tf[onnx]'."
        ) from error
    return onnx, tf2onnx


def _converted(function: Function, **fixed: Any) -> tuple[Any, bool]:
    """The function as an ONNX model, and whether it draws noise; `fixed` arguments are constants.

    What is drawn outside loops from a constant seed becomes a constant; so the traced graph is
    asked as well as the model, in which nothing is left that no output depends on.
    """
    onnx, tf2onnx = _packages()
    arguments = {name: v for name, v in function.arguments.items() if name not in fixed}
    constants = {name: v for name, v in fixed.items() if name in function.arguments}

    def call(*values: Any) -> dict[str, Any]:
        return function.call(**dict(zip(arguments, values, strict=True)), **constants)

    for free in (True, False):
        traced = tf.function(call, autograph=False)  # anew, or it would be that of the free batch
        try:
            concrete = traced.get_concrete_function(*_signature(arguments, free))
        except (AttributeError, TypeError, ValueError):
            if free:  # a part asks for the size of the batch
                continue
            raise
        try:
            with _quiet("tf2onnx"):
                model = _model(tf2onnx, concrete, list(arguments))
        except Exception as error:  # of tf2onnx, which raises what it happens upon
            if free:
                continue
            raise UsageError(
                f"tf2onnx cannot convert the {function.what} ({type(error).__name__}: "
                f"{str(error)[:200]}). Choose another sampler, or export it as format='stablehlo' "
                "or 'saved_model'."
            ) from error
        unknown = {name for name in _operations(model.graph) if not onnx.defs.has(name)}
        if not unknown and (not free or _fits_together(model)):
            break
    if unknown:
        raise UsageError(
            f"The {function.what} has operations that ONNX lacks: {', '.join(sorted(unknown))}. "
            "Write its parts by other operations, choose another sampler, or export it as "
            "format='stablehlo' or 'saved_model'."
        )
    onnx.checker.check_model(model, full_check=True)
    traced_operations = {node.op for node in concrete.graph.as_graph_def().node}
    return model, _OF_NOISE in traced_operations | _operations(model.graph)


def _fits_together(model: Any) -> bool:
    """Whether all shapes agree: with a free batch those of derivatives may not."""
    onnx, _ = _packages()
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True


def _model(tf2onnx: Any, concrete: Any, names: list[str]) -> Any:
    """A traced function as ONNX has it, whose inputs are called so.

    As tf2onnx's own `from_function`, without the passes that every runtime makes by itself: they
    take ten times as long as the rest.
    """
    inputs = [t.name for t in concrete.inputs if t.dtype != tf.resource]
    outputs = {t.name: name for name, t in concrete.structured_outputs.items()}
    frozen = tf2onnx.tf_loader.from_function(concrete, inputs, list(outputs))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
        converted = tf2onnx.tfonnx.process_tf_graph(
            graph,
            continue_on_error=True,  # what is unknown remains, and is named
            opset=OPSET,
            custom_rewriter=[_rewrite],
            input_names=inputs,
            output_names=list(outputs),
            tensors_to_rename=dict(zip(inputs, names, strict=True)) | outputs,
        )
    for name in _PASSES:
        converted = tf2onnx.optimizer._get_optimizers()[name]().optimize(converted, 0)
    converted.topological_sort(converted.get_nodes())
    return converted.make_model("lcss_tf")


def _signature(arguments: dict[str, Any], free: bool) -> list[tf.TensorSpec]:
    return [
        tf.TensorSpec((None, *v.shape[1:]) if free and name != "seed" else v.shape, v.dtype, name)
        for name, v in arguments.items()
    ]


def _operations(graph: Any) -> set[str]:
    """The names of the operations of a graph, and of those inside its loops and branches."""
    found = set()
    for node in graph.node:
        found.add(node.op_type)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _operations(inner)
    return found


def _describe(model: Any, function: Function) -> None:
    """Names the axis of the batch, and writes the function's notes into the metadata."""
    onnx, _ = _packages()
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        if value.name != "seed" and len(axes) and not axes[0].dim_value:
            axes[0].dim_param = _BATCH
    model.producer_name, model.producer_version = "lcss_tf", __version__
    model.graph.name = function.what
    notes = {"what": function.what, **function.notes}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in notes.items()}
    onnx.helper.set_model_props(model, texts)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """What a library logs is left out: what matters of it is raised."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


# What tf2onnx lacks ---------------------------------------------------------------------------


class _Maker:
    """Makes nodes of a graph of tf2onnx."""

    def __init__(self, graph: Any) -> None:
        onnx, tf2onnx = _packages()
        self.types, self._utils, self._graph = onnx.TensorProto, tf2onnx.utils, graph

    def __call__(self, operation: str, *inputs: str) -> str:
        return self._graph.make_node(operation, list(inputs)).output[0]

    def constant(self, value: float, like: str) -> str:
        """A scalar of the type of a tensor."""
        dtype = self._utils.map_onnx_to_numpy_type(self.type_of(like))
        name = self._utils.make_name("constant")
        return self._graph.make_const(name, np.array(value, dtype)).output[0]

    def axes(self, values: list[int], dtype: int) -> str:
        """A vector of whole numbers, of a type."""
        array = np.array(values, self._utils.map_onnx_to_numpy_type(dtype))
        return self._graph.make_const(self._utils.make_name("axes"), array).output[0]

    def cast(self, x: str, dtype: int) -> str:
        """The tensor in another type."""
        return self._graph.make_node("Cast", [x], attr={"to": dtype}, dtypes=[dtype]).output[0]

    def type_of(self, name: str) -> int:
        """Of a tensor."""
        return self._graph.get_dtype(name)

    def word(self, x: str) -> str:
        """A whole number of 64 bits modulo 2³², as uint32."""
        low = self("BitwiseAnd", x, self.constant(_WORDS - 1, x))
        return self.cast(low, self.types.UINT32)


def _expm1(make: _Maker, x: str) -> str:
    """eˣ − 1 = 2h/(1 − h), h = tanh(x/2): exact to rounding near 0; from 1 up, as it is written."""
    one, half = make.constant(1.0, x), make.constant(0.5, x)
    h = make("Tanh", make("Mul", x, half))
    near = make("Div", make("Add", h, h), make("Sub", one, h))
    return make("Where", make("Less", x, one), near, make("Sub", make("Exp", x), one))


def _log1p(make: _Maker, x: str) -> str:
    """log(1 + x) = 2 artanh(x/(2 + x)): exact to rounding near 0; from 1 up, as it is written."""
    one, two = make.constant(1.0, x), make.constant(2.0, x)
    h = make("Atanh", make("Div", x, make("Add", two, x)))
    return make("Where", make("Less", x, one), make("Add", h, h), make("Log", make("Add", one, x)))


def _add_words(make: _Maker, x: str, y: str) -> str | None:
    """x + y modulo 2³² of uint32, which ONNX Runtime does not add."""
    if make.type_of(x) != make.types.UINT32:
        return None
    wide = make.types.INT64
    return make.word(make("Add", make.cast(x, wide), make.cast(y, wide)))


def _bitcast(make: _Maker, x: str, to: int) -> str | None:
    """The bits of int32 as uint32, or of uint32 as int32."""
    wide = make.cast(x, make.types.INT64)
    if (make.type_of(x), to) == (make.types.INT32, make.types.UINT32):
        return make.word(wide)
    if (make.type_of(x), to) == (make.types.UINT32, make.types.INT32):
        negative = make("Sub", wide, make.constant(_WORDS, wide))
        low = make("Less", wide, make.constant(_WORDS // 2, wide))
        return make.cast(make("Where", low, wide, negative), make.types.INT32)
    return None


def _where(make: _Maker, condition: str, x: str, y: str) -> str | None:
    """x or y. tf2onnx adds c x and (1 − c) y, where NaN and infinity come through."""
    types = make.types
    known = (types.FLOAT, types.DOUBLE, types.INT32, types.INT64, types.UINT8)
    return make("Where", condition, x, y) if make.type_of(x) in known else None


def _gradient(formula: Callable[[_Maker, str], str]) -> Callable[[_Maker, str, str], str]:
    """dy f'(x) of y = f(x), whose derivative is a formula of y; of SDEs that derive their noise."""
    return lambda make, y, dy: make("Mul", dy, formula(make, y))


def _of_sqrt(make: _Maker, y: str) -> str:
    return make("Div", make.constant(0.5, y), y)


def _of_tanh(make: _Maker, y: str) -> str:
    return make("Sub", make.constant(1.0, y), make("Mul", y, y))


def _of_sigmoid(make: _Maker, y: str) -> str:
    return make("Sub", y, make("Mul", y, y))


def _of_reciprocal(make: _Maker, y: str) -> str:
    return make("Neg", make("Mul", y, y))


def _of_rsqrt(make: _Maker, y: str) -> str:
    return make("Mul", make.constant(-0.5, y), make("Mul", y, make("Mul", y, y)))


_REWRITES: dict[str, Callable[..., str | None]] = {
    "Expm1": _expm1,
    "Log1p": _log1p,
    "Add": _add_words,
    "AddV2": _add_words,
    "Bitcast": _bitcast,
    "SelectV2": _where,
    "SqrtGrad": _gradient(_of_sqrt),
    "TanhGrad": _gradient(_of_tanh),
    "SigmoidGrad": _gradient(_of_sigmoid),
    "ReciprocalGrad": _gradient(_of_reciprocal),
    "RsqrtGrad": _gradient(_of_rsqrt),
}


def _broadcast_axes(graph: Any, node: Any) -> None:
    """The axes over which the gradients of x and y are summed where x + y broadcast: constants.

    An axis whose size is not known is the batch's. Where that is 1, to sum over it or not is one.
    """
    shapes = [shape for name in node.input if (shape := _shape_in(graph, name)) is not None]
    if len(shapes) < 2:
        return
    rank = max(map(len, shapes))
    x, y = ([1] * (rank - len(shape)) + shape for shape in shapes)
    own = [[i for i in range(rank) if a[i] == 1 and b[i] != 1] for a, b in ((x, y), (y, x))]
    outputs, dtypes = list(node.output), [graph.get_dtype(name) for name in node.output]
    graph.remove_node(node.name)
    make = _Maker(graph)
    for output, axes, dtype in zip(outputs, own, dtypes, strict=True):
        made = make.axes(axes, dtype)
        graph.make_node("Identity", [made], outputs=[output], shapes=[[len(axes)]], dtypes=[dtype])


def _shape_in(graph: Any, name: str) -> list[int] | None:
    """What a tensor that is a shape holds, −1 where it is open; None where that is not known."""
    node = graph.get_node_by_output(name)
    if node.is_const():
        return [int(size) for size in np.ravel(node.get_tensor_value())]
    return graph.get_shape(node.input[0]) if node.type == "Shape" else None


def _rewrite(graph: Any, nodes: list[Any]) -> list[Any]:
    """tf2onnx calls it on every graph, before it converts the operations that it knows."""
    for node in list(nodes):
        if node.type == "BroadcastGradientArgs":
            _broadcast_axes(graph, node)
        if node.type not in _REWRITES:
            continue
        make, output = _Maker(graph), node.output[0]
        dtype, shape = graph.get_dtype(output), graph.get_shape(output)
        told = [dtype] if node.type == "Bitcast" else []
        made = _REWRITES[node.type](make, *node.input, *told)
        if made is not None:
            graph.remove_node(node.name)
            graph.make_node("Identity", [made], outputs=[output], shapes=[shape], dtypes=[dtype])
    return graph.get_nodes()


__all__ = ["OPSET", "write_onnx"]
