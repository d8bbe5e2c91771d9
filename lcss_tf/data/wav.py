"""WAV files: where their samples lie, and what they are.

SciPy reads them too, but not those of a pipe, which do not know their own length, and it maps no 24
bits. `tests/robustness/wav.py` holds the two against each other.
"""

import os
import struct
from typing import BinaryIO, NamedTuple

import numpy as np

from lcss_tf.data.files import describe
from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.typing import Array

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_CODECS = {
    0x0002: "ADPCM",
    0x0006: "A-law",
    0x0007: "µ-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG",
    0x0055: "MP3",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
}
# The end of the identifier of an extensible format; its first two bytes are the format's number.
_GUID = bytes.fromhex("00001000800000aa00389b71")
# Lengths that programs write where they cannot know them: FFmpeg, SoX and others, into a pipe.
_UNKNOWN_LENGTHS = (0x7FFFFFFF, 0x7FFFF000, 0x80000000, 2**64 - 1)
_NEARLY_ALL = range(0xFFFFFF00, 2**32)  # the largest length, often less that of the header
_TYPES = {(_PCM, 1): "u1", (_PCM, 2): "i2", (_PCM, 3): "i4", (_PCM, 4): "i4", (_PCM, 8): "i8",
          (_FLOAT, 4): "f4", (_FLOAT, 8): "f8"}  # fmt: skip
_CONVERT = "Convert it: ffmpeg -i in.wav -c:a pcm_s16le out.wav."


class Recording(NamedTuple):
    """The samples of a WAV file.

    rate: in Hz. samples: [n, channels], mapped into memory, but for 24 bits and big-endian files,
    which are converted; 24 bits are the upper ones of int32, as in SciPy. offset: of the first
    sample in the file, in bytes; None: the samples are not the file's own bytes.
    """

    rate: int
    samples: Array
    offset: int | None


class _Format(NamedTuple):
    tag: int
    channels: int
    rate: int
    frame_bytes: int
    bits: int


def read_wav(path: str) -> Recording:
    """The `Recording` in a WAV file: RIFF, RIFX (big-endian) or RF64.

    Chunks that hold no samples are skipped. Samples are PCM of 8 to 64 bits or floats, also in an
    extensible format. A file that came through a pipe, which says no length, is read to its end; of
    an incomplete last sample nothing is kept.

    Raises:
      UsageError: not such a file, truncated, compressed, or with an impossible header; says which,
        and how to convert it.
      OSError: it cannot be read.
    """
    with permission(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        order, form, offset, length = _chunks(file, path, size)
    dtype = _dtype(form, path, order)
    frames = length // form.frame_bytes
    if not frames:
        raise UsageError(f"{path} holds no samples. It may be truncated: copy it again.")
    if form.frame_bytes == 3 * form.channels:
        raw = np.memmap(path, np.uint8, "r", offset, (frames, form.channels, 3))
        whole = np.zeros((frames, form.channels, 4), np.uint8)
        part = slice(1, 4) if order == "<" else slice(0, 3)
        whole[..., part] = raw
        samples, place = whole.view(dtype)[..., 0], None
    else:
        samples = np.memmap(path, dtype, "r", offset, (frames, form.channels))
        place = offset if dtype.isnative else None
    return Recording(form.rate, samples.astype(dtype.newbyteorder("="), copy=False), place)


def _chunks(file: BinaryIO, path: str, size: int) -> tuple[str, _Format, int, int]:
    """(byte order, the format, where the samples begin, how many bytes they are)."""
    head = file.read(12)
    kind = head[:4]
    if len(head) < 12 or kind not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:] != b"WAVE":
        raise UsageError(
            f"{path} is no WAV file: it is {describe(head + file.read(500))}. {_CONVERT}"
        )
    order = ">" if kind == b"RIFX" else "<"
    (riff,) = struct.unpack(f"{order}I", head[4:8])
    honest = riff + 8 == size
    form, data, long_length = None, None, None
    place = 12
    while form is None or data is None:
        file.seek(place)
        name_size = file.read(8)
        if len(name_size) < 8:
            missing = "no format" if form is None else "no samples"
            raise UsageError(
                f"{path} ends after {size:,} bytes with {missing} in it. It may be truncated: copy "
                "it again."
            )
        name, (length,) = name_size[:4], struct.unpack(f"{order}I", name_size[4:])
        place += 8
        if name == b"data":
            if length == 0xFFFFFFFF and long_length is not None:
                length = long_length
            if length in _UNKNOWN_LENGTHS or length in _NEARLY_ALL or (length == 0 and not honest):
                length = size - place
            if place + length > size:
                raise UsageError(
                    f"{path} is truncated: it should hold {length:,} bytes of samples, and "
                    f"{size - place:,} are there. Copy it again."
                )
            data = (place, length)
        elif name == b"fmt ":
            form = _format(file.read(min(length, 64)), order, path)
        elif name == b"ds64":
            lengths = file.read(16)
            if len(lengths) == 16:
                long_length = struct.unpack(f"{order}QQ", lengths)[1]
        place += length + length % 2
    return order, form, *data


def _format(content: bytes, order: str, path: str) -> _Format:
    if len(content) < 16:
        raise UsageError(
            f"{path} is truncated: its format takes 16 bytes, and {len(content)} are there. Copy "
            "it again."
        )
    tag, channels, rate, _, frame_bytes, bits = struct.unpack(f"{order}HHIIHH", content[:16])
    if tag == _EXTENSIBLE:
        if len(content) < 40 or content[28:40] != _GUID:
            raise UsageError(f"{path} has an extensible format that is not known. {_CONVERT}")
        (tag,) = struct.unpack(f"{order}H", content[24:26])
    return _Format(tag, channels, rate, frame_bytes, bits)


def _dtype(form: _Format, path: str, order: str) -> np.dtype:
    if form.tag not in (_PCM, _FLOAT):
        codec = _CODECS.get(form.tag, f"of format {form.tag:#06x}")
        raise UsageError(
            f"{path} is compressed ({codec}), and samples are read as PCM or floats. {_CONVERT}"
        )
    if not form.channels or not form.rate or form.frame_bytes % max(1, form.channels):
        raise UsageError(
            f"{path} has an impossible header: {form.channels} channels at {form.rate} Hz, "
            f"{form.frame_bytes} bytes for a sample of all. Write the file again, or remove it."
        )
    width = form.frame_bytes // form.channels
    what = "floats" if form.tag == _FLOAT else "integers"
    if (form.tag, width) not in _TYPES or not 0 < form.bits <= 8 * width:
        raise UsageError(
            f"{path} holds {what} of {form.bits} bits in {width} bytes, and integers of 8, 16, 24, "
            f"32 and 64 bits or floats of 32 and 64 bits are read. {_CONVERT}"
        )
    return np.dtype(order + _TYPES[form.tag, width])


__all__ = ["Recording", "read_wav"]
