"""The orientation that a camera writes into a JPEG file, read and applied in TensorFlow's graph.

Orientation is the field 0x0112 of the first directory of the TIFF structure that follows the
letters "Exif" (JEITA CP-3451).
"""

import tensorflow as tf

_MARK = b"Exif\0\0"
_TAG = 0x0112
_MOST_FIELDS = 64  # of a directory that are looked at


def orientation(head):
    """1 to 8, an int32 []; 1, upright, where nothing is said.

    Args:
      head: the file's first bytes, uint8 [n].
    """
    head = tf.concat([tf.cast(head, tf.int32), tf.zeros([16], tf.int32)], axis=0)
    starts = tf.shape(head)[0] - len(_MARK)
    found = tf.ones([starts], tf.bool)
    for i, letter in enumerate(_MARK):
        found &= head[i : i + starts] == letter
    mark = tf.argmax(found, output_type=tf.int32)
    return tf.cond(found[mark], lambda: _of_tiff(head, mark + len(_MARK)), lambda: tf.constant(1))


def _of_tiff(head, tiff):
    last = tf.shape(head)[0] - 1
    little = head[tiff] == ord("I")

    def u16(at):
        first, second = (tf.gather(head, tf.clip_by_value(at + k, 0, last)) for k in (0, 1))
        return tf.where(little, first + 256 * second, 256 * first + second)

    high, low = u16(tiff + 4), u16(tiff + 6)
    # Directories lie within 64 KiB: of the offset's four bytes two are zero.
    directory = tiff + tf.where(little, high, low)
    fields = directory + 2 + 12 * tf.range(tf.minimum(u16(directory), _MOST_FIELDS))
    mine = (u16(fields) == _TAG) & (fields + 12 <= last)
    value = tf.reduce_max(tf.where(mine, u16(fields + 8), 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def upright(image, turned):
    """An image [h, w, C] as its orientation `turned` (1 to 8) says it is to be seen."""

    def apply():
        seen = tf.cond(turned >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        mirrored = _is_one_of(turned, (2, 3, 6, 7))
        seen = tf.cond(mirrored, lambda: tf.reverse(seen, [1]), lambda: seen)
        upside_down = _is_one_of(turned, (3, 4, 7, 8))
        return tf.cond(upside_down, lambda: tf.reverse(seen, [0]), lambda: seen)

    return tf.cond(turned > 1, apply, lambda: image)


def _is_one_of(value, among):
    return tf.reduce_any(value == tf.constant(among))
