"""Encoded images to arrays of one size, inside TensorFlow's graph; Pillow says what is wrong.

No Python runs here for PNG, JPEG and WebP: it would hold a lock that the training loop needs, and
a process that ends while its input pipeline still calls Python may hang. GIF, BMP and animated WebP
are left to Pillow, which knows all their variants.
"""

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from lcss_tf.errors import UsageError
from lcss_tf.typing import Array, Shape, Tensor

PNG, JPEG, WEBP, GIF, BMP = range(5)
# A format begins with these bytes; None: any.
SIGNATURES = {
    PNG: [*b"\x89PNG\r\n\x1a\n"],
    JPEG: [*b"\xff\xd8\xff"],
    WEBP: [*b"RIFF", None, None, None, None, *b"WEBP"],
    GIF: [*b"GIF8"],
    BMP: [*b"BM"],
}
MAX_PIXELS = 2**27  # of an image before it is decoded: 134 megapixels
_HEAD = 4096  # bytes that hold the header and, in a JPEG, the orientation
_COLOUR_TYPE = 25  # the byte that says what a PNG's pixels are
_WEBP_KIND, _WEBP_FLAGS, _WEBP_ANIMATED = 15, 20, 2  # two bytes, and a bit of the second
_WITH_ALPHA = (4, 6)  # grey and colours with transparency
_CLEAR_COLOURS = b"tRNS"  # the chunk that makes colours of any other PNG transparent


def decode_bytes(content: Tensor, shape: Shape) -> Tensor:
    """An encoded PNG, JPEG, WebP, GIF or BMP image, its centre cropped and resized.

    Greyscale, palettes and CMYK become the requested colours; transparent parts are blended with
    white unless four channels are requested; of 16 bits the upper eight are kept; a JPEG is
    rotated upright as its EXIF orientation says; of an animation the first frame is taken.

    Args:
      content: the bytes, a string tensor [].
      shape: (height, width, channels), channels 1, 3 or 4.

    Returns:
      uint8 tensor of `shape`.

    Raises:
      tf.errors.InvalidArgumentError: not an image that can be read, or one of more than
        `MAX_PIXELS` pixels.
    """
    channels = shape[2]
    head = tf.io.decode_raw(tf.strings.substr(content, 0, _HEAD), tf.uint8)
    head = tf.concat([head, tf.zeros([64], tf.uint8)], axis=0)
    kind = format_of(head)
    tf.debugging.Assert(kind < len(SIGNATURES), ["not an image: PNG, JPEG, WebP, GIF or BMP"])

    def png() -> Tensor:
        if channels == 4:
            return _png_rgba(head, content)
        return tf.cond(
            _png_is_clear(head),
            lambda: _on_white(tf.io.decode_png(content, 4), channels),
            lambda: tf.io.decode_png(content, channels),
        )

    def jpeg() -> Tensor:
        image = tf.io.decode_jpeg(content, min(channels, 3))
        return _opaque(upright(image, exif_orientation(head)), channels)

    def still_webp() -> Tensor:
        image = tf.io.decode_webp(content)[0]  # 3 or 4 channels, as they are stored
        opaque = tf.fill(tf.shape(image[:, :, :1]), tf.constant(255, tf.uint8))
        rgba = tf.concat([image, opaque], axis=2)[:, :, :4]
        return _on_white(tf.ensure_shape(rgba, [None, None, 4]), channels)

    def by_pillow() -> Tensor:
        image = tf.numpy_function(_pillow, [content], tf.uint8, stateful=False)
        return _on_white(tf.ensure_shape(image, [None, None, 4]), channels)

    def webp() -> Tensor:
        # TensorFlow 2.21's decoder writes beyond its memory where a WebP is an animation.
        animated = (head[_WEBP_KIND] == ord("X")) & (head[_WEBP_FLAGS] & _WEBP_ANIMATED > 0)
        return tf.cond(animated, by_pillow, still_webp)

    branches = {PNG: png, JPEG: jpeg, WEBP: webp, GIF: by_pillow, BMP: by_pillow}
    pixels = pixels_of(kind, head, content)
    tf.debugging.Assert(pixels <= MAX_PIXELS, ["the image has too many pixels:", pixels])
    # Assertions and decoding may run in either order: what is too large is not decoded at all.
    nothing = len(SIGNATURES)
    image = tf.switch_case(
        tf.where(pixels <= MAX_PIXELS, kind, nothing),
        {**branches, nothing: lambda: tf.zeros([1, 1, channels], tf.uint8)},
    )
    return fit(image, shape)


def fit(image: Tensor, shape: Shape) -> Tensor:
    """The centre of an image, resized to `shape` with antialiasing.

    The crop is the largest with the proportions of `shape`; an image of the right size is left as
    it is, bit for bit.

    Args:
      image: uint8 [h, w, C].
      shape: (height, width, channels), the channels being C.

    Returns:
      uint8 tensor of `shape`.
    """
    height, width, channels = shape
    size = tf.shape(image)[:2]

    def resized() -> Tensor:
        zoom = tf.reduce_min(tf.cast(size, tf.float64) / tf.constant([height, width], tf.float64))
        part = tf.cast(tf.round(tf.constant([height, width], tf.float64) * zoom), tf.int32)
        top, left = tf.unstack((size - part) // 2)
        crop = image[top : top + part[0], left : left + part[1]]
        smooth = tf.image.resize(crop, (height, width), method="lanczos3", antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(smooth, 0.0, 255.0)), tf.uint8)

    fitted = tf.cond(tf.reduce_all(size == [height, width]), lambda: image, resized)
    return tf.ensure_shape(fitted, [height, width, channels])


# Colours and transparency.


def _png_is_clear(head: Tensor) -> Tensor:
    """Whether parts of a PNG may be transparent; head: its first bytes, uint8 [n]."""
    count = tf.shape(head)[0] - len(_CLEAR_COLOURS) + 1
    named = tf.ones([count], tf.bool)
    for i, letter in enumerate(_CLEAR_COLOURS):
        named &= head[i : i + count] == letter
    alpha = tf.reduce_any(head[_COLOUR_TYPE] == tf.constant(_WITH_ALPHA, tf.uint8))
    return alpha | tf.reduce_any(named)


def _png_rgba(head: Tensor, content: Tensor) -> Tensor:
    """RGBA of a PNG. For palettes without transparency TensorFlow's own alpha is wrong."""
    return tf.cond(
        _png_is_clear(head),
        lambda: tf.io.decode_png(content, 4),
        lambda: _opaque(tf.io.decode_png(content, 3), 4),
    )


def _on_white(rgba: Tensor, channels: int) -> Tensor:
    """RGBA blended with white: grey or colours; unchanged for four channels."""
    if channels == 4:
        return rgba
    pixels = tf.cast(rgba, tf.float32)
    alpha = pixels[:, :, 3:] / 255.0
    colours = tf.cast(tf.round(pixels[:, :, :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)
    return colours if channels == 3 else tf.image.rgb_to_grayscale(colours)


def _opaque(image: Tensor, channels: int) -> Tensor:
    if channels < 4:
        return image
    return tf.concat([image, tf.fill(tf.shape(image[:, :, :1]), tf.constant(255, tf.uint8))], 2)


def _pillow(content: Any) -> Array:
    # Eagerly TensorFlow passes an array of one object; NumPy's own bytes would lose zeros.
    content = np.asarray(content, object).item()
    with _opened(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGBA"))


# Headers: the format and the size, inside TensorFlow's graph.


def format_of(head: Tensor) -> Tensor:
    """PNG … BMP, an int32 []; len(SIGNATURES) for anything else.

    Args:
      head: the file's first bytes, uint8 [n], n >= 64.
    """
    matches = []
    for letters in SIGNATURES.values():
        places = [i for i, letter in enumerate(letters) if letter is not None]
        expected = tf.constant([letters[i] for i in places], tf.uint8)
        matches.append(tf.reduce_all(tf.gather(head, places) == expected))
    return tf.argmax([*matches, True], output_type=tf.int32)


def pixels_of(kind: Tensor, head: Tensor, content: Tensor) -> Tensor:
    """Height times width as the header says, an int64 [].

    Args:
      kind: from `format_of`.
      head: as there.
      content: the whole file, a string []; a JPEG's size may lie anywhere in it.
    """
    head = tf.cast(head, tf.int64)

    def number(start: int, count: int, big: bool = False) -> Tensor:
        places = range(start, start + count)
        powers = reversed(range(count)) if big else range(count)
        return sum(head[i] * 256**p for i, p in zip(places, powers, strict=True))

    def png() -> Tensor:
        return number(16, 4, big=True) * number(20, 4, big=True)

    def jpeg() -> Tensor:
        shape = tf.image.extract_jpeg_shape(content, tf.int64)
        return shape[0] * shape[1]

    def webp() -> Tensor:
        bits = number(21, 4)
        lossless = ((bits & 0x3FFF) + 1) * (((bits // 2**14) & 0x3FFF) + 1)
        lossy = (number(26, 2) & 0x3FFF) * (number(28, 2) & 0x3FFF)
        extended = (number(24, 3) + 1) * (number(27, 3) + 1)
        letter = head[15]  # "VP8L", "VP8X" or "VP8 "
        return tf.where(letter == ord("L"), lossless, tf.where(letter == ord("X"), extended, lossy))

    def gif() -> Tensor:
        return number(6, 2) * number(8, 2)

    def bmp() -> Tensor:
        height = number(22, 4)
        return number(18, 4) * tf.minimum(height, 2**32 - height)  # negative: from the top down

    sizes = {PNG: png, JPEG: jpeg, WEBP: webp, GIF: gif, BMP: bmp}
    return tf.switch_case(kind, {**sizes, len(SIGNATURES): lambda: tf.constant(0, tf.int64)})


# EXIF: the orientation that a camera writes into a JPEG file. It is the field 0x0112 of the first
# directory of the TIFF structure that follows the letters "Exif" (JEITA CP-3451).

_EXIF_MARK = b"Exif\0\0"
_ORIENTATION_TAG = 0x0112
_MAX_FIELDS = 64  # of a directory that are searched


def exif_orientation(head: Tensor) -> Tensor:
    """1 to 8, an int32 []; 1, upright, where none is given.

    Args:
      head: the file's first bytes, uint8 [n].
    """
    head = tf.concat([tf.cast(head, tf.int32), tf.zeros([16], tf.int32)], axis=0)
    starts = tf.shape(head)[0] - len(_EXIF_MARK)
    found = tf.ones([starts], tf.bool)
    for i, letter in enumerate(_EXIF_MARK):
        found &= head[i : i + starts] == letter
    mark = tf.argmax(found, output_type=tf.int32)
    return tf.cond(
        found[mark], lambda: _of_tiff(head, mark + len(_EXIF_MARK)), lambda: tf.constant(1)
    )


def _of_tiff(head: Tensor, tiff: Tensor) -> Tensor:
    last = tf.shape(head)[0] - 1
    little = head[tiff] == ord("I")

    def u16(at: Tensor) -> Tensor:
        first, second = (tf.gather(head, tf.clip_by_value(at + k, 0, last)) for k in (0, 1))
        return tf.where(little, first + 256 * second, 256 * first + second)

    high, low = u16(tiff + 4), u16(tiff + 6)
    # Directories lie within 64 KiB: two of the offset's four bytes are zero.
    directory = tiff + tf.where(little, high, low)
    fields = directory + 2 + 12 * tf.range(tf.minimum(u16(directory), _MAX_FIELDS))
    matching = (u16(fields) == _ORIENTATION_TAG) & (fields + 12 <= last)
    value = tf.reduce_max(tf.where(matching, u16(fields + 8), 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def upright(image: Tensor, orientation: Tensor) -> Tensor:
    """An image [h, w, C] as its EXIF orientation (1 to 8) says it is to be seen."""

    def apply() -> Tensor:
        seen = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        mirrored = _is_one_of(orientation, (2, 3, 6, 7))
        seen = tf.cond(mirrored, lambda: tf.reverse(seen, [1]), lambda: seen)
        upside_down = _is_one_of(orientation, (3, 4, 7, 8))
        return tf.cond(upside_down, lambda: tf.reverse(seen, [0]), lambda: seen)

    return tf.cond(orientation > 1, apply, lambda: image)


def _is_one_of(value: Tensor, among: tuple[int, ...]) -> Tensor:
    return tf.reduce_any(value == tf.constant(among))


# What is wrong with an image that TensorFlow cannot read: by Pillow, in plain Python.

_READABLE = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "MPO")


class ImageHeader(NamedTuple):
    """What the header says: format ("PNG"), size (width, height), mode ("RGB", "CMYK", …)."""

    format: str
    size: tuple[int, int]
    mode: str


class BadImageError(ValueError):
    """An image that cannot be used; the message says why, without its name."""


@contextlib.contextmanager
def _opened(source: str | os.PathLike | io.BytesIO) -> Iterator[Image.Image]:
    """A Pillow image of a format that is read here, of at most `MAX_PIXELS`: its header alone.

    Pillow knows dozens of formats. No others than ours look at the file.

    Raises:
      BadImageError: another format, a damaged header, or too large.
      OSError: the file cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # checked below
            image = Image.open(source, formats=_READABLE)
    except Image.DecompressionBombError as error:
        raise BadImageError(_too_large(str(error))) from error
    except Exception as error:  # Pillow raises many kinds
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BadImageError(_why_not_opened(source, str(error))) from error
    with image:
        if image.size[0] * image.size[1] > MAX_PIXELS:
            raise BadImageError(_too_large(f"{image.size[0]}×{image.size[1]} pixels"))
        yield image


def _why_not_opened(source: str | os.PathLike | io.BytesIO, reason: str) -> str:
    if isinstance(source, io.BytesIO):
        begin = source.getvalue()[:16]
    else:
        with open(source, "rb") as file:
            begin = file.read(16)
    if not begin:
        return "not an image: the file is empty"
    Image.init()
    known = [name for name, (_, accepts) in Image.OPEN.items() if accepts and _says(accepts, begin)]
    others = [name for name in known if name not in _READABLE]
    if others and len(others) == len(known):
        return f"{others[0]} is not read; convert it to PNG"
    if "too large" in reason or "too much memory" in reason.lower():
        return f"its text or its colour profile is a decompression bomb ({reason})"
    return f"not an image, or its header is damaged (it begins with {begin[:8]!r})"


def _says(accepts: Any, begin: bytes) -> bool:
    try:
        return accepts(begin) is True
    except Exception:  # of a format's own look at a few bytes
        return False


def read_header(content: bytes) -> ImageHeader:
    """The header of encoded bytes.

    Raises:
      BadImageError: not an image, of a format that is not supported, or too large.
    """
    with _opened(io.BytesIO(content)) as image:
        return ImageHeader(str(image.format), image.size, image.mode)


def read_image(
    path: str | os.PathLike,
    mode: str | Callable[[ImageHeader], str],
) -> Array:
    """A picture's pixels, uint8 [H, W] or [H, W, C]; its header is checked before it is decoded.

    Args:
      path: of a PNG, JPEG, WebP, GIF or BMP file.
      mode: Pillow's, "L", "RGB" or "RGBA", that it is converted to; or what chooses it by the
        header, and may refuse it.

    Raises:
      UsageError: not such a picture, or one of more than `MAX_PIXELS` pixels; names it.
      OSError: it cannot be read.
    """
    try:
        with _opened(path) as image:
            header = ImageHeader(str(image.format), image.size, image.mode)
            chosen = mode if isinstance(mode, str) else mode(header)
            return np.asarray(image.convert(chosen))
    except BadImageError as error:
        raise UsageError(f"The picture {os.fspath(path)} cannot be used: {error}.") from error
    except (SyntaxError, ValueError, OSError) as error:  # Pillow's, of truncated data
        if isinstance(error, UsageError) or getattr(error, "errno", None) is not None:
            raise
        raise UsageError(
            f"The picture {os.fspath(path)} cannot be decoded ({error}): it is truncated or "
            "damaged. Make it again."
        ) from error


def _too_large(what: str) -> str:
    return (
        f"{what}, more than the {MAX_PIXELS:,} that are decoded: a decompression bomb, or an image "
        "to be made smaller first"
    )


def decode_checked(content: Any, shape: Shape) -> tuple[ImageHeader, Array]:
    """The header and the uint8 example of `shape` of encoded bytes.

    Raises:
      BadImageError: as `read_header`, or pixels that cannot be decoded.
    """
    found = read_header(content)
    try:
        return found, _decoder(tuple(shape))(tf.constant(content)).numpy()
    except (tf.errors.OpError, OSError, ValueError, SyntaxError) as error:  # Pillow's, too
        raise BadImageError(
            f"a {found.format} of {found.size[0]}×{found.size[1]} pixels whose data cannot be "
            "decoded: truncated or damaged"
        ) from error


@functools.lru_cache(maxsize=8)
def _decoder(shape):
    # As a graph: its many small operations one by one take 10 ms, and hold Python's lock.
    return tf.function(
        lambda content: decode_bytes(content, shape),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )


__all__ = [
    "MAX_PIXELS",
    "BadImageError",
    "ImageHeader",
    "decode_bytes",
    "decode_checked",
    "exif_orientation",
    "fit",
    "format_of",
    "pixels_of",
    "read_header",
    "read_image",
    "upright",
]
