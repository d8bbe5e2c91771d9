"""Image files as Pillow reads them: what TensorFlow does not decode, and what is wrong with files.

Pillow is called from inside TensorFlow's graphs as a Python function. Formats whose reader runs
other programs, and those whose pixels have no known range, are refused by their name.
"""

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from lcss_tf.typing import Array

MAX_PIXELS = 2**27  # of an image before it is decoded: 134 megapixels
FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "ICO", "CUR", "ICNS",
    "JPEG2000", "PPM", "PSD", "PCX", "QOI", "SGI", "TGA",
)  # fmt: skip
# Endings of the files of these formats.
EXTENSIONS = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo",
    ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".avifs", ".ico", ".cur", ".icns",
    ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".psd", ".pcx",
    ".qoi", ".sgi", ".tga",
)  # fmt: skip
_RAW = "a camera's raw file"
# Endings of images that cannot be read, and what they are.
UNREAD_EXTENSIONS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    **dict.fromkeys((".svg", ".svgz"), "SVG, a drawing without pixels,"),
    **dict.fromkeys((".eps", ".ai"), "PostScript"),
    **dict.fromkeys((".wmf", ".emf"), "a Windows metafile"),
    **dict.fromkeys((".jxr", ".hdp", ".wdp"), "JPEG XR"),
    **dict.fromkeys((".fits", ".fit"), "FITS"),
    **dict.fromkeys((".djvu", ".djv"), "DjVu"),
    ".jxl": "JPEG XL",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
    ".pfm": "a map of floats",
    ".xcf": "a GIMP project",
    ".kra": "a Krita project",
    ".dds": "DDS",
    **dict.fromkeys(
        (
            ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".kdc", ".mrw", ".nef", ".nrw",
            ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f",
        ),
        _RAW,
    ),
}  # fmt: skip
_MODES = (
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr",
    "I;16", "I;16L", "I;16B", "I;16N",
)  # fmt: skip


class ImageHeader(NamedTuple):
    """What the header says: format ("PNG"), size (width, height), mode ("RGB", "CMYK", …)."""

    format: str
    size: tuple[int, int]
    mode: str


class BadImageError(ValueError):
    """An image that cannot be used; the message says why, without its name."""


def read_header(content: bytes) -> ImageHeader:
    """The header of encoded bytes.

    Raises:
      BadImageError: not an image, of a format or with pixels that are not read, or too large.
    """
    with _opened(content) as image:
        return ImageHeader(str(image.format), image.size, image.mode)


@contextlib.contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """A Pillow image of a format that is read, of at most `MAX_PIXELS`: its header alone.

    Pillow knows dozens of formats. No others than ours look at the file.

    Raises:
      BadImageError: as `read_header`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # checked below
            image = Image.open(io.BytesIO(content), formats=_formats())
    except Image.DecompressionBombError as error:
        raise BadImageError(_too_large(str(error))) from error
    except Exception as error:  # Pillow raises many kinds
        raise BadImageError(_unknown(content, str(error))) from error
    with image:
        _check(image)
        yield image


@functools.cache
def _formats() -> tuple[str, ...]:
    """`FORMATS`, but those that this build of Pillow lacks."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def decode(content: Any) -> Array:
    """The first picture of an image file, upright: uint8 RGBA [h, w, 4].

    Args:
      content: the bytes, or an array of the one object.

    Raises:
      BadImageError: as `read_header`.
      Exception: of many kinds, where pixels are damaged.
    """
    # Eagerly TensorFlow passes an array of one object; NumPy's own bytes would lose zeros.
    with _opened(np.asarray(content, object).item()) as image:
        image.load()
        if not _is_deep(image.format, image.mode):
            return np.asarray(_upright(image).convert("RGBA"))
        levels = (np.asarray(image) >> 8).astype(np.uint8)
        turned = Image.fromarray(levels)
        turned.getexif()[ExifTags.Base.Orientation] = orientation_of(image)
        return np.asarray(_upright(turned).convert("RGBA"))


def orientation(content: Any) -> np.int32:
    """The orientation, 1 to 8, that Pillow finds in an image file's metadata.

    Args:
      content: as for `decode`.
    """
    with _opened(np.asarray(content, object).item()) as image:
        return np.int32(orientation_of(image))


def orientation_of(image: Image.Image) -> int:
    """1 to 8; 1, upright, where none is given or the metadata are damaged."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many kinds
        return 1
    return found if found in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if orientation_of(image) > 1 else image


def _is_deep(name: str | None, mode: str) -> bool:
    """Whether numbers are of 16 bits, of which the upper eight are kept."""
    return mode.startswith("I;16") or (name == "PPM" and mode == "I")


def _check(image: Image.Image) -> None:
    name, size, mode = str(image.format), image.size, image.mode
    if size[0] * size[1] > MAX_PIXELS:
        raise BadImageError(_too_large(f"{size[0]}×{size[1]} pixels"))
    if mode not in _MODES and not _is_deep(name, mode):
        raise BadImageError(
            f"a {name} whose pixels are of the mode {mode!r}: numbers without a known range, or "
            "colours without a known conversion; convert it to 8 or 16 bits, grey or RGB"
        )


def _too_large(what: str) -> str:
    return (
        f"{what}, more than the {MAX_PIXELS:,} that are decoded: a decompression bomb, or an image "
        "to be made smaller first"
    )


# Beginnings of files that Pillow does not open, though it knows their format: they are damaged.
_BEGINNINGS = (
    (b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"BM", "BMP"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"\0\0\1\0", "ICO"), (b"8BPS", "PSD"),
)  # fmt: skip
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


def _unknown(content: bytes, reason: str) -> str:
    """Why Pillow does not even open a file, for the reason that it gives."""
    if not content:
        return "not an image: the file is empty"
    if "too large" in reason or "too much memory" in reason.lower():
        return f"its text or its colour profile is a decompression bomb ({reason})"
    brand = content[8:12] if content[4:8] == b"ftyp" else b""
    named = [name for start, name in _BEGINNINGS if content.startswith(start)]
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        named = ["WEBP"]
    if brand in _AVIF_BRANDS:
        named = ["AVIF"]
    if named:
        return f"a {named[0]} whose header is truncated or damaged"
    if brand in _HEIF_BRANDS:
        return _not_read("HEIF")
    if content.startswith(_JPEG_XL):
        return _not_read("JPEG XL")
    if b"<svg" in content[:4096].lower():
        return _not_read("SVG")
    others = [name for name in Image.OPEN if name not in FORMATS and _accepts(name, content[:16])]
    if others:
        return _not_read(others[0])
    return f"not an image, or its header is damaged (it begins with {content[:8]!r})"


def _accepts(name: str, beginning: bytes) -> bool:
    """Whether a format of Pillow's knows a file's first bytes as its own."""
    accept = Image.OPEN[name][1]
    try:
        return accept is not None and accept(beginning) is True
    except Exception:  # of a format's own look at a few bytes
        return False


def _not_read(name: str) -> str:
    return f"{name} is not read; convert it to PNG"


__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "UNREAD_EXTENSIONS",
    "BadImageError",
    "ImageHeader",
    "decode",
    "orientation",
    "orientation_of",
    "read_header",
]
