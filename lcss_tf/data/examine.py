"""What is wrong with an image that TensorFlow could not read, and what an image is: by Pillow."""

import functools
import io
import warnings
from typing import NamedTuple

import tensorflow as tf
from PIL import Image

from lcss_tf.data.decode import MAX_PIXELS, decode_bytes

_READ = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "MPO")


class Facts(NamedTuple):
    """What Pillow says: format ("PNG"), size (width, height), mode ("RGB", "CMYK", …)."""

    format: str
    size: tuple[int, int]
    mode: str


class BadImage(ValueError):
    """An image that cannot be used; the message says why, without its name."""


def facts(content):
    """The `Facts` of encoded bytes, from the header alone.

    Raises:
      BadImage: not an image, of a format that is not read, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # counted below
            with Image.open(io.BytesIO(content)) as image:
                found = Facts(image.format, image.size, image.mode)
    except Image.DecompressionBombError as error:
        raise BadImage(_too_large(str(error))) from error
    except Exception as error:  # Pillow raises many kinds
        begins = "empty" if not content else f"it begins with {content[:8]!r}"
        raise BadImage(f"not an image, or its header is damaged ({begins})") from error
    if found.size[0] * found.size[1] > MAX_PIXELS:
        raise BadImage(_too_large(f"{found.size[0]}×{found.size[1]} pixels"))
    if found.format not in _READ:
        raise BadImage(f"{found.format} is not read; convert it to PNG")
    return found


def _too_large(what):
    return (
        f"{what}, more than the {MAX_PIXELS:,} that are decoded: a decompression bomb, or an image "
        "to be made smaller first"
    )


def checked(content, shape):
    """The `Facts` and the uint8 example of `shape` of encoded bytes.

    Raises:
      BadImage: as `facts`, or pixels that cannot be decoded.
    """
    found = facts(content)
    try:
        return found, _decoder(tuple(shape))(tf.constant(content)).numpy()
    except (tf.errors.OpError, OSError, ValueError, SyntaxError) as error:  # Pillow's, too
        raise BadImage(
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
