"""What the first bytes of an image file say: its format and its size, in TensorFlow's graph."""

import tensorflow as tf

PNG, JPEG, WEBP, GIF, BMP = range(5)
# A format begins with these letters; None: any.
FORMATS = {
    PNG: [*b"\x89PNG\r\n\x1a\n"],
    JPEG: [*b"\xff\xd8\xff"],
    WEBP: [*b"RIFF", None, None, None, None, *b"WEBP"],
    GIF: [*b"GIF8"],
    BMP: [*b"BM"],
}


def format_of(head):
    """PNG … BMP, an int32 []; len(FORMATS) for anything else.

    Args:
      head: the file's first bytes, uint8 [n], n >= 64.
    """
    matches = []
    for letters in FORMATS.values():
        places = [i for i, letter in enumerate(letters) if letter is not None]
        expected = tf.constant([letters[i] for i in places], tf.uint8)
        matches.append(tf.reduce_all(tf.gather(head, places) == expected))
    return tf.argmax([*matches, True], output_type=tf.int32)


def pixels_of(kind, head, content):
    """Height times width as the header says, an int64 [].

    Args:
      kind: from `format_of`.
      head: as there.
      content: the whole file, a string []; a JPEG's size stands anywhere in it.
    """
    head = tf.cast(head, tf.int64)

    def number(start, count, big=False):
        places = range(start, start + count)
        powers = reversed(range(count)) if big else range(count)
        return sum(head[i] * 256**p for i, p in zip(places, powers, strict=True))

    def png():
        return number(16, 4, big=True) * number(20, 4, big=True)

    def jpeg():
        shape = tf.image.extract_jpeg_shape(content, tf.int64)
        return shape[0] * shape[1]

    def webp():
        bits = number(21, 4)
        lossless = ((bits & 0x3FFF) + 1) * (((bits // 2**14) & 0x3FFF) + 1)
        lossy = (number(26, 2) & 0x3FFF) * (number(28, 2) & 0x3FFF)
        extended = (number(24, 3) + 1) * (number(27, 3) + 1)
        letter = head[15]  # "VP8L", "VP8X" or "VP8 "
        return tf.where(letter == ord("L"), lossless, tf.where(letter == ord("X"), extended, lossy))

    def gif():
        return number(6, 2) * number(8, 2)

    def bmp():
        height = number(22, 4)
        return number(18, 4) * tf.minimum(height, 2**32 - height)  # negative: from the top down

    sizes = {PNG: png, JPEG: jpeg, WEBP: webp, GIF: gif, BMP: bmp}
    return tf.switch_case(kind, {**sizes, len(FORMATS): lambda: tf.constant(0, tf.int64)})
