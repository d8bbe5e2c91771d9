"""Files that NumPy saved: the first axis of a .npy file, or of an array of a .npz archive."""

import contextlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from lcss_tf.archives import MAX_UNPACKED, PICKLED, ArchiveError, ArrayArchive, mapped
from lcss_tf.data.files import describe, is_pickle
from lcss_tf.errors import UsageError
from lcss_tf.files import permission
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


_Check = Callable[[tuple[int, ...], np.dtype], None]


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
    path: str,
    key: str | None = None,
    besides: Sequence[str] = (),
    option: str = "the key",
    check: _Check | None = None,
    most: int = MAX_UNPACKED,
) -> Stored:
    """The array of a .npy file, or one array of a .npz archive, mapped into memory if it can be.

    Args:
      path: of the file, which is there.
      key: the array's name in an archive; None: its only one but `besides`.
      besides: the names of arrays of an archive that are not meant by None.
      option: the argument that sets `key`, for messages.
      check: raises where an array of that shape and dtype is not wanted, before it is unpacked.
      most: bytes that a compressed array may unpack to.

    Raises:
      UsageError: no such file, or array; says what it is instead.
    """
    with permission(path), open(path, "rb") as file:
        head = file.read(_HEAD)
    if head.startswith(_NPY):
        array = mapped(path)
        check_dtype(array.dtype, path)
        if check is not None:
            check(array.shape, array.dtype)
        return Stored(array, getattr(array, "offset", None))
    if not is_archive(path):
        _refuse(path, head)
    with _opened(path, most) as archive:
        names = archive.names
        others = [name for name in names if name not in besides]
        if not others:
            held = f"{' and '.join(names)} alone" if names else "no array"
            raise UsageError(
                f"{path} is an archive that holds {held}. "
                "Save the examples: numpy.savez(path, x=x)."
            )
        arrays = [name for name in others if archive.member(name).name.endswith(".npy")] or others
        key = key or (arrays[0] if len(arrays) == 1 else None)
        if key is None or key not in names:
            raise UsageError(
                f"{path} holds the arrays {names}: set {option} to one of them (got {key!r})."
            )
        return _stored(archive, path, key, check)


def is_archive(path: str) -> bool:
    """Whether a file is a ZIP archive, whole or not."""
    with permission(path), open(path, "rb") as file:
        return file.read(2) == _ZIP or zipfile.is_zipfile(path)


def member_names(path: str) -> list[str]:
    """The names in an archive, without .npy.

    Raises:
      UsageError: it is truncated.
    """
    with _opened(path) as archive:
        return archive.names


def read_member(
    path: str, key: str, check: _Check | None = None, most: int = MAX_UNPACKED
) -> Array:
    """An array of an archive, in memory.

    Args:
      path, check, most: as for `read_numpy`.
      key: the array's name.

    Raises:
      UsageError: it is no array, or cannot be read; says what it is.
    """
    with _opened(path, most) as archive:
        return np.asarray(_stored(archive, path, key, check).array)


def _stored(archive: ArrayArchive, path: str, key: str, check: _Check | None) -> Stored:
    where = f"The member {archive.member(key).name!r} of {path}"
    with _named(where, path):
        head = archive.head(key, _HEAD)
        if not head.startswith(_NPY):
            _refuse(where, head)
        claim = archive.claim(key)
        check_dtype(claim.dtype, where)
        if check is not None:
            check(claim.shape, claim.dtype)
        if claim.member.compressed or claim.fortran or not claim.num_bytes:
            return Stored(archive.read(key), None)
        archive.verify(key)  # once: what is mapped is not compared again
    offset = claim.member.offset + claim.header
    return Stored(np.memmap(path, claim.dtype, "r", offset, claim.shape), offset)


@contextlib.contextmanager
def _opened(path: str, most: int = MAX_UNPACKED) -> Iterator[ArrayArchive]:
    with permission(path), ArrayArchive(path, most) as archive:
        yield archive


@contextlib.contextmanager
def _named(where: str, path: str) -> Iterator[None]:
    """Errors of a member inside the block name it, and the remedy."""
    try:
        yield
    except ArchiveError as error:
        if str(path) in str(error):
            raise
        raise UsageError(f"{where} cannot be used: {error}. Save it again.") from error


def _refuse(where: str, head: bytes) -> NoReturn:
    if is_pickle(head):
        raise UsageError(PICKLED.format(where))
    raise UsageError(f"{where} is no array of NumPy: it is {describe(head)}. {_SAVE}")


__all__ = [
    "NUMBERS",
    "Stored",
    "check_dtype",
    "is_archive",
    "member_names",
    "read_member",
    "read_numpy",
]
