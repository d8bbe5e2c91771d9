"""Files of tensors in the safetensors format, read within limits: a JSON header, then numbers."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import files
from lcss_tf.archives import ArchiveError
from lcss_tf.errors import MissingPackageError
from lcss_tf.texts import visible
from lcss_tf.typing import Array

MAX_HEADER = 2**24  # bytes: some 100,000 tensors
_LENGTH = 8  # bytes that hold the header's length
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


class Stated(NamedTuple):
    """What a tensor says it is."""

    shape: tuple[int, ...]
    dtype: np.dtype


class TensorFile:
    """The tensors of a .safetensors file by name. Use it in a ``with`` block.

    What a tensor claims is known before it is read. The package holds every claim against the
    file: tensors neither overlap nor end beyond it.

    Args:
      path: of the file.

    Raises:
      MissingPackageError: safetensors is not installed.
      ArchiveError: not such a file, truncated, or one whose header is too long.
      OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = path
        self._check_header()
        package = _package()
        try:
            self._file = package.safe_open(os.fspath(path), framework="np")
            self._names = set(self._file.keys())
        except package.SafetensorError as error:
            raise ArchiveError(
                f"{visible(path)} is no safetensors file, or is damaged ({error}). Fetch it again."
            ) from error

    def _check_header(self) -> None:
        with files.permission(self._path), open(self._path, "rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            size = os.fstat(file.fileno()).st_size
        if length > min(MAX_HEADER, max(size - _LENGTH, 0)):
            raise ArchiveError(
                f"{visible(self._path)} claims a header of {length:,} bytes; it has {size:,} in "
                f"all, and {MAX_HEADER:,} are the most that are read. It is damaged, or made to "
                "deceive. Fetch it again."
            )

    def __enter__(self) -> "TensorFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._file

    @property
    def names(self) -> list[str]:
        """Of the tensors."""
        return sorted(self._names)

    def claim(self, name: str) -> Stated:
        """What a tensor says it is; none of its numbers is read.

        Raises:
          ArchiveError: there is no such tensor, or its type is unknown.
        """
        if name not in self._names:
            raise ArchiveError(f"there is no tensor {name!r}")
        part = self._file.get_slice(name)
        if part.get_dtype() not in _DTYPES:
            raise ArchiveError(f"the tensor {name!r} is of the unknown type {part.get_dtype()}")
        dtype = tf.as_dtype(_DTYPES[part.get_dtype()]).as_numpy_dtype
        return Stated(tuple(part.get_shape()), np.dtype(dtype))

    def read(self, name: str, shape: Any = None) -> Array:
        """A tensor, once its claim has been compared with the shape that is expected.

        Raises:
          ArchiveError: it is of another shape.
        """
        claim = self.claim(name)
        if shape is not None and claim.shape != tuple(shape):
            raise ArchiveError(f"the tensor {name!r} has the shape {claim.shape}; expected {shape}")
        return np.array(self._file.get_tensor(name))


def write_tensors(path: str | Path, arrays: Mapping[str, Any]) -> Path:
    """Writes a .safetensors file, whole; returns its path.

    Raises:
      MissingPackageError: safetensors is not installed.
    """
    _package()
    from safetensors.numpy import save

    return files.write_bytes(path, save({k: np.asarray(v, order="C") for k, v in arrays.items()}))


def _package() -> Any:
    try:
        import safetensors
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "A folder for the hub needs safetensors, which is not installed: "
            "pip install 'lcss_tf[hub]'."
        ) from error
    return safetensors


__all__ = ["MAX_HEADER", "Stated", "TensorFile", "write_tensors"]
