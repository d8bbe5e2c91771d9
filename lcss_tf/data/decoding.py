"""Encoded images to arrays of one size, inside TensorFlow's graph.

This is the one decoder: training, references of metrics, preparation and inputs of tasks see the
same pixels, which are Pillow's. TensorFlow decodes PNG, JPEG and simple WebP, where it gives the
same bytes; there no Python runs: it would hold a lock that the training loop needs, and a process
that ends while its input pipeline still calls Python may hang. All else is left to Pillow.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from lcss_tf.data import by_pillow, headers
from lcss_tf.data.by_pillow import MAX_PIXELS, BadImageError, ImageHeader, read_header
from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.texts import visible
from lcss_tf.typing import Array, Shape, Tensor

FITS = ("crop", "pad", "stretch")  # how an image of another aspect comes to the shape

_TOO_LARGE = headers.OTHER + 1
_LUMA, _LUMA_BITS = (19_595, 38_470, 7_471), 16  # .299, .587, .114 in fixed point


def decode_bytes(content: Tensor, shape: Shape, fit: str = "crop") -> Tensor:
    """An encoded image as `decode_pixels` reads it, brought to a shape as `fitted` does.

    Args:
      content: the bytes, a string tensor [].
      shape: (height, width, channels), channels 1, 3 or 4.
      fit: one of `FITS`.

    Returns:
      uint8 tensor of `shape`.

    Raises:
      tf.errors.InvalidArgumentError, tf.errors.UnknownError: as `decode_pixels`.
    """
    return fitted(decode_pixels(content, shape[2]), shape, fit)


def decode_pixels(content: Tensor, channels: int) -> Tensor:
    """The pixels of an encoded image, as Pillow decodes them; works in graphs.

    Palettes, CMYK and YCCK become RGB. Transparent parts are blended with white,
    ⌊c α + 255 (1 − α)⌉ for a colour c and an opacity α from 0 to 1, unless four channels are
    requested. Grey is ⌊.299 R + .587 G + .114 B⌉ (ITU-R BT.601), in 16-bit fixed point as
    Pillow's mode "L", for every format; gamma and colour profiles are not applied. Of 16 bits the
    upper eight are kept. The image is rotated upright as its Exif orientation says. Of an
    animation, or of several pages, the first is taken; of an icon, the largest.

    Args:
      content: the bytes, a string tensor [].
      channels: 1, 3 or 4.

    Returns:
      uint8 [h, w, channels].

    Raises:
      tf.errors.InvalidArgumentError, tf.errors.UnknownError: not an image that can be read, or one
        of more than `MAX_PIXELS` pixels. `decode_checked` says what is wrong.
    """
    return _traced(channels)(content)


@functools.cache
def _traced(channels: int) -> Any:
    """`decode_pixels`, traced once a process: an input pipeline then takes it as one function."""
    signature = [tf.TensorSpec([], tf.string)]
    decode = functools.partial(_pixels, channels=channels)
    return tf.function(decode, input_signature=signature, autograph=False)


def _pixels(content: Tensor, channels: int) -> Tensor:
    header = headers.read(content)
    tf.debugging.Assert(
        header.pixels <= MAX_PIXELS, ["the image has too many pixels:", header.pixels]
    )

    def png() -> Tensor:
        # In colour: with one channel libpng would convert to grey in linear light where the file
        # has a gamma. TensorFlow's own alpha is wrong where a PNG has none.
        return tf.cond(
            header.clear,
            lambda: _from_rgba(tf.io.decode_png(content, 4), channels),
            lambda: _from_rgb(tf.io.decode_png(content, 3), channels),
        )

    def jpeg() -> Tensor:
        return _from_rgb(tf.io.decode_jpeg(content, 3, dct_method="INTEGER_ACCURATE"), channels)

    def webp() -> Tensor:
        image = tf.io.decode_webp(content)[0]  # 3 or 4 channels, as they are stored
        rgba = tf.concat([image, _opaque(image)], axis=2)[:, :, :4]
        return _from_rgba(tf.ensure_shape(rgba, [None, None, 4]), channels)

    def other() -> Tensor:  # Pillow turns it upright, too
        image = tf.numpy_function(by_pillow.decode, [content], tf.uint8, stateful=False)
        return _from_rgba(tf.ensure_shape(image, [None, None, 4]), channels)

    def turned(decode: Any) -> Any:
        return lambda: headers.upright(decode(), _orientation(header, content))

    # Assertions and decoding may run in either order: what is too large is not decoded at all.
    image = tf.switch_case(
        tf.where(header.pixels <= MAX_PIXELS, header.format, _TOO_LARGE),
        {
            headers.PNG: turned(png),
            headers.JPEG: turned(jpeg),
            headers.WEBP: webp,
            headers.OTHER: other,
            _TOO_LARGE: lambda: tf.zeros([1, 1, channels], tf.uint8),
        },
    )
    return tf.ensure_shape(image, [None, None, channels])


def _orientation(header: headers.Header, content: Tensor) -> Tensor:
    return tf.cond(
        header.orientation == headers.UNKNOWN_ORIENTATION,
        lambda: tf.numpy_function(by_pillow.orientation, [content], tf.int32, stateful=False),
        lambda: header.orientation,
    )


def fitted(image: Tensor, shape: Shape, fit: str = "crop") -> Tensor:
    """An image of any size, resized to `shape` with antialiasing (Lanczos, three lobes).

    An image of the right size is left as it is, bit for bit. Of others `fit` says what becomes of
    an aspect that is not that of `shape`:

    | fit | what is resized | the aspect |
    |---|---|---|
    | ``"crop"`` | the largest part in the centre with the proportions of `shape` | kept |
    | ``"pad"`` | the whole, as large as `shape` allows; zeros around it, black or clear | kept |
    | ``"stretch"`` | the whole, each side by its own factor | changed |

    Args:
      image: uint8 [h, w, C].
      shape: (height, width, channels), the channels being C.
      fit: one of `FITS`.

    Returns:
      uint8 tensor of `shape`.
    """
    height, width, channels = shape
    size, sides = tf.shape(image)[:2], tf.constant([height, width])
    ratios = tf.cast(size, tf.float64) / tf.cast(sides, tf.float64)

    def crop() -> Tensor:
        zoom = tf.reduce_min(ratios)
        part = tf.cast(tf.round(tf.cast(sides, tf.float64) * zoom), tf.int32)
        top, left = tf.unstack((size - part) // 2)
        return _resized(image[top : top + part[0], left : left + part[1]], sides)

    def pad() -> Tensor:
        zoom = tf.reduce_max(ratios)
        part = tf.cast(tf.round(tf.cast(size, tf.float64) / zoom), tf.int32)
        part = tf.clip_by_value(part, 1, sides)
        whole = tf.cond(tf.reduce_all(size == part), lambda: image, lambda: _resized(image, part))
        before = (sides - part) // 2
        margins = tf.stack([before, sides - part - before], axis=1)
        return tf.pad(whole, tf.concat([margins, [[0, 0]]], axis=0))

    ways = {"crop": crop, "pad": pad, "stretch": lambda: _resized(image, sides)}
    found = tf.cond(tf.reduce_all(size == sides), lambda: image, ways[fit])
    return tf.ensure_shape(found, [height, width, channels])


def _resized(image: Tensor, sides: Tensor) -> Tensor:
    """An image resized as Pillow does it: the width first, then the height, each to whole levels.

    What lies under transparent places must not bleed into others, so colours are weighted by their
    opacity.
    """
    if image.shape[2] == 4:
        return _straight(_resized_channels(_premultiplied(image), sides))
    return _resized_channels(image, sides)


def _resized_channels(image: Tensor, sides: Tensor) -> Tensor:
    height = tf.shape(image)[0]
    for size in (tf.stack([height, sides[1]]), sides):
        smooth = tf.image.resize(image, size, method="lanczos3", antialias=True)
        image = tf.cast(tf.round(tf.clip_by_value(smooth, 0.0, 255.0)), tf.uint8)
    return image


def _premultiplied(rgba: Tensor) -> Tensor:
    """Colours times opacity, to the nearest level."""
    levels = tf.cast(rgba, tf.int32)
    product = levels[:, :, :3] * levels[:, :, 3:] + 128
    colours = tf.bitwise.right_shift(tf.bitwise.right_shift(product, 8) + product, 8)
    return tf.concat([tf.cast(colours, tf.uint8), rgba[:, :, 3:]], axis=2)


def _straight(premultiplied: Tensor) -> Tensor:
    """`_premultiplied` undone; where nothing is visible the colours stay as they are."""
    levels = tf.cast(premultiplied, tf.int32)
    colours, alpha = levels[:, :, :3], levels[:, :, 3:]
    full = tf.minimum(255, 255 * colours // tf.maximum(alpha, 1))
    colours = tf.where(alpha > 0, full, colours)
    return tf.concat([tf.cast(colours, tf.uint8), premultiplied[:, :, 3:]], axis=2)


# Colours and transparency.


def _from_rgba(rgba: Tensor, channels: int) -> Tensor:
    """RGBA blended with white: grey or colours; unchanged for four channels."""
    if channels == 4:
        return rgba
    pixels = tf.cast(rgba, tf.float32)
    alpha = pixels[:, :, 3:] / 255.0
    colours = tf.cast(tf.round(pixels[:, :, :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)
    return _from_rgb(colours, channels)


def _from_rgb(rgb: Tensor, channels: int) -> Tensor:
    """RGB as grey, as it is, or with an opaque fourth channel."""
    if channels == 4:
        return tf.concat([rgb, _opaque(rgb)], axis=2)
    if channels == 3:
        return rgb
    levels = tf.cast(rgb, tf.int32) * tf.constant(_LUMA)
    total = tf.reduce_sum(levels, axis=2, keepdims=True) + 2 ** (_LUMA_BITS - 1)
    return tf.cast(tf.bitwise.right_shift(total, _LUMA_BITS), tf.uint8)


def _opaque(image: Tensor) -> Tensor:
    return tf.fill(tf.shape(image[:, :, :1]), tf.constant(255, tf.uint8))


# What is wrong with an image, in plain words.


def decode_checked(content: Any, shape: Shape, fit: str = "crop") -> tuple[ImageHeader, Array]:
    """The header and the uint8 example of `shape` of encoded bytes; not in graphs.

    As `decode_bytes` gives it.

    Raises:
      BadImageError: as `read_header`, or pixels that cannot be decoded.
    """
    return _checked(content, tuple(shape), fit)


def read_image(content: bytes, channels: int) -> Array:
    """The pixels of encoded bytes at their own size, uint8 [h, w, channels]; not in graphs.

    Raises:
      BadImageError: as `decode_checked`.
    """
    return _checked(content, (None, None, channels))[1]


def read_picture(
    path: str | os.PathLike, channels: int | Callable[[ImageHeader], int] = 3
) -> Array:
    """The pixels of an image file at their own size, uint8 [h, w, channels]; not in graphs.

    Args:
      path: of the file.
      channels: 1, 3 or 4; or what chooses them by the header, before anything is decoded, and may
        refuse it.

    Raises:
      UsageError: not an image that can be read; names it.
      OSError: it cannot be read.
    """
    with permission(path):
        content = Path(path).read_bytes()
    try:
        chosen = channels(read_header(content)) if callable(channels) else channels
        return read_image(content, chosen)
    except BadImageError as error:
        raise UsageError(f"The picture {visible(path)} cannot be used: {error}.") from error


def _checked(content: Any, shape: tuple, fit: str = "crop") -> tuple[ImageHeader, Array]:
    found = read_header(content)
    try:
        return found, _decoder(shape, fit)(tf.constant(content)).numpy()
    except (tf.errors.OpError, OSError, ValueError, SyntaxError) as error:  # Pillow's, too
        raise BadImageError(
            f"a {found.format} of {found.size[0]}×{found.size[1]} pixels whose data cannot be "
            "decoded: truncated or damaged"
        ) from error


@functools.lru_cache(maxsize=8)
def _decoder(shape, fit):
    # As a graph: its many small operations one by one take 10 ms, and hold Python's lock.
    decode = functools.partial(decode_bytes, shape=shape, fit=fit)
    if None in shape:
        decode = functools.partial(decode_pixels, channels=shape[2])
    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


__all__ = [
    "FITS",
    "MAX_PIXELS",
    "BadImageError",
    "ImageHeader",
    "decode_bytes",
    "decode_checked",
    "decode_pixels",
    "fitted",
    "read_header",
    "read_image",
    "read_picture",
]
