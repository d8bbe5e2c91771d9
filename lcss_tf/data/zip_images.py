"""The members of a ZIP archive, found by offset and unpacked in TensorFlow's graph."""

import os
import struct
import zipfile
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.data.files import permission
from lcss_tf.data.reading import read_range
from lcss_tf.errors import UsageError

_LOCAL_HEADER = 30  # bytes, before the name and the extra field
_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # the header that makes a deflated member a gzip file
_MAX_MEMBER = 2**30  # bytes of one member when unpacked
_ENCRYPTED = 1  # bit of the flags


class Member(NamedTuple):
    """name; offset and packed: its bytes in the archive; deflated; trailer: of a gzip file."""

    name: str
    offset: int
    packed: int
    deflated: bool
    trailer: bytes


def members(path, wanted):
    """The `Member`s of an archive whose names `wanted` accepts, sorted by name.

    Nothing is unpacked to the disk.

    Raises:
      ValueError: not an archive, or a member that leads out of it, is encrypted, packed by another
        method, or a decompression bomb.
    """
    try:
        with permission(path), zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            found = [info for info in archive.infolist() if not info.is_dir()]
            chosen = [info for info in found if wanted(info.filename)]
            return sorted(_member(path, info, file) for info in chosen)
    except zipfile.BadZipFile as error:
        raise UsageError(f"{path} is no ZIP archive, or is truncated ({error}).") from error


def _member(path, info, file):
    where = f"The member {info.filename!r} of {path}"
    parts = info.filename.replace("\\", "/").split("/")
    if info.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise UsageError(f"{where} has a path that leads out of the archive. Do not trust it.")
    if info.flag_bits & _ENCRYPTED:
        raise UsageError(f"{where} is encrypted. Pack the images again without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(f"{where} is packed by another method than stored or deflated.")
    if info.file_size > _MAX_MEMBER:
        raise UsageError(f"{where} would unpack to {info.file_size:,} bytes: a bomb.")
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise UsageError(f"{where} has no header: the archive is damaged.")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    offset = info.header_offset + _LOCAL_HEADER + name_length + extra_length
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    trailer = struct.pack("<II", info.CRC, info.file_size)
    return Member(info.filename, offset, info.compress_size, deflated, trailer)


class ZipContents:
    """The members of one archive by index.

    Args:
      path: of the archive.
      chosen: a list of `Member`s.
    """

    def __init__(self, path, chosen):
        with tf.init_scope(), tf.device("CPU:0"):
            self._path = tf.constant(path)
            self._size = tf.constant(os.path.getsize(path), tf.int64)
            self._offsets = tf.constant(np.array([m.offset for m in chosen], np.int64))
            self._packed = tf.constant(np.array([m.packed for m in chosen], np.int64))
            self._deflated = tf.constant([m.deflated for m in chosen])
            self._trailers = tf.constant([m.trailer for m in chosen])

    def content(self, index):
        """The bytes of a member, unpacked: a string tensor []."""
        packed = read_range(self._path, self._offsets[index], self._packed[index], self._size)
        return tf.cond(
            self._deflated[index],
            lambda: tf.io.decode_compressed(
                tf.strings.join([_GZIP, packed, self._trailers[index]]), "GZIP"
            ),
            lambda: packed,
        )
