"""WAV files: where the samples lie, and of which kind they are."""

import os
import struct
from typing import NamedTuple

import numpy as np

from lcss_tf.data.files import permission
from lcss_tf.errors import UsageError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_DTYPES = {(_PCM, 8): "u1", (_PCM, 16): "<i2", (_PCM, 32): "<i4", (_FLOAT, 32): "<f4"}


class Wav(NamedTuple):
    """rate: frames a second. channels: samples in a frame. frames: how many. dtype: of a sample.
    offset: of the first sample, in bytes."""

    rate: int
    channels: int
    frames: int
    dtype: np.dtype
    offset: int


def read_header(path):
    """The `Wav` of a file.

    Raises:
      ValueError: not such a file, truncated, or samples that are not 8, 16 or 32 bits.
      OSError: it cannot be read.
    """
    size = os.path.getsize(path)
    layout = None
    with permission(path), open(path, "rb") as file:
        riff = file.read(12)
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            raise UsageError(f"{path} is not a WAV file: it begins with {riff[:12]!r}.")
        while head := file.read(8):
            if len(head) < 8:
                break
            name, length = head[:4], struct.unpack("<I", head[4:])[0]
            if name == b"fmt ":
                layout = _layout(file.read(length), path)
            elif name == b"data" and layout is not None:
                return _checked(path, layout, file.tell(), length, size)
            else:
                file.seek(length + length % 2, os.SEEK_CUR)
    raise UsageError(f"{path} holds no samples: the WAV file is truncated. Copy it again.")


def _layout(fmt, path):
    if len(fmt) < 16:
        raise UsageError(f"{path} holds no samples: the WAV file is truncated. Copy it again.")
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", fmt[:16])
    if code == _EXTENSIBLE and len(fmt) >= 26:
        code = struct.unpack("<H", fmt[24:26])[0]
    if (code, bits) not in _DTYPES:
        raise UsageError(
            f"{path} holds samples of {bits} bits (format {code}); 8, 16 or 32-bit PCM and 32-bit "
            "floats are read. Convert it: ffmpeg -i in.wav -c:a pcm_s16le out.wav."
        )
    return rate, channels, np.dtype(_DTYPES[code, bits])


def _checked(path, layout, offset, length, size):
    rate, channels, dtype = layout
    if offset + length > size:
        raise UsageError(
            f"{path} is truncated: {length:,} bytes of samples were promised, and {size - offset:,}"
            " are there. Copy it again."
        )
    return Wav(rate, channels, length // (channels * dtype.itemsize), dtype, offset)
