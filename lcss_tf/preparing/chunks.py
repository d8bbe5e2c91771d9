"""The long part of preparing, in chunks: whatever is finished stays finished.

Each chunk of 256 examples becomes a TFRecord file and, when that is whole, a JSON file with the
examples that were rejected. A run that was stopped goes on with the chunks that have none.
"""

import concurrent.futures
import hashlib
import json
import os

import tensorflow as tf
from tqdm import tqdm

from lcss_tf.files import write_bytes
from lcss_tf.preparing.source import SPLITS, convert

_CHUNK = 256  # examples
_TEXTS, _NUMBERS = ("image", "source", "format", "mode"), ("width", "height")


class Chunks:
    """The converted examples of a `Source`, in a folder of their own.

    Args:
      source: the `Source`.
      out: where the dataset goes; the chunks lie in a hidden folder of it until it is finished.
    """

    def __init__(self, source, out):
        self._source = source
        self._data = source.open()
        self._sizes = {split: self._data.size(split) for split in SPLITS}
        self.folder = os.path.join(out, f".chunks_{self._key()}")

    def _key(self):
        """Of everything that the chunks depend on: another source has chunks of its own."""
        digest = hashlib.sha256(repr(tuple(self._source)).encode())
        for split, size in self._sizes.items():
            for index in range(size):
                place = self._data.place_of(index, split)
                digest.update(place.encode())
                if os.path.isfile(place):
                    status = os.stat(place)
                    digest.update(f"{status.st_size},{status.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def make(self):
        """Converts what is not yet converted, on all cores."""
        os.makedirs(self.folder, exist_ok=True)
        jobs = [(s, k) for s, n in self._sizes.items() for k in range(-(-n // _CHUNK))]
        bar = tqdm(total=sum(self._sizes.values()), unit=" images", desc="converting")
        with bar, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for split, k in jobs:
                indices = range(k * _CHUNK, min((k + 1) * _CHUNK, self._sizes[split]))
                if not os.path.exists(self._path(split, k, "json")):
                    self._make_one(pool, split, k, indices)
                bar.update(len(indices))

    def _make_one(self, pool, split, k, indices):
        rejected, path = [], self._path(split, k, "tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            done = pool.map(lambda index: convert(self._source, split, index), indices)
            for index, (record, reason) in zip(indices, done, strict=True):
                if record is None:
                    rejected.append(reason)
                else:
                    writer.write(_serialised(index, record))
        write_bytes(self._path(split, k, "json"), json.dumps(rejected).encode())

    def _path(self, split, k, ending):
        return os.path.join(self.folder, f"{split}_{k:06}.{ending}")

    def records(self, split):
        """Pairs (index, record) of the good examples of a split, in order."""
        paths = [self._path(split, k, "tfrecord") for k in range(-(-self._sizes[split] // _CHUNK))]
        for serialised in tf.data.TFRecordDataset(paths).as_numpy_iterator():
            features = tf.train.Example.FromString(serialised).features.feature
            record = {name: features[name].bytes_list.value[0] for name in _TEXTS}
            record |= {name: record[name].decode() for name in _TEXTS[1:]}
            record |= {name: features[name].int64_list.value[0] for name in _NUMBERS}
            yield features["index"].int64_list.value[0], record

    def rejected(self):
        """The reasons of all that were rejected."""
        reasons = []
        for split, size in self._sizes.items():
            for k in range(-(-size // _CHUNK)):
                with open(self._path(split, k, "json"), encoding="utf-8") as file:
                    reasons += json.load(file)
        return reasons


def _serialised(index, record):
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.compat.as_bytes(value)]))
        for name, value in record.items()
        if name in _TEXTS
    }
    for name, value in (("index", index), *((name, record[name]) for name in _NUMBERS)):
        feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
