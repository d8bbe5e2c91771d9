"""Parts of files, read in TensorFlow's graph: records, members of archives, rows of arrays.

No Python runs here, and no file is held open: a part is found by its offset. TensorFlow has no
operation that reads a part of a file, but a data set of records of fixed length is one: with the
rest of the file as its header and its footer it holds one record.
"""

import tensorflow as tf


def read_range(path, offset, length, size):
    """The bytes [offset, offset + length) of a file, a string tensor [].

    Args:
      path: string [].
      offset, length, size: int64 []; `size` is that of the whole file.

    Raises:
      tf.errors.OpError: no such file, or one that has not the size any more.
    """
    offset, length, size = (tf.cast(value, tf.int64) for value in (offset, length, size))
    records = tf.raw_ops.FixedLengthRecordDatasetV2(
        filenames=path,
        header_bytes=offset,
        record_bytes=length,
        footer_bytes=size - offset - length,
        buffer_size=length,
        compression_type="",
    )
    return tf.raw_ops.DatasetToSingleElement(
        dataset=records, output_types=[tf.string], output_shapes=[()]
    )[0]
