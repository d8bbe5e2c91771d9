"""Image files of every kind that people have: the same pixels as Pillow's, or refused by name."""

import functools
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from lcss_tf.data.decoding import BadImageError, read_image
from tests.data.helpers import encoded
from tests.robustness.case import Case

EQUAL = "equal Pillow in 1, 3 and 4 channels"
REFUSED = "refused by name"


def cases():
    """Every case."""
    makers = (_jpegs, _exif, _pngs, _png_metadata, _webps, _gifs, _bmps, _tiffs, _others)
    for maker in makers:
        for (group, name), content in maker().items():
            yield Case(group, name, functools.partial(_equals_pillow, content))
    for (group, name), (content, reason) in _bad().items():
        yield Case(group, name, functools.partial(_is_refused, content, reason))


def _equals_pillow(content, folder):
    del folder
    for channels in (1, 3, 4):
        got, expected = read_image(content, channels), by_pillow(content, channels)
        assert got.shape == expected.shape
        difference = np.abs(got.astype(int) - expected).max()
        assert difference == 0, f"{channels} channels differ by up to {difference} levels"
    return EQUAL


def by_pillow(content, channels):
    """What Pillow makes of an image, by the documented rules of depth, alpha and orientation."""
    image = Image.open(io.BytesIO(content))
    if image.mode.startswith("I"):
        exif, levels = image.getexif(), np.asarray(image) >> 8
        image = Image.fromarray(levels.astype(np.uint8))
        image.getexif().update(exif)
    image = ImageOps.exif_transpose(image).convert("RGBA")
    if channels < 4:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB" if channels == 3 else "L")
    return np.asarray(image).reshape(image.height, image.width, channels)


def _is_refused(content, reason, folder):
    del folder
    for channels in (1, 3, 4):
        with pytest.raises(BadImageError, match=reason):
            read_image(content, channels)
    return REFUSED


def _noise(*shape):
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


def _photo(mode="RGB", size=(37, 29)):
    """Smooth colours with some noise, as a photograph has."""
    coarse = Image.fromarray(_noise(5, 6, 3)).resize(size, Image.Resampling.BICUBIC)
    fine = np.asarray(coarse).astype(int) + _noise(size[1], size[0], 3) // 16
    return Image.fromarray(np.clip(fine, 0, 255).astype(np.uint8)).convert(mode)


def _with_alpha(size=(20, 15)):
    rgba = np.dstack([np.asarray(_photo(size=size)), _noise(size[1], size[0])])
    rgba[:3, :, 3], rgba[3:6, :, 3] = 0, 255
    return Image.fromarray(rgba)


def _few():
    """A picture of four colours."""
    return _photo(size=(17, 13)).quantize(4)


# JPEG.


def _jpegs():
    group, made = "JPEG coding", {}
    for sampling in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
        for progressive in (False, True):
            kind = "progressive" if progressive else "baseline"
            made[group, f"{kind} {sampling}"] = encoded(
                _photo(), "JPEG", subsampling=sampling, progressive=progressive, quality=85
            )
    plain = encoded(_photo(), "JPEG")
    made |= {
        (group, "quality 5"): encoded(_photo(), "JPEG", quality=5),
        (group, "noise at quality 100"): encoded(
            Image.fromarray(_noise(33, 47, 3)), "JPEG", quality=100
        ),
        (group, "restart markers"): encoded(_photo(), "JPEG", restart_marker_blocks=2),
        (group, "progressive with restart markers"): encoded(
            _photo(), "JPEG", progressive=True, restart_marker_rows=1
        ),
        (group, "optimised codes"): encoded(_photo(), "JPEG", optimize=True),
        (group, "one pixel"): encoded(_photo(size=(1, 1)), "JPEG"),
        (group, "a row of pixels"): encoded(_photo(size=(50, 1)), "JPEG"),
        (group, "bytes after the end"): plain + _noise(500).tobytes(),
        (group, "a second picture after the end"): encoded(
            _photo(), "MPO", save_all=True, append_images=[_photo(size=(9, 9))]
        ),
    }
    group, cmyk = "JPEG colours", encoded(_photo("CMYK"), "JPEG", quality=90)
    adobe = cmyk.index(b"\xff\xee")
    made |= {
        (group, "grey"): encoded(_photo("L"), "JPEG"),
        (group, "RGB without conversion"): encoded(_photo(), "JPEG", keep_rgb=True),
        (group, "CMYK, inverted by Adobe"): cmyk,
        (group, "CMYK, not inverted"): cmyk[:adobe] + cmyk[adobe + 16 :],
        (group, "YCCK"): cmyk[: adobe + 15] + b"\2" + cmyk[adobe + 16 :],
        (group, "a colour profile"): encoded(_photo(), "JPEG", icc_profile=_profile()),
    }
    return made


def _segment(marker, data):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def _tiff(orientation, endian=">", gap=0, form="H", fields=((0x010F, 2, 4, b"abc\0"),)):
    """A TIFF structure with an orientation, its directory `gap` bytes behind its head."""
    pack = lambda kinds, *values: struct.pack(endian + kinds, *values)
    value = pack(form, orientation).ljust(4, b"\0")
    entries = [*fields, (0x0112, {"H": 3, "I": 4}[form], 1, value)]
    directory = pack("H", len(entries))
    directory += b"".join(pack("HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)
    head = {">": b"MM", "<": b"II"}[endian] + pack("HI", 42, 8 + gap)
    return head + bytes(gap) + directory


def _with(content, *segments, after_first=True):
    """A JPEG with more segments, behind its first or before it."""
    place = 4 + struct.unpack(">H", content[4:6])[0] if after_first else 2
    return content[:place] + b"".join(segments) + content[place:]


def _exif():
    group, made = "JPEG orientation", {}
    plain = encoded(_photo(), "JPEG")
    exif = lambda *args, **kwargs: _segment(0xE1, b"Exif\0\0" + _tiff(*args, **kwargs))
    for turned in range(1, 9):
        made[group, f"{turned}, big-endian"] = _with(plain, exif(turned))
        made[group, f"{turned}, little-endian"] = _with(plain, exif(turned, "<"), after_first=False)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    xmp = _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)
    many = [(0x8000 + k, 3, 1, bytes(4)) for k in range(200)]
    return made | {
        (group, "behind 5,002 bytes of APP13"): _with(
            plain, _segment(0xED, _noise(5_000).tobytes()), exif(6)
        ),
        (group, "behind 60,000 bytes of comments"): _with(
            plain, _segment(0xFE, bytes(60_000)), exif(8)
        ),
        (group, "in a directory at 6,000"): _with(plain, exif(6, gap=5_992)),
        (group, "behind 200 other fields"): _with(plain, exif(5, fields=many)),
        (group, "a long number"): _with(plain, exif(6, form="I")),
        (group, "9, which there is not"): _with(plain, exif(9)),
        (group, "two numbers in the field"): _with(
            plain, exif(6).replace(b"\x01\x12\0\3\0\0\0\1", b"\x01\x12\0\3\0\0\0\2")
        ),
        (group, "a directory beyond the end"): _with(
            plain, _segment(0xE1, b"Exif\0\0II*\0" + b"\xff" * 40)
        ),
        (group, "no TIFF in it"): _with(plain, _segment(0xE1, b"Exif\0\0" + bytes(30))),
        (group, "fill bytes before the marker"): _with(plain, b"\xff\xff\xff" + exif(3)),
        (group, "named in a comment only"): _with(plain, _segment(0xFE, exif(6))),
        (group, "two segments"): _with(plain, exif(6), exif(3)),
        (group, "in XMP"): _with(plain, xmp),
        (group, "in Exif and XMP"): _with(plain, exif(3), xmp),
        (group, "of a grey picture"): _with(encoded(_photo("L"), "JPEG"), exif(6)),
        (group, "of a CMYK picture"): _with(
            encoded(_photo("CMYK"), "JPEG"), exif(6), after_first=False
        ),
    }


# PNG.


def chunk(name, data=b""):
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIDE = 9
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def _png(depth, colour, before=b"", after=b"", interlaced=False, split=None, image=None):
    """A PNG of noise, built by hand."""
    sizes = [(_SIDE, _SIDE)]
    if interlaced:
        sizes = [(-(-(_SIDE - x) // dx), -(-(_SIDE - y) // dy)) for x, y, dx, dy in _ADAM7]
    rows = b""
    for width, height in sizes:
        length = (width * _SAMPLES[colour] * depth + 7) // 8
        rows += b"".join(b"\0" + _noise(height, length)[k].tobytes() for k in range(height))
    data = zlib.compress(rows) if image is None else image
    parts = [data[k : k + (split or len(data))] for k in range(0, len(data), split or len(data))]
    return (
        _SIGNATURE
        + chunk(b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, depth, colour, 0, 0, interlaced))
        + before
        + b"".join(chunk(b"IDAT", part) for part in parts)
        + after
        + chunk(b"IEND")
    )


def _palette(depth):
    return chunk(b"PLTE", _noise(2**depth, 3).tobytes())


def _pngs():
    group, made = "PNG pixels", {}
    for depth in (1, 2, 4, 8, 16):
        made[group, f"grey of {depth} bits"] = _png(depth, 0)
        made[group, f"grey of {depth} bits, interlaced"] = _png(depth, 0, interlaced=True)
    for depth in (1, 2, 4, 8):
        clear = chunk(b"tRNS", bytes([0, 100, 200, 50][: 2**depth]))
        made[group, f"palette of {depth} bits"] = _png(depth, 3, _palette(depth))
        made[group, f"palette of {depth} bits, clear"] = _png(depth, 3, _palette(depth) + clear)
        made[group, f"palette of {depth} bits, clear, interlaced"] = _png(
            depth, 3, _palette(depth) + clear, interlaced=True
        )
    for depth in (8, 16):
        for colour, name in ((2, "RGB"), (4, "grey with alpha"), (6, "RGBA")):
            made[group, f"{name} of {depth} bits"] = _png(depth, colour)
    return made | {
        (group, "grey of 1 bit, one level clear"): _png(1, 0, chunk(b"tRNS", b"\0\1")),
        (group, "grey of 8 bits, one level clear"): _png(
            8, 0, chunk(b"tRNS", b"\0" + _noise(_SIDE, _SIDE)[0, :1].tobytes())
        ),
        (group, "RGB of 8 bits, one colour clear"): _png(
            8, 2, chunk(b"tRNS", struct.pack(">HHH", *_noise(_SIDE, 3 * _SIDE)[0, :3]))
        ),
        (group, "RGBA, interlaced"): _png(8, 6, interlaced=True),
        (group, "pixels in chunks of 7 bytes"): _png(8, 2, split=7),
        (group, "an animation"): encoded(
            _photo(), "PNG", save_all=True, append_images=[_photo("L").convert("RGB")]
        ),
    }


def _text(length):
    return chunk(b"iTXt", b"Comment\0\0\0\0\0" + b"x" * length)


def _png_metadata():
    group = "PNG chunks"
    srgb, gamma = chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 45_455))
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    clear = _palette(2) + chunk(b"tRNS", bytes([0, 100, 200, 50]))
    exif = chunk(b"eXIf", _tiff(6))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp))
    green = zlib.compress((b"\0" + bytes([0, 255, 0]) * _SIDE) * _SIDE)
    made = {
        (group, "pure green with sRGB"): _png(8, 2, srgb, image=green),
        (group, "pure green without"): _png(8, 2, image=green),
        (group, "sRGB and gAMA"): _png(8, 2, srgb + gamma),
        (group, "a gamma of 1"): _png(8, 2, linear),
        (group, "a gamma and alpha"): _png(8, 6, gamma),
        (group, "a gamma and a palette"): _png(2, 3, gamma + _palette(2)),
        (group, "a colour profile"): encoded(_photo(), "PNG", icc_profile=_profile()),
        (group, "clear colours behind 5,000 bytes of text"): _png(2, 3, _text(5_000) + clear),
        (group, "clear colours between long texts"): _png(
            2, 3, _text(90_000) + clear + _text(90_000)
        ),
        (group, "clear colours behind 300 chunks"): _png(2, 3, 300 * _text(1) + clear),
        (group, "clear colours named in a text only"): _png(
            2, 3, _palette(2) + chunk(b"tEXt", b"a\0tRNS")
        ),
        (group, "an unknown chunk"): _png(8, 2, chunk(b"abCd", bytes(50))),
        (group, "a background"): _png(8, 6, chunk(b"bKGD", bytes(6))),
        (group, "orientation before the pixels"): _png(8, 2, exif),
        (group, "orientation behind the pixels"): _png(8, 2, after=exif),
        (group, "orientation behind the pixels and a long text"): _png(
            8, 2, after=exif + _text(90_000)
        ),
        (group, "orientation in compressed XMP"): _png(8, 2, xmp),
        (group, "orientation, 16 bits of grey"): _png(16, 0, exif),
        (group, "orientation and clear colours"): _png(2, 3, clear + exif),
        (group, "a damaged eXIf"): _png(8, 2, chunk(b"eXIf", b"MM\0*" + b"\xff" * 9)),
    }
    return made


def _profile():
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


# The others.


def _webps():
    group = "WebP"
    exif = Image.Exif()
    exif[0x0112] = 6
    both = {"save_all": True, "append_images": [_photo("L").convert("RGB")]}
    return {
        (group, "lossy"): encoded(_photo(), "WEBP", quality=70),
        (group, "lossless"): encoded(_photo(), "WEBP", lossless=True),
        (group, "lossy with alpha"): encoded(_with_alpha(), "WEBP", quality=70),
        (group, "lossless with alpha"): encoded(_with_alpha(), "WEBP", lossless=True),
        (group, "orientation"): encoded(_photo(), "WEBP", exif=exif),
        (group, "orientation, lossless with alpha"): encoded(
            _with_alpha(), "WEBP", lossless=True, exif=exif
        ),
        (group, "a colour profile"): encoded(_photo(), "WEBP", icc_profile=_profile()),
        (group, "an animation"): encoded(_photo(), "WEBP", **both),
        (group, "an animation, lossless"): encoded(_photo(), "WEBP", lossless=True, **both),
        (group, "one pixel"): encoded(_photo(size=(1, 1)), "WEBP"),
    }


def _gifs():
    group, other = "GIF", _photo("L", (17, 13))
    return {
        (group, "colours"): encoded(_few(), "GIF"),
        (group, "grey"): encoded(other, "GIF"),
        (group, "a clear colour"): encoded(_few(), "GIF", transparency=1),
        (group, "an animation"): encoded(_few(), "GIF", save_all=True, append_images=[other]),
        (group, "interlaced"): encoded(_few(), "GIF", interlace=1),
    }


def _bmps():
    group = "BMP"
    rows = _noise(7, 24)
    rows[:, 21:] = 0  # rows end at four bytes
    os2 = b"BM" + struct.pack("<IHHI", 26 + rows.size, 0, 0, 26)
    os2 += struct.pack("<IHHHH", 12, 7, 7, 1, 24) + rows.tobytes()
    down = encoded(_photo(size=(8, 6)), "BMP")
    down = down[:22] + struct.pack("<i", -6) + down[26:]
    return {
        (group, "24 bits"): encoded(_photo(), "BMP"),
        (group, "32 bits"): encoded(_with_alpha(), "BMP"),
        (group, "8 bits and a palette"): encoded(_few(), "BMP"),
        (group, "grey"): encoded(_photo("L"), "BMP"),
        (group, "1 bit"): encoded(_photo("1"), "BMP"),
        (group, "OS/2, a header of 12 bytes"): os2,
        (group, "from the top down"): down,
        (group, "without a file's header"): encoded(_photo(), "DIB"),
    }


def _tiffs():
    group, deep = "TIFF", _noise(11, 14).astype(np.uint16) * 250
    made = {
        (group, f"compressed by {name}"): encoded(_photo(), "TIFF", compression=name)
        for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    }
    turned = Image.Exif()
    turned[0x0112] = 6
    return made | {
        (group, "fax of 1 bit"): encoded(_photo("1"), "TIFF", compression="group4"),
        (group, "alpha"): encoded(_with_alpha(), "TIFF"),
        (group, "grey with alpha"): encoded(_with_alpha().convert("LA"), "TIFF"),
        (group, "a palette"): encoded(_few(), "TIFF"),
        (group, "CMYK"): encoded(_photo("CMYK"), "TIFF"),
        (group, "16 bits of grey"): encoded(Image.fromarray(deep), "TIFF"),
        (group, "16 bits of grey, big-endian"): _deep_tiff(">", 1),
        (group, "16 bits of RGB, little-endian"): _deep_tiff("<", 3),
        (group, "16 bits of RGB, big-endian"): _deep_tiff(">", 3),
        (group, "several pages"): encoded(
            _photo(), "TIFF", save_all=True, append_images=[_photo("L")]
        ),
        (group, "orientation"): encoded(_photo(), "TIFF", exif=turned),
    }


def _deep_tiff(endian, samples):
    """A TIFF of 16 bits a sample, built by hand."""
    pack = lambda form, *values: struct.pack(endian + form, *values)
    width, height = 5, 4
    data = _noise(height, 2 * width * samples).tobytes()
    bits = pack("H", 16).ljust(4, b"\0") if samples == 1 else pack("I", 8 + len(data))
    fields = [
        (256, 3, 1, pack("H", width)),
        (257, 3, 1, pack("H", height)),
        (258, 3, samples, bits),
        (259, 3, 1, pack("H", 1)),
        (262, 3, 1, pack("H", 1 if samples == 1 else 2)),
        (273, 4, 1, pack("I", 8)),
        (277, 3, 1, pack("H", samples)),
        (278, 3, 1, pack("H", height)),
        (279, 4, 1, pack("I", len(data))),
    ]
    deep = pack("HHHH", 16, 16, 16, 0)
    head = {">": b"MM", "<": b"II"}[endian] + pack("HI", 42, 8 + len(data) + len(deep))
    entries = b"".join(pack("HHI", *field[:3]) + field[3].ljust(4, b"\0") for field in fields)
    return head + data + deep + pack("H", len(fields)) + entries + bytes(4)


def _others():
    group, deep = "other formats", _noise(9, 8).astype(np.uint16) * 256 + 17
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.init()
    made = {}
    if "AVIF" in Image.SAVE:  # some builds of Pillow lack it
        made[group, "AVIF"] = encoded(_photo(), "AVIF")
        made[group, "AVIF with alpha"] = encoded(_with_alpha(), "AVIF")
        made[group, "AVIF with orientation"] = encoded(_photo(), "AVIF", exif=exif)
    if "QOI" in Image.SAVE:  # earlier versions only read it
        made[group, "QOI"] = encoded(_with_alpha(), "QOI")
    return made | {
        (group, "ICO"): encoded(_with_alpha((32, 32)), "ICO", sizes=[(16, 16), (32, 32)]),
        (group, "ICO of bitmaps"): encoded(_with_alpha((16, 16)), "ICO", bitmap_format="bmp"),
        (group, "ICNS"): encoded(_with_alpha((32, 32)), "ICNS"),
        (group, "JPEG 2000"): encoded(_photo(), "JPEG2000"),
        (group, "PPM"): encoded(_photo(), "PPM"),
        (group, "PGM"): encoded(_photo("L"), "PPM"),
        (group, "PGM of 16 bits"): b"P5 8 9 65535\n" + deep.astype(">u2").tobytes(),
        (group, "PBM"): encoded(_photo("1"), "PPM"),
        (group, "PCX"): encoded(_photo(), "PCX"),
        (group, "SGI"): encoded(_photo(), "SGI"),
        (group, "TGA"): encoded(_with_alpha(), "TGA"),
    }


# What cannot be read.


def _bad():
    damaged, unknown = "truncated or damaged", "not an image"
    group, made = "truncated", {}
    for name, image in (
        ("PNG", _photo()), ("JPEG", _photo()), ("WEBP", _photo()), ("GIF", _few()),
        ("BMP", _photo()), ("TIFF", _photo()),
    ):  # fmt: skip
        content = encoded(image, name)
        reason = f"a {name} (of|whose header) .*{damaged}"
        made[group, f"{name} to its half"] = content[: len(content) // 2], reason
        made[group, f"{name} to 12 bytes"] = content[:12], reason
    jpeg, png = encoded(_photo(), "JPEG"), _png(8, 2)
    flipped = bytearray(png)
    flipped[-30] ^= 255
    group = "damaged"
    made |= {
        (group, "a PNG's checksum"): (bytes(flipped), damaged),
        (group, "a PNG without pixels"): (_png(8, 2, image=zlib.compress(b"")), damaged),
        (group, "a PNG whose chunk runs beyond the end"): (
            png[:33] + struct.pack(">I", 2**31 - 1) + png[37:],
            damaged,
        ),
        (group, "a PNG of no size"): (png[:16] + bytes(8) + png[24:], damaged),
        (group, "a JPEG without a scan"): (jpeg[: jpeg.index(b"\xff\xda")], damaged),
        (group, "a JPEG whose segment runs beyond the end"): (
            jpeg[:2] + b"\xff\xe5\xff\xff" + jpeg[2:600],
            damaged,
        ),
        (group, "a JPEG's first bytes"): (b"\xff\xd8\xff", damaged),
    }
    group = "not read"
    number = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    ftyp = lambda brand: b"\0\0\0\x18ftyp" + brand + bytes(4) + b"mif1" + brand
    return made | {
        (group, "HEIF"): (ftyp(b"heic") + bytes(100), "HEIF is not read; convert it to PNG"),
        (group, "JPEG XL"): (b"\xff\x0a" + bytes(50), "JPEG XL is not read"),
        (group, "JPEG XL in a box"): (
            b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50),
            "JPEG XL is not read",
        ),
        (group, "SVG"): (b'<?xml version="1.0"?>\n<svg width="9"/>', "SVG is not read"),
        (group, "PostScript"): (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
            "EPS is not read",
        ),
        (group, "TIFF of floats"): (encoded(number, "TIFF"), "TIFF whose pixels .*'F'"),
        (group, "TIFF of 32-bit numbers"): (
            encoded(Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8)), "TIFF"),
            "'I'",
        ),
        (group, "TIFF of CIELAB"): (encoded(_photo("LAB"), "TIFF"), "'LAB'.*convert it to 8 or 16"),
        (group, "text"): (b"no image at all, but a text", unknown),
        (group, "zeros"): (bytes(5_000), unknown),
        (group, "an empty file"): (b"", "empty"),
        (group, "a PNG of ten thousand million pixels"): (
            _SIGNATURE
            + chunk(b"IHDR", struct.pack(">II", 100_000, 100_000) + png[24:29])
            + png[33:],
            "decompression bomb",
        ),
    }
