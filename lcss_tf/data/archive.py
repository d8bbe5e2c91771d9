"""ZIP archives of images: members are found by their offset, and unpacked as they are needed.

They are unpacked and checked by `archives`, which releases Python's lock meanwhile: no TensorFlow
operation unpacks within a limit.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import archives
from lcss_tf.archives import Member
from lcss_tf.data.by_pillow import BadImageError
from lcss_tf.data.files import read_range
from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.texts import visible
from lcss_tf.typing import Tensor

_MAX_MEMBER = 2**28  # bytes of one unpacked member


def members(path: str, wanted: Callable[[str], bool]) -> list[Member]:
    """The `Member`s of an archive whose names `wanted` accepts, sorted by name.

    Nothing is unpacked to the disk. Names are tidy: they have slashes between their parts, on
    every machine.

    Raises:
      UsageError: as `archives.members`, or an image of more than 256 MiB.
    """
    with permission(path):
        found = archives.members(path, lambda name: wanted(archives.tidy(name)))
    for member in found:
        if member.size > _MAX_MEMBER:
            raise UsageError(
                f"The member {member.name!r} of {visible(path)} would unpack to {member.size:,} "
                f"bytes, more than the {_MAX_MEMBER:,} that are read: a decompression bomb. Remove "
                "it."
            )
    return sorted(member._replace(name=archives.tidy(member.name)) for member in found)


def contents(path: str, chosen: Sequence[Member]) -> Iterator[bytes]:
    """The bytes of some members, one after another; of one that is not what it claims none."""
    with permission(path), open(path, "rb") as file:
        for member in chosen:
            file.seek(member.offset)
            try:
                yield archives.unpack(file.read(member.packed), member)
            except archives.ArchiveError:
                yield b""


class Members:
    """The members of one archive by index."""

    def __init__(self, path: str, chosen: Sequence[Member]) -> None:
        self._chosen = chosen
        with tf.init_scope(), tf.device("CPU:0"):
            self._path = tf.constant(os.fsencode(path))
            self._size = tf.constant(os.path.getsize(path), tf.int64)
            self._offsets = tf.constant(np.array([m.offset for m in chosen], np.int64))
            self._packed = tf.constant(np.array([m.packed for m in chosen], np.int64))

    def content(self, index: Tensor) -> Tensor:
        """The bytes of a member (int64 []), a string tensor []; works in graphs.

        Raises:
          BadImageError: it is not what it claims; in a graph, a `tf.errors.OpError`.
        """
        packed = read_range(self._path, self._offsets[index], self._packed[index], self._size)
        content = tf.numpy_function(self._unpacked, [packed, index], tf.string, stateful=False)
        return tf.ensure_shape(content, [])

    def _unpacked(self, packed: Any, index: Any) -> bytes:
        # Eagerly TensorFlow passes an array of one object.
        packed = np.asarray(packed, object).item()
        try:
            return archives.unpack(packed, self._chosen[int(index)])
        except archives.ArchiveError as error:
            raise BadImageError(str(error)) from error


__all__ = ["Member", "Members", "contents", "members"]
