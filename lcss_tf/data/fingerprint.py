"""What examples are in a few bytes, so that a run that is resumed knows its own data again.

Small data are hashed whole, of large ones examples that are spread evenly: a file of a terabyte
costs about 64 MiB of it. Of encoded images the sizes of all are hashed as well, where an index has
them.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

from lcss_tf.typing import Array

_BYTES = 2**26  # that are hashed, at most


def spread(count: int, size: int, most: int | None = None) -> Array:
    """Indices of examples to hash, spread evenly: int64 [n].

    Args:
      count: of the examples.
      size: bytes of one.
      most: n at most.
    """
    number = min(count, max(16, _BYTES // max(1, size)), most or count)
    return np.arange(number, dtype=np.int64) * count // max(1, number)


def spread_by_size(sizes: Array) -> Array:
    """Indices of examples of these sizes to hash, int64 [n]: all, or some that are spread evenly.

    Args:
      sizes: in bytes, int64 [N].
    """
    total, count = int(sizes.sum()), len(sizes)
    if total <= _BYTES:
        return np.arange(count, dtype=np.int64)
    return spread(count, -(-total // count))


def array_hash(*arrays: Array | None) -> str:
    """A hash of the examples in arrays [N, ...], whose dtype and shape count as well."""
    return bytes_hash(part for array in arrays if array is not None for part in _parts(array))


def _parts(array: Array) -> Iterable[bytes]:
    size = array.nbytes // max(1, len(array))
    some = array[spread(len(array), size)]
    native = np.ascontiguousarray(some, array.dtype.newbyteorder("<"))
    yield f"{native.dtype.str} {array.shape}".encode()
    yield native.tobytes()


def bytes_hash(parts: Iterable[bytes]) -> str:
    """A hash of bytes, each part told apart from the next: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part)
    return digest.hexdigest()[:16]


__all__ = ["array_hash", "bytes_hash", "spread", "spread_by_size"]
