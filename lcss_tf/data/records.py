"""Records of TFRecord files by index, read in TensorFlow's graph."""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.data.reading import read_range
from lcss_tf.data.tfrecord_index import record_index
from lcss_tf.errors import UsageError


class Part(NamedTuple):
    """Records skip to skip + take of a file; take None: to its end."""

    path: str
    skip: int = 0
    take: int | None = None


class Records:
    """The records of parts of files, in order.

    Args:
      parts: a list of `Part`s.

    Raises:
      ValueError: a file that was not written to its end, or holds fewer records than its part.
    """

    def __init__(self, parts):
        offsets, lengths, files = [], [], []
        for k, part in enumerate(parts):
            start, length = record_index(part.path)
            take = len(start) - part.skip if part.take is None else part.take
            if part.skip + take > len(start):
                raise UsageError(
                    f"{part.path} holds {len(start):,} records, and {part.skip + take:,} are "
                    "expected: it was not written to its end. Prepare the data again."
                )
            chosen = slice(part.skip, part.skip + take)
            offsets.append(start[chosen])
            lengths.append(length[chosen])
            files.append(np.full(take, k))
        self._parts = parts
        self._paths = [part.path for part in parts]
        self._files = np.concatenate(files)
        self._numbers = np.concatenate(
            [part.skip + np.arange(len(n)) for part, n in zip(parts, offsets, strict=True)]
        )
        with tf.init_scope(), tf.device("CPU:0"):
            self._path = tf.constant(self._paths)
            self._size = tf.constant([os.path.getsize(p) for p in self._paths], tf.int64)
            self._file = tf.constant(self._files, tf.int64)
            self._offset = tf.constant(np.concatenate(offsets))
            self._length = tf.constant(np.concatenate(lengths))

    def __len__(self):
        return len(self._files)

    def read(self, index):
        """The data of a record (int64 []), a string tensor []; works in graphs."""
        k = self._file[index]
        return read_range(self._path[k], self._offset[index], self._length[index], self._size[k])

    def in_order(self):
        """All records one after another, a ``tf.data.Dataset``: faster than by index."""
        skips = tf.constant([part.skip for part in self._parts], tf.int64)
        takes = [-1 if part.take is None else part.take for part in self._parts]
        files = tf.data.Dataset.from_tensor_slices(
            (self._paths, skips, tf.constant(takes, tf.int64))
        )
        return files.flat_map(
            lambda path, skip, take: tf.data.TFRecordDataset(path).skip(skip).take(take)
        )

    def place_of(self, index):
        """Where a record lies, for messages."""
        return f"Record {self._numbers[index]} of {self._paths[self._files[index]]}"
