"""Headers of WAV files, each read as SciPy reads it, or refused by its name."""

import io
import struct
import warnings

import numpy as np
from scipy.io import wavfile

from lcss_tf.data import Audio
from lcss_tf.data.wav import read_wav
from tests.robustness.case import Case
from tests.robustness.refusals import refusal

FRAMES = 48
GUID_END = bytes.fromhex("000000001000800000aa00389b71")[2:]


def samples(dtype, channels=1):
    """Raw samples [FRAMES, channels] over the whole range of a type."""
    generator = np.random.default_rng(7)
    if np.dtype(dtype).kind == "f":
        return generator.uniform(-1, 1, (FRAMES, channels)).astype(dtype)
    limits, native = np.iinfo(dtype), np.dtype(dtype).newbyteorder("=")
    shape = (FRAMES, channels)
    return generator.integers(limits.min, limits.max, shape, native, endpoint=True).astype(dtype)


def chunk(name, content, order="<", length=None):
    length = len(content) if length is None else length
    return name + struct.pack(f"{order}I", length) + content + b"\0" * (len(content) % 2)


def wave_format(tag, channels, rate, width, bits=None, order="<", extra=b"", block=None):
    block = channels * width if block is None else block
    bits = 8 * width if bits is None else bits
    return struct.pack(f"{order}HHIIHH", tag, channels, rate, rate * block, block, bits) + extra


def extensible(tag, channels, rate, width, bits=None):
    extra = struct.pack("<HHI", 22, 8 * width if bits is None else bits, 0)
    extra += struct.pack("<HH", tag, 0) + GUID_END
    return wave_format(0xFFFE, channels, rate, width, None, extra=extra)


def riff(*chunks, kind=b"RIFF", order="<", length=None, form=b"WAVE"):
    content = form + b"".join(chunks)
    length = len(content) if length is None else length
    return kind + struct.pack(f"{order}I", length) + content


def pcm(dtype="<i2", channels=1, tag=1, rate=8_000):
    """(format chunk, data chunk, samples) of plain samples."""
    raw = samples(dtype, channels)
    form = chunk(b"fmt ", wave_format(tag, channels, rate, raw.dtype.itemsize))
    return form, chunk(b"data", raw.tobytes()), raw


def as_scipy(content, raw=None):
    """The samples of a file, as SciPy reads them, or `raw` where SciPy cannot."""

    def check(folder):
        (folder / "a.wav").write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rate, expected = (8_000, raw) if raw is not None else wavfile.read(io.BytesIO(content))
        got = read_wav(str(folder / "a.wav"))
        expected = np.asarray(expected).reshape(len(expected), -1)
        assert got.rate == rate
        assert got.samples.dtype == expected.dtype.newbyteorder("=")
        assert np.array_equal(got.samples, expected)
        return "equals SciPy" if raw is None else "equals what was written"

    return check


def refused(content, *words):
    """The file is refused by its path and these words, and is left out where it is asked to be."""

    def check(folder):
        (folder / "bad.wav").write_bytes(content)
        refusal(Audio(folder, window=8).require, "bad.wav", *words)
        form, data, _ = pcm()
        (folder / "good.wav").write_bytes(riff(form, data))
        data = Audio(folder, window=8, on_bad_example="skip", test_every=3)
        assert data.size() + data.size("test") == FRAMES // 8
        return "refused by name; left out on request"

    return check


def deep(channels=1, order="<"):
    """24 bits in three bytes: (bytes, the same in the upper bits of int32)."""
    wide = samples(np.int32, channels) & ~0xFF
    content = wide.astype(f"{order}i4").view(np.uint8).reshape(FRAMES, channels, 4)
    kept = content[..., 1:] if order == "<" else content[..., :3]
    return kept.tobytes(), wide


def _types():
    group = "WAV samples"
    for dtype, name in (("u1", "8"), ("<i2", "16"), ("<i4", "32"), ("<i8", "64")):
        for channels in (1, 2):
            form, data, _ = pcm(dtype, channels)
            yield Case(
                group, f"PCM of {name} bits, {channels} channels", as_scipy(riff(form, data))
            )
    for dtype in ("<f4", "<f8"):
        form, data, _ = pcm(dtype, 2, tag=3)
        yield Case(group, f"floats {dtype}", as_scipy(riff(form, data)))
    for channels in (1, 2):
        content, _ = deep(channels)
        form = chunk(b"fmt ", wave_format(1, channels, 8_000, 3))
        yield Case(
            group,
            f"PCM of 24 bits, {channels} channels",
            as_scipy(riff(form, chunk(b"data", content))),
        )
    raw = samples("<i4") & ~0xFF
    form = chunk(b"fmt ", wave_format(1, 1, 8_000, 4, bits=24))
    yield Case(group, "24 bits in four bytes", as_scipy(riff(form, chunk(b"data", raw.tobytes()))))
    raw = samples("<i2") & ~0xF
    form = chunk(b"fmt ", wave_format(1, 1, 8_000, 2, bits=12))
    yield Case(group, "12 bits in two bytes", as_scipy(riff(form, chunk(b"data", raw.tobytes()))))
    form, data, _ = pcm("<i2", 6)
    yield Case(group, "six channels", as_scipy(riff(form, data)))


def _forms():
    group = "WAV formats"
    for tag, dtype, name in ((1, "<i2", "PCM"), (3, "<f4", "floats")):
        raw = samples(dtype, 2)
        form = chunk(b"fmt ", extensible(tag, 2, 8_000, raw.dtype.itemsize))
        yield Case(
            group, f"extensible, {name}", as_scipy(riff(form, chunk(b"data", raw.tobytes())))
        )
    content, wide = deep()
    form = chunk(b"fmt ", extensible(1, 1, 8_000, 3))
    yield Case(group, "extensible, 24 bits", as_scipy(riff(form, chunk(b"data", content)), wide))
    raw = samples("<i2")
    form = chunk(b"fmt ", wave_format(1, 1, 8_000, 2, extra=struct.pack("<H", 0)))
    yield Case(group, "a format of 18 bytes", as_scipy(riff(form, chunk(b"data", raw.tobytes()))))
    for dtype in (">i2", ">i4"):
        raw = samples(dtype)
        form = chunk(b"fmt ", wave_format(1, 1, 8_000, raw.dtype.itemsize, order=">"), ">")
        whole = riff(form, chunk(b"data", raw.tobytes(), ">"), kind=b"RIFX", order=">")
        yield Case(group, f"RIFX, {dtype}", as_scipy(whole))
    content, wide = deep(order=">")
    form = chunk(b"fmt ", wave_format(1, 1, 8_000, 3, order=">"), ">")
    whole = riff(form, chunk(b"data", content, ">"), kind=b"RIFX", order=">")
    yield Case(group, "RIFX, 24 bits", as_scipy(whole, wide))
    form, data, raw = pcm()
    lengths = struct.pack("<QQQI", 80 + raw.nbytes, raw.nbytes, FRAMES, 0)
    ds64 = chunk(b"ds64", lengths)
    body = b"data" + struct.pack("<I", 0xFFFFFFFF) + raw.tobytes()
    for kind in (b"RF64", b"BW64"):
        whole = riff(ds64, form, body, kind=kind, length=0xFFFFFFFF)
        name = kind.decode()
        yield Case(group, name, as_scipy(whole, None if kind == b"RF64" else raw))
    tail = chunk(b"LIST", b"INFOafter")
    whole = riff(ds64, form, body, tail, kind=b"RF64", length=0xFFFFFFFF)
    yield Case(group, "RF64 with a chunk behind", as_scipy(whole, raw))


def _chunk_orders():
    group = "WAV chunks"
    form, data, raw = pcm()
    info = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 4) + b"abc\0")
    odd = chunk(b"note", b"odd")
    yield Case(group, "LIST before the samples", as_scipy(riff(form, info, data)))
    yield Case(group, "LIST behind the samples", as_scipy(riff(form, data, info)))
    yield Case(group, "LIST before the format", as_scipy(riff(info, form, data)))
    yield Case(group, "a chunk of odd length", as_scipy(riff(form, odd, data)))
    yield Case(group, "chunks of odd length all round", as_scipy(riff(odd, form, odd, data, odd)))
    yield Case(group, "an empty chunk", as_scipy(riff(form, chunk(b"JUNK", b""), data)))
    yield Case(group, "a fact chunk", as_scipy(riff(form, chunk(b"fact", bytes(4)), data)))
    yield Case(group, "samples before the format", as_scipy(riff(data, form), raw))
    raw = samples("u1")[:-1]
    form = chunk(b"fmt ", wave_format(1, 1, 8_000, 1))
    whole = riff(form, chunk(b"data", raw.tobytes()), info)
    yield Case(group, "samples of odd length", as_scipy(whole))


def _streams():
    group = "WAV lengths"
    form, _, raw = pcm()
    for length in (0xFFFFFFFF, 0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 44):
        for outer in (0xFFFFFFFF, 0):
            body = b"data" + struct.pack("<I", length) + raw.tobytes()
            name = f"a pipe's: {length:#x} in {outer:#x}"
            yield Case(group, name, as_scipy(riff(form, body, length=outer), raw))
    body = b"data" + struct.pack("<I", 0xFFFFFFFF) + raw.tobytes() + b"\1"
    name = "a pipe's that ends within a sample"
    yield Case(group, name, as_scipy(riff(form, body, length=0xFFFFFFFF), raw))
    form, data, _ = pcm()
    yield Case(group, "a wrong length of the whole", as_scipy(riff(form, data, length=7), raw))
    words = ("is truncated", f"{raw.nbytes:,}", "Copy it again")
    yield Case(group, "truncated samples", refused(riff(form, data)[:-20], *words))
    empty = riff(form, chunk(b"data", b""))
    yield Case(group, "no samples", refused(empty, "holds no samples"))
    info = chunk(b"LIST", b"INFO")
    yield Case(
        group, "no samples, a chunk", refused(riff(form, chunk(b"data", b""), info), "no samples")
    )
    yield Case(group, "no samples chunk", refused(riff(form), "no samples"))
    yield Case(group, "no format", refused(riff(data), "no format"))
    yield Case(
        group, "a format cut short", refused(riff(chunk(b"fmt ", bytes(9)), data), "16 bytes")
    )


def _impossible():
    group = "WAV headers that are refused"
    _, data, _ = pcm()

    def with_format(content):
        return riff(chunk(b"fmt ", content), data)

    for channels, rate, width, name in ((0, 8_000, 2, "0 channels"), (1, 0, 2, "0 Hz")):
        content = with_format(wave_format(1, channels, rate, width))
        yield Case(group, name, refused(content, name, "impossible header"))
    content = with_format(wave_format(1, 2, 8_000, 2, block=3))
    yield Case(group, "frames of 3 bytes in 2 channels", refused(content, "impossible header"))
    content = with_format(wave_format(1, 1, 8_000, 2, block=0, bits=16))
    yield Case(group, "frames of no bytes", refused(content, "16 bits in 0 bytes"))
    content = with_format(wave_format(1, 1, 8_000, 2, bits=40))
    yield Case(group, "40 bits in two bytes", refused(content, "40 bits in 2 bytes", "ffmpeg"))
    content = with_format(wave_format(3, 1, 8_000, 2))
    yield Case(group, "half floats", refused(content, "floats of 16 bits", "ffmpeg"))
    for tag, name in ((2, "ADPCM"), (6, "A-law"), (7, "µ-law"), (0x55, "MP3"), (0x9999, "0x9999")):
        content = with_format(wave_format(tag, 1, 8_000, 1))
        yield Case(group, f"compressed: {name}", refused(content, "compressed", name, "ffmpeg"))
    extra = struct.pack("<HHI", 22, 16, 0) + bytes(16)
    content = with_format(wave_format(0xFFFE, 1, 8_000, 2, extra=extra))
    yield Case(group, "an unknown extensible format", refused(content, "extensible", "ffmpeg"))
    others = {
        "empty": (b"", "empty"),
        "text": (b"no sound at all", "a text"),
        "MP3": (b"ID3\4" + bytes(60), "an MP3 recording"),
        "FLAC": (b"fLaC" + bytes(60), "a FLAC recording"),
        "Ogg": (b"OggS" + bytes(60), "an Ogg recording"),
        "AIFF": (b"FORM\0\0\0\x10AIFF" + bytes(60), "an AIFF recording"),
        "AVI": (b"RIFF" + bytes(4) + b"AVI " + bytes(60), "an AVI video"),
        "a Git LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid x\n",
            "git lfs pull",
        ),
        "a web page": (b"<!DOCTYPE html><html>\n", "a web page"),
        "zeros": (bytes(200), "nothing but zeros"),
    }
    for name, (content, words) in others.items():
        yield Case("Files that are no WAV", name, refused(content, "no WAV file", words))


def cases():
    """All of them."""
    for some in (_types, _forms, _chunk_orders, _streams, _impossible):
        yield from some()
