"""Files that NumPy saved: the first axis of a .npy file, or of an array of a .npz archive."""

import contextlib
import zipfile
from collections.abc import Iterator
from typing import IO, NamedTuple, NoReturn

import numpy as np

from lcss_tf.data.files import describe, is_pickle, permission
from lcss_tf.errors import UsageError
from lcss_tf.typing import Array

NUMBERS = "uif"  # NumPy's kinds of dtype that are numbers
_NPY, _ZIP = b"\x93NUMPY", b"PK"
_HEAD = 512  # bytes by which a file is known
_SAVE = "Save an array of numbers by numpy.save."
# By NumPy's kind of dtype, what makes numbers of it.
_REMEDIES = {
    "b": "Convert it: x.astype(numpy.float32).",
    "c": "Split it into two channels: numpy.stack([x.real, x.imag], axis=-1).",
    "f": "Convert it: x.astype(numpy.float64).",
    "M": "Convert it to seconds: (x - x.min()) / numpy.timedelta64(1, 's').",
    "m": "Convert it to seconds: x / numpy.timedelta64(1, 's').",
    "O": "Make one array of equal examples: numpy.stack(list(x)).astype(numpy.float32).",
    "S": "Encode words as numbers.",
    "U": "Encode words as numbers.",
}


class Stored(NamedTuple):
    """An array of a file, and where its bytes lie in it; offset None: only in memory."""

    array: Array
    offset: int | None


def check_dtype(dtype: np.dtype, where: str) -> None:
    """Raises a UsageError unless a dtype holds numbers; says how to make some of it."""
    if dtype.kind in NUMBERS and dtype.itemsize <= 8:
        return
    remedy = _REMEDIES.get(dtype.kind, "Convert it: x.astype(numpy.float32).")
    if dtype.names:
        names = ", ".join(map(repr, dtype.names))
        remedy = f"Stack its fields: numpy.stack([x[name] for name in ({names},)], axis=-1)."
    raise UsageError(
        f"{where} holds {dtype}, and training takes numbers: integers or floats of at most 64 "
        f"bits. {remedy}"
    )


def read_numpy(
    path: str, key: str | None = None, besides: str = "", option: str = "the key"
) -> Stored:
    """The array of a .npy file, or one array of a .npz archive, mapped into memory if it can be.

    Args:
      path: of the file, which is there.
      key: the array's name in an archive; None: its only one but `besides`.
      besides: the name of an array of an archive that is not meant by None.
      option: the argument that sets `key`, for messages.

    Raises:
      UsageError: no such file, or array; says what it is instead.
    """
    with permission(path), open(path, "rb") as file:
        head = file.read(_HEAD)
    if head.startswith(_NPY):
        with _numpy_errors(path):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        check_dtype(array.dtype, path)
        return Stored(array, getattr(array, "offset", None))
    if not is_archive(path):
        _refuse(path, head)
    names = member_names(path)
    others = [name for name in names if name != besides]
    if not others:
        raise UsageError(
            f"{path} is an archive that holds {'no array' if not names else 'labels alone'}. Save "
            "the examples: numpy.savez(path, x=x)."
        )
    arrays = [name for name in others if names[name].filename.endswith(".npy")] or others
    key = key or (arrays[0] if len(arrays) == 1 else None)
    if key is None or key not in names:
        raise UsageError(
            f"{path} holds the arrays {list(names)}: set {option} to one of them (got {key!r})."
        )
    return _member(path, key, names[key])


def is_archive(path: str) -> bool:
    """Whether a file is a ZIP archive, whole or not."""
    with open(path, "rb") as file:
        return file.read(2) == _ZIP or zipfile.is_zipfile(path)


def member_names(path: str) -> dict[str, zipfile.ZipInfo]:
    """{name: member} of an archive, the names without .npy.

    Raises:
      UsageError: it is truncated.
    """
    with _numpy_errors(path), zipfile.ZipFile(path) as archive:
        found = [info for info in archive.infolist() if not info.is_dir()]
    return {info.filename.removesuffix(".npy"): info for info in found}


def read_member(path: str, key: str) -> Array:
    """An array of an archive, in memory.

    Raises:
      UsageError: it is no array, or cannot be read; says what it is.
    """
    return _unpacked(path, member_names(path)[key])


def _member(path: str, key: str, member: zipfile.ZipInfo) -> Stored:
    where = _where(path, member)
    with _numpy_errors(where), zipfile.ZipFile(path) as archive, archive.open(member) as file:
        _check_head(where, file)
        start = getattr(file, "_orig_compress_start", None)
        version = np.lib.format.read_magic(file)
        # Two bytes tell the header's length in version 1, four in the others.
        later = np.lib.format.read_array_header_2_0
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else later
        shape, fortran, dtype = read(file)
        header = file.tell()
    if dtype.hasobject:
        raise UsageError(_pickled(where))
    check_dtype(dtype, where)
    stored = member.compress_type == zipfile.ZIP_STORED
    if start is None or not stored or fortran or not np.prod(shape):
        return Stored(_unpacked(path, member), None)
    if header + int(np.prod(shape)) * dtype.itemsize > member.file_size:
        raise UsageError(f"{where} is truncated. Save it again.")
    offset = start + header
    return Stored(np.memmap(path, dtype, "r", offset, shape), offset)


def _unpacked(path: str, member: zipfile.ZipInfo) -> Array:
    where = _where(path, member)
    with _numpy_errors(where), zipfile.ZipFile(path) as archive, archive.open(member) as file:
        _check_head(where, file)
        array = np.lib.format.read_array(file, allow_pickle=False)
    check_dtype(array.dtype, where)
    return array


def _where(path: str, member: zipfile.ZipInfo) -> str:
    return f"The member {member.filename!r} of {path}"


def _check_head(where: str, file: IO[bytes]) -> None:
    head = file.read(_HEAD)
    if not head.startswith(_NPY):
        _refuse(where, head)
    file.seek(0)


def _refuse(where: str, head: bytes) -> NoReturn:
    if is_pickle(head):
        raise UsageError(_pickled(where))
    raise UsageError(f"{where} is no array of NumPy: it is {describe(head)}. {_SAVE}")


def _pickled(where: str) -> str:
    return (
        f"{where} holds Python objects (a pickle), which could run any program and is never "
        "loaded. Save an array of numbers: numpy.save(path, array.astype(numpy.float32))."
    )


@contextlib.contextmanager
def _numpy_errors(where: str) -> Iterator[None]:
    """Errors of NumPy and of archives inside the block become a UsageError with the remedy."""
    try:
        with permission(where):
            yield
    except (PermissionError, UsageError):
        raise
    except (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        # zipfile has no error of its own for a password.
        if any(word in str(error) for word in ("pickle", "Object arrays", "Python objects")):
            raise UsageError(_pickled(where)) from error
        if "encrypted" in str(error) or "password" in str(error):
            raise UsageError(f"{where} is encrypted. Save it again without a password.") from error
        raise UsageError(
            f"{where} cannot be read as NumPy's arrays ({error}). It may be truncated: save it "
            "again."
        ) from error


__all__ = [
    "NUMBERS",
    "Stored",
    "check_dtype",
    "is_archive",
    "member_names",
    "read_member",
    "read_numpy",
]
