"""Where each record of a TFRecord file lies: random access into files made for reading in a row.

A record is its length (8 bytes, little-endian), a checksum of the length (4), the data, and a
checksum of the data (4). Lengths are checked here, so that a file which was not written to its
end is known before training; TensorFlow's own reader would find out when it gets there.
"""

import mmap
import os
import struct

import numpy as np

from lcss_tf.data.files import permission
from lcss_tf.errors import UsageError

_HEAD, _TAIL = 12, 4  # bytes before and after a record's data
_CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, its bits reversed


def record_index(path):
    """Offsets and lengths of the data of all records of an uncompressed file: int64 [n] each.

    Raises:
      ValueError: the file is empty, not of this format, or was not written to its end.
      OSError: it cannot be read.
    """
    size = os.path.getsize(path)
    if size == 0:
        raise UsageError(f"The TFRecord file {path} is empty. {_REMEDY}")
    offsets, lengths, place = [], [], 0
    with (
        permission(path),
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        while place < size:
            head = data[place : place + _HEAD]
            length = _length(head)
            if length is None or place + _HEAD + length + _TAIL > size:
                broken = "was not written to its end" if offsets else "is no TFRecord file"
                raise UsageError(
                    f"{path} {broken}: record {len(offsets)}, at byte {place:,} of {size:,}, is "
                    f"not whole. {_REMEDY}"
                )
            offsets.append(place + _HEAD)
            lengths.append(length)
            place += _HEAD + length + _TAIL
    return np.array(offsets, np.int64), np.array(lengths, np.int64)


_REMEDY = "Write or copy it again."


def _length(head):
    """The length in a record's head; None if the head is not whole."""
    if len(head) < _HEAD:
        return None
    length, checksum = struct.unpack("<QI", head)
    return length if masked_crc(head[:8]) == checksum else None


def masked_crc(data):
    """The checksum of TFRecord files: CRC-32C, rotated, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table_entry(value):
    for _ in range(8):
        value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
    return value


_TABLE = [_table_entry(byte) for byte in range(256)]
