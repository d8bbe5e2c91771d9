"""Arrays of equal examples in files: mapped into memory for looking, read by offset for training.

A `Segment` is a row of examples of one dtype at equal distances in one file: the rows of a
``.npy`` file, or the windows of a recording. `Store` gives the examples of some segments by
index, from memory if they are small, else from the files as they are needed.
"""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.data.bar import reading_bar
from lcss_tf.data.files import why_unreadable
from lcss_tf.data.reading import read_range
from lcss_tf.errors import UsageError

MEMORY_BYTES = 2**30  # data up to this size are held in memory
_PARALLEL = 16  # examples of one batch read at once
_NUMBERS = "uif"  # NumPy's kinds of dtype that are numbers
_CHUNK_VALUES = 2**22


class Segment(NamedTuple):
    """array: [n, *shape], often memory-mapped. path: the file, None if it is in memory only.
    offset: of the first example's bytes. stride: bytes from one example to the next."""

    array: np.ndarray
    path: str | None
    offset: int
    stride: int

    def take(self, start, stop):
        """The examples start to stop as a segment."""
        return self._replace(array=self.array[start:stop], offset=self.offset + start * self.stride)


def check_dtype(dtype, where):
    """Raises a ValueError unless a dtype holds numbers."""
    if dtype.kind not in _NUMBERS:
        raise UsageError(
            f"{where} holds {dtype}, and training takes numbers: integers or floats of at most 64 "
            "bits. Convert it, e.g. array.astype(numpy.float32)."
        )


def scan(segments):
    """One pass over all examples: (good, moments).

    Returns:
      A bool array [N], False where an example holds NaN or infinity; and (mean, deviation)
      of the values of the good ones.
    """
    good, count, mean, squares = [], 0, 0.0, 0.0
    for part in _parts(segments):
        finite = np.isfinite(part).all(axis=1)
        good.append(finite)
        part = part[finite]
        if not part.size:
            continue
        # Chan, Golub and LeVeque's merging of two sets' moments.
        gap, total = part.mean() - mean, count + part.size
        squares += np.square(part - part.mean()).sum() + gap**2 * count * part.size / total
        mean, count = mean + gap * part.size / total, total
    good = np.concatenate(good) if good else np.zeros(0, bool)
    return good, (float(mean), float(np.sqrt(squares / max(count, 1))))


def _parts(segments):
    """All examples in order, float64 [rows, values], some at a time."""
    count = sum(len(segment.array) for segment in segments)
    with reading_bar(count, "arrays", "examples") as bar:
        for segment in segments:
            array = segment.array
            values = int(np.prod(array.shape[1:]))
            rows = max(1, _CHUNK_VALUES // max(1, values))
            for start in range(0, len(array), rows):
                part = np.asarray(array[start : start + rows], np.float64)
                yield part.reshape(-1, values)
                bar.update(len(part))


class Store:
    """Examples by index.

    Args:
      segments: of one shape and dtype.
      chosen: which of all their examples, in this order; int [n].
    """

    def __init__(self, segments, chosen):
        self._shape = segments[0].array.shape[1:]
        dtype = segments[0].array.dtype
        self._count = len(chosen)
        self._sizes = None  # of the files, where they are read in training
        num_bytes = len(chosen) * int(np.prod(self._shape)) * dtype.itemsize
        lengths = [len(segment.array) for segment in segments]
        file = np.repeat(np.arange(len(segments)), lengths)[chosen]
        row = np.concatenate([np.arange(length) for length in lengths])[chosen]
        in_files = all(s.path is not None for s in segments) and dtype.isnative
        self._segments, self._file = segments, file
        if not in_files and num_bytes > MEMORY_BYTES:
            raise UsageError(
                f"{num_bytes / 2**30:.1f} GiB are compressed, or of the other byte order, and do "
                "not fit into memory. Save them by numpy.save, so that they can be mapped."
            )
        with tf.init_scope(), tf.device("CPU:0"):
            if num_bytes <= MEMORY_BYTES:
                self._from_memory(segments, file, row, dtype)
            else:
                self._from_files(segments, file, row, dtype)

    def _from_memory(self, segments, file, row, dtype):
        array = np.empty((self._count, *self._shape), dtype.newbyteorder("="))
        for i, segment in enumerate(segments):
            array[file == i] = segment.array[row[file == i]]
        held = tf.constant(array)
        self.gather = lambda indices: tf.gather(held, indices)

    def _from_files(self, segments, file, row, dtype):
        strides, offsets = (np.array([s[k] for s in segments], np.int64) for k in (3, 2))
        paths = tf.constant([segment.path for segment in segments])
        self._sizes = [os.path.getsize(segment.path) for segment in segments]
        sizes = tf.constant(self._sizes, tf.int64)
        file = tf.constant(file, tf.int64)
        offset = tf.constant(offsets[file.numpy()] + row * strides[file.numpy()], tf.int64)
        length = int(np.prod(self._shape)) * dtype.itemsize

        def example(index):
            k = file[index]
            content = read_range(paths[k], offset[index], length, sizes[k])
            return tf.reshape(tf.io.decode_raw(content, tf.as_dtype(dtype)), self._shape)

        self.gather = lambda indices: tf.map_fn(
            example,
            indices,
            parallel_iterations=_PARALLEL,
            fn_output_signature=tf.TensorSpec(self._shape, tf.as_dtype(dtype)),
        )

    def __len__(self):
        return self._count

    def why_bad(self, index):
        """(path, reason) if the file of an example (an int) can be read no more; else None."""
        k = self._file[index]
        path = self._segments[k].path
        why = why_unreadable(path, self._sizes[k]) if self._sizes else None
        return (path, why) if why else None
