"""IDX files, the format of MNIST and its family: one array of numbers, plain or by gzip."""

import gzip
import io
import math
import os
import struct
import zlib
from typing import IO, NoReturn

import numpy as np

from lcss_tf.data.files import describe, permission
from lcss_tf.data.numpy_files import Stored
from lcss_tf.errors import UsageError
from lcss_tf.texts import visible

# By the third byte of a file. All numbers are big-endian.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_HEAD = 512  # bytes by which a file is known
_MOST_AXES = 32
_MOST_INFLATED = 1_032  # bytes that one byte of deflate can become
_AGAIN = "It may be truncated: copy or download it again."


def read_idx(path: str, most_bytes: int) -> Stored:
    """The array of an IDX file, mapped into memory if the file is plain.

    A file is two zero bytes, a byte for the dtype, a byte for the number of axes, the size of each
    axis (32 bits, big-endian), and the numbers (big-endian, in C's order). Compression is known by
    the content, whatever the name.

    Args:
      path: of the file, which is there.
      most_bytes: that a compressed file may unpack to. No more than the header claims, and one
        byte, is ever unpacked.

    Raises:
      UsageError: no such file, or one that holds fewer or more numbers than its header claims.
    """
    with permission(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(_GZIP)) != _GZIP:
            file.seek(0)
            return _mapped(path, file, size)
        file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _unpacked(path, unpacked, size, most_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UsageError(
                f"{visible(path)} cannot be unpacked by gzip ({error}). {_AGAIN}"
            ) from error


def _mapped(path: str, file: IO[bytes], size: int) -> Stored:
    dtype, shape = _header(path, file)
    offset, claimed = file.tell(), math.prod(shape) * dtype.itemsize
    if size - offset != claimed:
        _refuse_size(path, dtype, shape, size - offset)
    if not claimed:
        return Stored(np.zeros(shape, dtype), None)
    return Stored(np.memmap(path, dtype, "r", offset, shape), offset)


def _unpacked(path: str, file: gzip.GzipFile, size: int, most_bytes: int) -> Stored:
    dtype, shape = _header(path, file)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > size * _MOST_INFLATED:
        _refuse_size(path, dtype, shape, None)
    if claimed > most_bytes:
        raise UsageError(
            f"{visible(path)} unpacks to {claimed / 2**30:.1f} GiB, and compressed files are held "
            "in memory. Unpack it by gunzip: plain files are read as they are needed."
        )
    content = file.read(claimed + 1)
    if len(content) != claimed:
        _refuse_size(path, dtype, shape, len(content) if len(content) < claimed else None)
    return Stored(np.frombuffer(content, dtype).reshape(shape), None)


def _header(path: str, file: IO[bytes] | gzip.GzipFile) -> tuple[np.dtype, tuple[int, ...]]:
    """(dtype, shape), the file then standing at its numbers."""
    head = file.read(_HEAD)
    code, rank = (head[2], head[3]) if len(head) >= 4 else (0, 0)
    if head[:2] != b"\0\0" or code not in DTYPES or not 1 <= rank <= _MOST_AXES:
        known = ", ".join(f"0x{known:02x}" for known in DTYPES)
        raise UsageError(
            f"{visible(path)} is no IDX file: it is {describe(head)}. An IDX file begins with two "
            f"zero bytes, a type (one of {known}) and the number of axes, as in "
            "train-images-idx3-ubyte."
        )
    if len(head) < 4 + 4 * rank:
        raise UsageError(f"{visible(path)} ends within its header of {rank} axes. {_AGAIN}")
    file.seek(4 + 4 * rank, io.SEEK_SET)
    return np.dtype(DTYPES[code]), struct.unpack(f">{rank}I", head[4 : 4 + 4 * rank])


def _refuse_size(path: str, dtype: np.dtype, shape: tuple[int, ...], found: int | None) -> NoReturn:
    claimed = math.prod(shape) * dtype.itemsize
    held = "more or fewer" if found is None else f"{found:,} bytes"
    raise UsageError(
        f"{visible(path)} claims {'×'.join(map(str, shape))} numbers of {dtype.name}, "
        f"{claimed:,} bytes, and holds {held}. {_AGAIN}"
    )


__all__ = ["DTYPES", "read_idx"]
