"""What the header of an encoded image says, inside TensorFlow's graph: format, size, orientation.

The chunks of a PNG and the segments of a JPEG are walked one by one, each by its own length, up to
the pixels. No Python runs here. What is unusual is marked as such, and left to Pillow.
"""

from typing import NamedTuple

import tensorflow as tf

from lcss_tf.typing import Tensor

# A format that TensorFlow decodes to the same pixels as Pillow begins with these bytes; None: any.
PNG, JPEG, WEBP, OTHER = range(4)
_SIGNATURES = {
    PNG: [*b"\x89PNG\r\n\x1a\n"],
    JPEG: [*b"\xff\xd8\xff"],
    WEBP: [*b"RIFF", None, None, None, None, *b"WEBP", *b"VP8"],
}
UNKNOWN_ORIENTATION = 0
_PADDING = 64  # zeros behind a file's bytes, so that a short file can be asked for its header
_MAX_PARTS = 1_024  # chunks or segments that are walked


class Header(NamedTuple):
    """What TensorFlow must know before it decodes an image; scalars.

    Attributes:
      format: int32, `PNG`, `JPEG` or `WEBP` where TensorFlow decodes the file as Pillow does, else
        `OTHER`.
      pixels: int64, width times height; 0 of the format `OTHER`, where Pillow counts them.
      clear: bool, whether a PNG has an alpha channel or a transparent colour.
      orientation: int32, 1 to 8 as in Exif, or `UNKNOWN_ORIENTATION` where Pillow must be asked.
    """

    format: Tensor
    pixels: Tensor
    clear: Tensor
    orientation: Tensor


def read(content: Tensor) -> Header:
    """The `Header` of a file.

    Args:
      content: the file, a string [].
    """
    data = tf.io.decode_raw(content, tf.uint8)
    size = tf.size(data)
    data = tf.concat([data, tf.zeros([_PADDING], tf.uint8)], axis=0)
    matches = []
    for letters in _SIGNATURES.values():
        places = [i for i, letter in enumerate(letters) if letter is not None]
        expected = tf.constant([letters[i] for i in places], tf.uint8)
        matches.append(tf.reduce_all(tf.gather(data, places) == expected))
    found = tf.argmax([*matches, True], output_type=tf.int32)
    header = Header(
        *tf.switch_case(
            found,
            {
                PNG: lambda: _png(data, size, content),
                JPEG: lambda: _jpeg(data, size),
                WEBP: lambda: _webp(data),
                OTHER: _other,
            },
        )
    )
    # Of what is left to Pillow the place of the size may not have been found.
    unknown = header.format == OTHER
    return header._replace(pixels=tf.where(unknown, tf.zeros_like(header.pixels), header.pixels))


def _other() -> Header:
    return Header(tf.constant(OTHER), tf.constant(0, tf.int64), tf.constant(False), tf.constant(1))


def _number(data: Tensor, start: Tensor | int, count: int, little: Tensor | bool = False) -> Tensor:
    """The unsigned number of `count` bytes from `start` on, int64 []."""
    places = tf.range(count)
    powers = tf.where(little, places, count - 1 - places)
    digits = tf.cast(data[start : start + count], tf.int64)
    return tf.reduce_sum(tf.bitwise.left_shift(digits, tf.cast(8 * powers, tf.int64)))


def _is(data: Tensor, start: Tensor | int, letters: bytes) -> Tensor:
    return tf.reduce_all(data[start : start + len(letters)] == tf.constant([*letters], tf.uint8))


# PNG (ISO/IEC 15948): chunks of a length, a name, the data and a checksum.

_FIRST_CHUNK, _COLOUR_TYPE, _WITH_ALPHA = 8, 25, 4
# Where Pillow finds an orientation: before the pixels or behind them. A walk over all chunks of
# pixels would take as long as decoding, so these names are looked for in the whole file. One that
# stands there by chance does no harm: Pillow is asked.
_ORIENTED = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type")


def _png(data: Tensor, size: Tensor, content: Tensor) -> Header:
    def more(at: Tensor, clear: Tensor, ended: Tensor) -> Tensor:
        del clear
        return ~ended & (at + 12 <= size)

    def step(at: Tensor, clear: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        del ended
        length = _number(data, at, 4)
        pixels = _is(data, at + 4, b"IDAT")
        beyond = length > tf.cast(size - at - 12, tf.int64)
        following = at + 12 + tf.cast(tf.where(beyond, tf.zeros_like(length), length), tf.int32)
        return following, clear | _is(data, at + 4, b"tRNS"), pixels | beyond

    alpha = tf.bitwise.bitwise_and(data[_COLOUR_TYPE], tf.constant(_WITH_ALPHA, tf.uint8)) > 0
    start = (tf.constant(_FIRST_CHUNK), alpha, tf.constant(False))
    _, clear, ended = tf.while_loop(more, step, start, maximum_iterations=_MAX_PARTS)
    mentioned = [_holds(content, name) for name in _ORIENTED]
    return Header(
        # Where no pixels were found Pillow says what is wrong; it also reads other first chunks.
        tf.where(ended & _is(data, _FIRST_CHUNK + 4, b"IHDR"), PNG, OTHER),
        _side(data, 16) * _side(data, 20),
        clear,
        tf.where(tf.reduce_any(mentioned), UNKNOWN_ORIENTATION, 1),
    )


def _side(data: Tensor, start: int) -> Tensor:
    """A side in pixels; at most 2³¹, which no PNG may have, so that no product overflows."""
    return tf.minimum(_number(data, start, 4), tf.constant(2**31, tf.int64))


def _holds(content: Tensor, name: bytes) -> Tensor:
    # Replacing searches by memchr, and takes a tenth of the time that a full match takes.
    without = tf.strings.regex_replace(content, name.replace(b".", rb"\."), b"", False)
    return tf.strings.length(without) != tf.strings.length(content)


# JPEG (ITU-T T.81): segments of a marker, a length, and the data, up to the start of scan.

_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_FRAMES = tuple(k for k in range(0xC0, 0xD0) if k not in (0xC4, 0xC8, 0xCC))
_DECODED_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; with Huffman codes
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


class _Walk(NamedTuple):
    """The state of a walk over a JPEG's segments.

    Attributes:
      at: int32, where the next one begins.
      ended, odd: bool, whether the scan begins here, or something stands here that should not.
      frames, marker, frame: int32, how many frames there are; marker and place of the last.
      exifs, exif, end: int32, how many Exif segments there are; where the TIFF structure of the
        last begins and ends.
      xmp: bool, whether there is a segment of XMP.
    """

    at: Tensor
    ended: Tensor
    odd: Tensor
    frames: Tensor
    marker: Tensor
    frame: Tensor
    exifs: Tensor
    exif: Tensor
    end: Tensor
    xmp: Tensor


def _jpeg(data: Tensor, size: Tensor) -> Header:
    def step(*state: Tensor) -> tuple[_Walk]:
        walk = _Walk(*state[0])
        marker = tf.cast(data[walk.at + 1], tf.int32)
        fill = marker == 0xFF  # any number of them may stand before a marker
        length = tf.cast(_number(data, walk.at + 2, 2), tf.int32)
        following = walk.at + 2 + length
        odd = (data[walk.at] != 0xFF) | (~fill & ((length < 2) | (following > size)))
        application, frame = marker == _APP1, _is_one_of(marker, _FRAMES)
        exif = application & _is(data, walk.at + 4, _EXIF)
        return (
            _Walk(
                tf.where(fill, walk.at + 1, following),
                _is_one_of(marker, (_SOS, _EOI)),
                odd,
                walk.frames + tf.cast(frame, tf.int32),
                tf.where(frame, marker, walk.marker),
                tf.where(frame, walk.at + 4, walk.frame),
                walk.exifs + tf.cast(exif, tf.int32),
                tf.where(exif, walk.at + 4 + len(_EXIF), walk.exif),
                tf.where(exif, following, walk.end),
                walk.xmp | (application & _is(data, walk.at + 4, _XMP)),
            ),
        )

    def more(*state: Tensor) -> Tensor:
        walk = _Walk(*state[0])
        return ~walk.ended & ~walk.odd & (walk.at + 4 <= size)

    number, no = tf.constant(0), tf.constant(False)
    start = _Walk(tf.constant(2), no, no, number, number, number, number, number, number, no)
    (walk,) = tf.while_loop(more, step, (start,), maximum_iterations=_MAX_PARTS)
    known = (
        walk.ended
        & ~walk.odd
        & (walk.frames == 1)
        & _is_one_of(walk.marker, _DECODED_FRAMES)
        & (data[walk.frame] == 8)  # bits of a sample
        & _is_one_of(
            tf.cast(data[walk.frame + 5], tf.int32), (1, 3)
        )  # grey or colours: Pillow converts CMYK
    )
    orientation = tf.switch_case(
        tf.minimum(walk.exifs, 2),
        {
            0: lambda: tf.where(walk.xmp, UNKNOWN_ORIENTATION, 1),
            1: lambda: _of_tiff(data, walk.exif, walk.end, ~walk.xmp),
            2: lambda: tf.constant(UNKNOWN_ORIENTATION),
        },
    )
    return Header(
        tf.where(known, JPEG, OTHER),
        _number(data, walk.frame + 1, 2) * _number(data, walk.frame + 3, 2),
        no,
        orientation,
    )


def _is_one_of(value: Tensor, among: tuple[int, ...]) -> Tensor:
    return tf.reduce_any(value == tf.constant(among))


# Exif (JEITA CP-3451): the orientation is the field 0x0112 of the first directory of a TIFF.

_ORIENTATION, _SHORT = 0x0112, 3


def _of_tiff(data: Tensor, tiff: Tensor, end: Tensor, alone: Tensor) -> Tensor:
    """The orientation that a TIFF structure holds; unknown where anything about it is unusual.

    Args:
      data: the file's bytes, uint8.
      tiff, end: where the structure begins and ends.
      alone: whether an upright image may be meant where the field is missing.
    """
    little = _is(data, tiff, b"II*\0")
    known = little | _is(data, tiff, b"MM\0*")
    offset = _number(data, tiff + 4, 4, little)
    inside = known & (offset + 2 <= tf.cast(end - tiff, tf.int64))
    directory = tiff + tf.cast(tf.where(inside, offset, tf.zeros_like(offset)), tf.int32)
    count = tf.cast(_number(data, directory, 2, little), tf.int32)
    inside &= directory + 2 + 12 * count <= end
    first = directory + 2
    fields = tf.cast(data[first : first + tf.where(inside, 12 * count, 0)], tf.int32)
    fields = tf.reshape(fields, [-1, 12])

    def shorts(column: int) -> Tensor:
        first, second = fields[:, column], fields[:, column + 1]
        return tf.where(little, first + 256 * second, 256 * first + second)

    matching = shorts(0) == _ORIENTATION
    one = tf.where(little, fields[:, 4], fields[:, 7]) == 1
    one &= tf.reduce_sum(fields[:, 4:8], axis=1) == 1
    plain = matching & one & (shorts(2) == _SHORT)
    value = tf.reduce_sum(tf.where(plain, shorts(8), 0))
    times = tf.reduce_sum(tf.cast(matching, tf.int32))
    usual = inside & (times == 1) & (value >= 1) & (value <= 8)
    missing = inside & (times == 0) & alone
    return tf.where(usual, value, tf.where(missing, 1, UNKNOWN_ORIENTATION))


# WebP (RFC 9649): only the simple formats, whose pixels follow at once. Whatever has more than
# pixels, such as Exif or an animation, is left to Pillow.


def _webp(data: Tensor) -> Header:
    bits, letter = _number(data, 21, 4, True), data[15]  # "VP8L", "VP8X" or "VP8 "
    lossless, lossy = letter == ord("L"), letter == ord(" ")
    low = 0x3FFF  # fourteen bits
    both = lambda width, height: tf.cast(width, tf.int64) * tf.cast(height, tf.int64)
    pixels = tf.where(
        lossless,
        both((bits & low) + 1, ((bits // 2**14) & low) + 1),
        both(_number(data, 26, 2, True) & low, _number(data, 28, 2, True) & low),
    )
    return Header(
        tf.where(lossless | lossy, WEBP, OTHER), pixels, tf.constant(False), tf.constant(1)
    )


# What the orientation means.


def upright(image: Tensor, orientation: Tensor) -> Tensor:
    """An image [h, w, C] as its Exif orientation (1 to 8) says it is to be seen."""

    def apply() -> Tensor:
        seen = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        mirrored = _is_one_of(orientation, (2, 3, 6, 7))
        seen = tf.cond(mirrored, lambda: tf.reverse(seen, [1]), lambda: seen)
        upside_down = _is_one_of(orientation, (3, 4, 7, 8))
        return tf.cond(upside_down, lambda: tf.reverse(seen, [0]), lambda: seen)

    return tf.cond(orientation > 1, apply, lambda: image)


__all__ = ["JPEG", "OTHER", "PNG", "UNKNOWN_ORIENTATION", "WEBP", "Header", "read", "upright"]
