"""Encoded images to arrays of one size, in TensorFlow's graph.

No Python runs here for PNG, JPEG and WebP: it would hold a lock that the training loop needs, and
a process that ends while its input pipeline still calls Python may never end. GIF, BMP and
animated WebP are left to Pillow, which knows all their kinds.
"""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from lcss_tf.data.exif import orientation, upright
from lcss_tf.data.header import BMP, FORMATS, GIF, JPEG, PNG, WEBP, format_of, pixels_of

MAX_PIXELS = 2**27  # of an image before it is decoded: 134 megapixels
_HEAD = 4096  # bytes that hold the header and, in a JPEG, the orientation
_COLOUR_TYPE = 25  # the byte that says what a PNG's pixels are
_WEBP_KIND, _WEBP_FLAGS, _WEBP_ANIMATED = 15, 20, 2  # two bytes, and a bit of the second
_WITH_ALPHA = (4, 6)  # grey and colours with transparency
_CLEAR_COLOURS = b"tRNS"  # names the chunk that makes colours of any other PNG transparent


def decode(path, shape):
    """The image in a file; see `decode_bytes`.

    Raises:
      tf.errors.NotFoundError: no such file.
    """
    return decode_bytes(tf.io.read_file(path), shape)


def decode_bytes(content, shape):
    """An encoded PNG, JPEG, WebP, GIF or BMP image, its centre cropped and resized.

    Greyscale, palettes and CMYK become the colours asked for; transparent parts are laid on white
    unless four channels are asked for; of 16 bits the upper eight are kept; a JPEG is turned
    upright as its EXIF orientation says; of an animation the first picture is taken.

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
    tf.debugging.Assert(kind < len(FORMATS), ["not an image: PNG, JPEG, WebP, GIF or BMP"])

    def png():
        if channels == 4:
            return _png_rgba(head, content)
        return tf.cond(
            _png_is_clear(head),
            lambda: _on_white(tf.io.decode_png(content, 4), channels),
            lambda: tf.io.decode_png(content, channels),
        )

    def jpeg():
        image = tf.io.decode_jpeg(content, min(channels, 3))
        return _opaque(upright(image, orientation(head)), channels)

    def still_webp():
        image = tf.io.decode_webp(content)[0]  # 3 or 4 channels, as they are stored
        opaque = tf.fill(tf.shape(image[:, :, :1]), tf.constant(255, tf.uint8))
        rgba = tf.concat([image, opaque], axis=2)[:, :, :4]
        return _on_white(tf.ensure_shape(rgba, [None, None, 4]), channels)

    def by_pillow():
        image = tf.numpy_function(_pillow, [content], tf.uint8, stateful=False)
        return _on_white(tf.ensure_shape(image, [None, None, 4]), channels)

    def webp():
        # TensorFlow 2.21's decoder writes beyond its memory where a WebP is an animation.
        animated = (head[_WEBP_KIND] == ord("X")) & (head[_WEBP_FLAGS] & _WEBP_ANIMATED > 0)
        return tf.cond(animated, by_pillow, still_webp)

    branches = {PNG: png, JPEG: jpeg, WEBP: webp, GIF: by_pillow, BMP: by_pillow}
    pixels = pixels_of(kind, head, content)
    tf.debugging.Assert(pixels <= MAX_PIXELS, ["the image has too many pixels:", pixels])
    # Assertions and decoding may run in either order: what is too large is not decoded at all.
    nothing = len(FORMATS)
    image = tf.switch_case(
        tf.where(pixels <= MAX_PIXELS, kind, nothing),
        {**branches, nothing: lambda: tf.zeros([1, 1, channels], tf.uint8)},
    )
    return fit(image, shape)


def _png_is_clear(head):
    """Whether parts of a PNG may be transparent; head: its first bytes, uint8 [n]."""
    count = tf.shape(head)[0] - len(_CLEAR_COLOURS) + 1
    named = tf.ones([count], tf.bool)
    for i, letter in enumerate(_CLEAR_COLOURS):
        named &= head[i : i + count] == letter
    alpha = tf.reduce_any(head[_COLOUR_TYPE] == tf.constant(_WITH_ALPHA, tf.uint8))
    return alpha | tf.reduce_any(named)


def _png_rgba(head, content):
    """RGBA of a PNG. Of palettes without transparency TensorFlow's own alpha is wrong."""
    return tf.cond(
        _png_is_clear(head),
        lambda: tf.io.decode_png(content, 4),
        lambda: _opaque(tf.io.decode_png(content, 3), 4),
    )


def _on_white(rgba, channels):
    """RGBA on white: grey or colours; unchanged for four channels."""
    if channels == 4:
        return rgba
    pixels = tf.cast(rgba, tf.float32)
    alpha = pixels[:, :, 3:] / 255.0
    colours = tf.cast(tf.round(pixels[:, :, :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)
    return colours if channels == 3 else tf.image.rgb_to_grayscale(colours)


def _opaque(image, channels):
    if channels < 4:
        return image
    return tf.concat([image, tf.fill(tf.shape(image[:, :, :1]), tf.constant(255, tf.uint8))], 2)


def _pillow(content):
    # Eagerly TensorFlow hands over an array of one object; NumPy's own bytes would lose zeros.
    content = np.asarray(content, object).item()
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGBA"))


def fit(image, shape):
    """The centre of an image, antialiased to `shape`.

    The crop is the largest with the proportions of `shape`; an image of the right size is
    left as it is, bit for bit.

    Args:
      image: uint8 [h, w, C].
      shape: (height, width, channels), the channels being C.

    Returns:
      uint8 tensor of `shape`.
    """
    height, width, channels = shape
    size = tf.shape(image)[:2]

    def resized():
        zoom = tf.reduce_min(tf.cast(size, tf.float64) / tf.constant([height, width], tf.float64))
        part = tf.cast(tf.round(tf.constant([height, width], tf.float64) * zoom), tf.int32)
        top, left = tf.unstack((size - part) // 2)
        crop = image[top : top + part[0], left : left + part[1]]
        smooth = tf.image.resize(crop, (height, width), method="lanczos3", antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(smooth, 0.0, 255.0)), tf.uint8)

    fitted = tf.cond(tf.reduce_all(size == [height, width]), lambda: image, resized)
    return tf.ensure_shape(fitted, [height, width, channels])
