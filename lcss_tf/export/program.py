"""A compiled function as a portable program: StableHLO, its inputs by name, and their values.

Any system with a PJRT client compiles and runs it: JAX (``tools/run_program.py``), IREE and others.
A program is a folder of three files.

``program.mlir``
    StableHLO as text, with one function ``main``.
``program.json``
    What ``main`` takes and returns, in order and by name. An input is an ``argument``, which a
    caller chooses; ``state``, a variable; or a ``constant``. State that the program changes names
    the output that holds its next value.
``state.npz``
    The values of state and constants, under their names.

Values that one number describes are not stored but described in ``program.json``: arrays that are
constant, and arrays that equal another one.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import files
from lcss_tf._version import __version__
from lcss_tf.errors import UsageError

FORMAT = 1
PROGRAM, MANIFEST, STATE = "program.mlir", "program.json", "state.npz"
_ALIAS = re.compile(r"parameter_number = (\d+) : i64\}, output_index = array<i64(?:: (\d+))?>")
# Where each operation came from: two thirds of the text, and no part of the program.
_LOCATION_LINE = re.compile(r"^#loc\d*\b.*\n", re.MULTILINE)
_COUNTING = re.compile(
    r'stablehlo\.constant dense<"0x(0000000001000000[0-9A-F]*)"> : (tensor<([\dx]*)x(?:u?i)32>)'
)
_COPY = re.compile(r"^ *(%\w+) = mhlo\.copy (%[\w#]+) : [^\n]*$")
_DEFINED, _NAME = re.compile(r"^ *(%\w+)(?::\d+)? = "), re.compile(r"%\w+")
_LOCATION = re.compile(r" loc\((?:#loc\d*|unknown|\"[^\"\n]*\"|fused\[[^\]\n]*\])\)")


@dataclasses.dataclass(frozen=True)
class Value:
    """An input or an output of a program.

    Attributes:
      name: an argument's or an output's own; of state the name in a checkpoint, such as
        ``network/dense/kernel``.
      shape, dtype: of its array.
      role: ``"argument"``, ``"state"``, ``"constant"`` or ``"output"``.
      output: of state that the program changes: the index of the output with its next value.
      value: of state and constants whose numbers are all one: that number.
      same_as: of state that equals other state: that one's name.
      drawn: of state that is described but not stored: ``{"form": "normal" | "uniform", "mean":
        μ, "std": σ}``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str
    output: int | None = None
    value: float | None = None
    same_as: str | None = None
    drawn: dict | None = None


@dataclasses.dataclass(frozen=True)
class Program:
    """StableHLO with its inputs and outputs.

    Attributes:
      what: what it computes: ``"train_step"``, ``"sampler"`` or ``"score"``.
      text: StableHLO.
      inputs, outputs: of its function ``main``, in order.
      arrays: the values of state and constants by name.
      notes: what else a caller needs, as JSON has it: of what model, at which step.
    """

    what: str
    text: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    arrays: dict[str, np.ndarray]
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def write(self, folder: str | Path, describe: bool = False) -> list[Path]:
        """Writes the program's files; returns their paths.

        Args:
          folder: made where it is not there.
          describe: store no state. Its arrays are described by their mean and standard deviation,
            by which a caller draws others: for timing a network whose state is too large to move.

        Raises:
          UsageError: the folder cannot be written.
        """
        folder = Path(folder)
        files.check_writable(folder, folder=True)
        inputs, stored = _compact(self.inputs, self.arrays, describe)
        manifest = {
            "format": FORMAT,
            "lcss_tf": __version__,
            "what": self.what,
            "inputs": [_as_json(value) for value in inputs],
            "outputs": [_as_json(value) for value in self.outputs],
            **self.notes,
        }
        return [
            files.write_text(folder / PROGRAM, self.text),
            files.write_arrays(folder / STATE, stored),
            files.write_json(folder / MANIFEST, manifest),
        ]


def capture(
    what: str,
    function: Callable[..., Mapping[str, Any]],
    arguments: Mapping[str, Any],
    variables: Mapping[str, Any],
    notes: Mapping[str, Any] | None = None,
) -> Program:
    """Compiles a function of tensors, and of the variables that it reads and changes, to a program.

    Args:
      what: its name.
      function: called with `arguments` by keyword; returns tensors by name.
      arguments: tensors by name, whose shapes and dtypes the program's will be.
      variables: Keras or TensorFlow variables by the names that the program gives them.
      notes: see `Program`.

    Raises:
      UsageError: XLA cannot compile the function; the message says why.
    """
    names = list(arguments)
    outputs: list[str] = []

    def ordered(*values: Any) -> tuple:
        result = function(**dict(zip(names, values, strict=True)))
        outputs[:] = list(result)
        return tuple(result.values())

    compiled = tf.function(ordered, jit_compile=True, autograph=False)
    values = [tf.convert_to_tensor(value) for value in arguments.values()]
    concrete = compiled.get_concrete_function(*values)
    try:
        text = compiled.experimental_get_compiler_ir(*values)(stage="stablehlo")
    except (tf.errors.OpError, ValueError) as error:
        raise UsageError(
            f"XLA cannot compile the {what} of this model into one program "
            f"({str(error).splitlines()[0][:300]})."
        ) from error
    if isinstance(text, bytes):
        text = text.decode()
    becomes = {int(p): int(output or 0) for p, output in _ALIAS.findall(text)}
    inputs = [
        Value(name, tuple(value.shape), value.dtype.name, "argument")
        for name, value in zip(names, values, strict=True)
    ]
    given = {name: getattr(v, "value", v) for name, v in variables.items()}
    known = {id(v.handle): name for name, v in given.items()}
    # The graph does not list those that it touches by a kernel of an optimiser alone.
    graph_variables = {id(v.handle): v for v in (*given.values(), *concrete.variables)}
    arrays: dict[str, np.ndarray] = {}
    for tensor in concrete.captured_inputs:
        variable = graph_variables.get(id(tensor))
        place = len(inputs)
        if variable is None:
            name, role, array = f"constant/{place}", "constant", tensor.numpy()
        else:
            name, role = known.get(id(tensor), f"other/{variable.name}"), "state"
            array = variable.numpy()
        arrays[name] = np.asarray(array)
        inputs.append(Value(name, array.shape, array.dtype.name, role, becomes.get(place)))
    tensors = concrete.outputs
    made = [
        Value(name, tuple(t.shape), t.dtype.name, "output")
        for name, t in zip(outputs, tensors, strict=True)
    ]
    changed = {v.output: v for v in inputs if v.output is not None}
    for index in range(len(made), len(made) + len(changed)):
        source = changed[index]
        made.append(dataclasses.replace(source, role="output", output=None))
    return Program(what, _portable(text), tuple(inputs), tuple(made), arrays, dict(notes or {}))


def _portable(text: str) -> str:
    """The program in StableHLO alone, short.

    TensorFlow's XLA writes copies in a dialect of its own, which other clients refuse: their uses
    take what was copied. Locations go, and 0, 1, 2, … are counted rather than written out.
    """
    text = _COUNTING.sub(_counted, _LOCATION.sub("", _LOCATION_LINE.sub("", text)))
    lines, source = [], dict[str, str]()
    for line in text.split("\n"):
        copy = _COPY.match(line)
        if copy:
            source[copy[1]] = source.get(copy[2], copy[2])
            continue
        defined = _DEFINED.match(line)
        if defined:  # regions side by side use the same names
            source.pop(defined[1], None)
        lines.append(_NAME.sub(lambda m: source.get(m[0], m[0]), line) if source else line)
        if line.startswith("  func.func"):
            source.clear()
    return "\n".join(lines)


def _counted(match: re.Match) -> str:
    shape = [int(size) for size in match[3].split("x")]
    axis = int(np.argmax(shape))
    numbers = np.frombuffer(bytes.fromhex(match[1]), np.uint32)
    if numbers.size != shape[axis] or (numbers != np.arange(shape[axis])).any():
        return match[0]
    return f"stablehlo.iota dim = {axis} : {match[2]}"


def _as_json(value: Value) -> dict[str, Any]:
    fields = dataclasses.asdict(value)
    return {key: entry for key, entry in fields.items() if entry is not None}


def _compact(
    inputs: tuple[Value, ...], arrays: Mapping[str, np.ndarray], describe: bool
) -> tuple[list[Value], dict[str, np.ndarray]]:
    """The inputs with what describes their values, and the arrays that have to be stored."""
    found: list[Value] = []
    stored: dict[str, np.ndarray] = {}
    seen: dict[tuple, str] = {}
    for value in inputs:
        if value.role == "argument":
            found.append(value)
            continue
        array = arrays[value.name]
        key = (
            array.shape,
            array.dtype.name,
            hashlib.sha256(np.ascontiguousarray(array).data).hexdigest(),
        )
        if array.size and (array == array.flat[0]).all():
            number = array.flat[0].item()
            found.append(dataclasses.replace(value, value=number))
        elif key in seen:
            found.append(dataclasses.replace(value, same_as=seen[key]))
        elif describe and value.role == "state" and array.dtype.kind == "f":
            seen[key] = value.name
            found.append(dataclasses.replace(value, drawn=_description(array)))
        else:
            seen[key] = value.name
            stored[value.name] = array
            found.append(value)
    return found, stored


def _description(array: np.ndarray) -> dict[str, Any]:
    mean, std = float(array.mean()), float(array.std())
    bounded = float(np.abs(array - mean).max()) < 1.9 * std  # a uniform one ends at 1.73 σ
    return {"form": "uniform" if bounded else "normal", "mean": mean, "std": std}


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """What ``program.json`` of a program's folder holds.

    Raises:
      UsageError: the folder holds no program, or one of another format.
    """
    path = Path(folder) / MANIFEST
    manifest = files.read_json(path, dict)
    if manifest is None:
        raise UsageError(f"{folder} holds no program ({MANIFEST} is missing). Run lcss export.")
    if manifest.get("format") != FORMAT:
        raise UsageError(
            f"{path} is of format {manifest.get('format')!r}; this version reads {FORMAT}. Export "
            "again."
        )
    return manifest


__all__ = ["Program", "Value", "capture", "read_manifest"]
