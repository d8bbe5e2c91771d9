"""Image files to arrays of one size, in TensorFlow's graph.

No Python runs here: it would hold a lock that the training loop needs, and a process that ends
while its input pipeline still calls Python may never end.
"""

import tensorflow as tf

_PNG = b"\x89PNG"  # how such a file begins
_COLOUR_TYPE = 25  # the byte that says what its pixels are
_WITH_ALPHA = (4, 6)  # the two colour types with transparency


def decode(path, shape):
    """The image in a PNG or JPEG file, its centre cropped and resized.

    Greyscale, palettes and CMYK become the colours asked for; transparent parts are laid on white
    unless four channels are asked for; of 16 bits the upper eight are kept. A JPEG's EXIF
    orientation is not applied.

    Args:
      path: of the file, a string tensor [].
      shape: (height, width, channels), channels 1, 3 or 4 (JPEG: 1 or 3).

    Returns:
      uint8 tensor of `shape`.

    Raises:
      tf.errors.NotFoundError: no such file.
      tf.errors.InvalidArgumentError: not an image that can be read.
    """
    content = tf.io.read_file(path)
    channels = shape[2]

    def opaque():
        return tf.io.decode_image(content, channels, expand_animations=False)

    def on_white():
        pixels = tf.cast(tf.io.decode_png(content, 4), tf.float32)
        alpha = pixels[:, :, 3:] / 255.0
        colours = tf.cast(tf.round(pixels[:, :, :3] * alpha + 255.0 * (1.0 - alpha)), tf.uint8)
        return colours if channels == 3 else tf.image.rgb_to_grayscale(colours)

    if channels == 4:
        return fit(opaque(), shape)
    header = tf.strings.substr(content, 0, _COLOUR_TYPE + 1)
    values = tf.io.decode_raw(header, tf.uint8)
    is_png = tf.reduce_all(values[: len(_PNG)] == tf.constant(list(_PNG), tf.uint8))
    has_alpha = tf.reduce_any(
        values[_COLOUR_TYPE:] == tf.constant([[value] for value in _WITH_ALPHA], tf.uint8)
    )
    return fit(tf.cond(is_png & has_alpha, on_white, opaque), shape)


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
