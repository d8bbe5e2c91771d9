"""ZIP archives: members are found by their offset and unpacked inside TensorFlow's graph."""

import contextlib
import os
import posixpath
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.data.files import permission, read_range
from lcss_tf.errors import UsageError
from lcss_tf.texts import visible
from lcss_tf.typing import Tensor

_LOCAL_HEADER = 30  # bytes, before the name and the extra field
_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # the header that makes a deflated member a gzip file
_MAX_MEMBER = 2**30  # bytes of one unpacked member
_ENCRYPTED, _UTF8 = 1, 0x800  # bits of the flags


class Member(NamedTuple):
    """A file of an archive.

    name: its path there. offset, packed: where its bytes begin, and how many they are. deflated:
    whether they are compressed. trailer: the last bytes of the gzip file that they can be made.
    """

    name: str
    offset: int
    packed: int
    deflated: bool
    trailer: bytes


def members(path: str, wanted: Callable[[str], bool]) -> list[Member]:
    """The `Member`s of an archive whose names `wanted` accepts, sorted by name.

    Nothing is unpacked to the disk. Names have slashes between their parts, on every machine.

    Raises:
      UsageError: not an archive, or a member whose path leads out of it, that is encrypted,
        compressed by another method, or a decompression bomb.
    """
    try:
        with permission(path), zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            found = [info for info in archive.infolist() if not info.is_dir()]
            chosen = [info for info in found if wanted(_name(info))]
            return sorted(_member(path, info, file) for info in chosen)
    except zipfile.BadZipFile as error:
        raise UsageError(
            f"{visible(path)} is no ZIP archive, or is truncated ({error})."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{visible(path)} says that its names are UTF-8, and {error.object!r} is not. "
            "Pack the images again by zip."
        ) from error


def _name(info: zipfile.ZipInfo) -> str:
    """The name of a member: ``./cats\\1.png`` is ``cats/1.png``."""
    name = info.filename
    if (
        not info.flag_bits & _UTF8
    ):  # then it should be DOS's letters, and is often UTF-8 all the same
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return posixpath.normpath(name.replace("\\", "/"))


def _member(path: str, info: zipfile.ZipInfo, file: BinaryIO) -> Member:
    name, where = _name(info), f"The member {info.filename!r} of {visible(path)}"
    if name.startswith(("/", "../")) or re.match("[A-Za-z]:/", name):
        raise UsageError(f"{where} has a path that leads out of the archive. Do not trust it.")
    if info.flag_bits & _ENCRYPTED:
        raise UsageError(f"{where} is encrypted. Pack the images again without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(
            f"{where} is compressed by a method other than deflate. Pack the images again by zip."
        )
    if info.file_size > _MAX_MEMBER:
        raise UsageError(
            f"{where} would unpack to {info.file_size:,} bytes: a decompression bomb. Remove it."
        )
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise UsageError(f"{where} has no header: the archive is damaged. Copy it again.")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    offset = info.header_offset + _LOCAL_HEADER + name_length + extra_length
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    trailer = struct.pack("<II", info.CRC, info.file_size)
    return Member(name, offset, info.compress_size, deflated, trailer)


class Members:
    """The members of one archive by index, read inside TensorFlow's graph."""

    def __init__(self, path: str, chosen: Sequence[Member]) -> None:
        with tf.init_scope(), tf.device("CPU:0"):
            self._path = tf.constant(os.fsencode(path))
            self._size = tf.constant(os.path.getsize(path), tf.int64)
            self._offsets = tf.constant(np.array([m.offset for m in chosen], np.int64))
            self._packed = tf.constant(np.array([m.packed for m in chosen], np.int64))
            self._deflated = tf.constant([m.deflated for m in chosen])
            self._trailers = tf.constant([m.trailer for m in chosen])

    def content(self, index: Tensor) -> Tensor:
        """The bytes of a member (int64 []), a string tensor []."""
        packed = read_range(self._path, self._offsets[index], self._packed[index], self._size)
        return tf.cond(
            self._deflated[index],
            lambda: tf.io.decode_compressed(
                tf.strings.join([_GZIP, packed, self._trailers[index]]), "GZIP"
            ),
            lambda: packed,
        )


__all__ = ["Member", "Members", "members"]
