"""Statistics of real data: computed once, stored under a hash of all that they depend on."""

import json
from pathlib import Path

import gin
import numpy as np
from tqdm import tqdm

from lcss_tf import files
from lcss_tf.errors import UsageError
from lcss_tf.metrics import Summary, reference_needs

_FINGERPRINTED = 32  # examples whose values enter the hash
_CHUNK_NUMBERS = 2**22  # numbers read at a time
_META = "meta"


class ReferenceError(UsageError):
    """Stored statistics are of other data, or made otherwise."""


@gin.configurable("references", denylist=["data", "seed"])
class References:
    """The real data's side of every metric.

    Args:
      data: the `Dataset`.
      seed: of data that are drawn, not read.
      split: what samples are compared with; the literature's FID on CIFAR-10 takes "train".
      num_examples: how many examples of it; by default all, of endless data as many as the metric
        with the most samples takes. Fewer are spread over the split at random.
      directory: where statistics are stored; by default in the cache.
      path: a file of statistics to use; it must have been made of the same data, in the same way.
    """

    def __init__(self, data, seed, split="test", num_examples=None, directory=None, path=None):
        self.split = split
        self._data, self._seed, self._num_examples = data, seed, num_examples
        self._directory = Path(directory or files.cache_directory() / "references")
        self._given = path

    @property
    def other_split(self):
        """The split whose examples show what a perfect model would score."""
        return "test" if self.split == "train" else "train"

    @property
    def has_other(self):
        """Whether there are examples of the other split."""
        try:
            self._data.require(self.other_split)
        except (FileNotFoundError, ValueError):
            return False
        return True

    def count(self, metrics, split=None):
        """How many examples of a split are looked at."""
        most = max(metric.num_samples for metric in metrics)
        split = split or self.split
        wanted = self._num_examples if split == self.split else most
        size = self._data.size(split)
        return min(wanted or size or most, size or wanted or most)

    def summary(self, metrics, progress=True):
        """(`Summary` of the reference for metrics of one extractor, the path of its file).

        Raises:
          ReferenceError: the file that was given differs; the message says in what.
        """
        extractor = metrics[0].extractor
        meta = self._meta(metrics)
        key = files.text_hash(json.dumps(meta, sort_keys=True))
        name = f"{meta['data']}_{self.split}_{extractor.name or 'values'}_{meta['count']}"
        path = Path(self._given or self._directory / f"{name}_{key[:16]}.npz")
        arrays = files.read_arrays(path)
        if arrays is None:
            if self._given and path.exists():
                raise ReferenceError(f"{path} cannot be read. Remove it to have it made again.")
            needs = reference_needs(metrics, meta["count"])
            summary = self._computed(extractor, Summary(**needs), self.split, progress)
            stored = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}
            files.write_arrays(path, stored | summary.arrays())
            return summary, path
        self._compare(path, json.loads(bytes(arrays.pop(_META))), meta)
        return Summary.from_arrays(arrays), path

    def others(self, metrics, summary, progress=True):
        """Fills a sample `Summary` with real examples of the other split."""
        return self._computed(metrics[0].extractor, summary, self.other_split, progress, metrics)

    def examples(self, count, split, start=0, size=None):
        """`count` examples of a split in the data's own units, spread over it at random.

        Or `size` of them from place `start` on.
        """
        chosen = self._indices(count, split)[start:]
        return self._read(chosen[:size], split)

    def examples_at(self, count, split, places):
        """Those at places of what ``examples(count, split)`` gives."""
        return self._read(self._indices(count, split)[places], split)

    def _computed(self, extractor, summary, split, progress, metrics=None):
        count = self.count(metrics, split) if metrics else summary.wanted
        chunk = max(1, _CHUNK_NUMBERS // int(np.prod(self._data.shape)))
        indices = self._indices(count, split)
        label = f"{extractor.name or 'values'} of real examples ({split})"
        with tqdm(total=count, unit=" examples", desc=label, disable=not progress) as bar:
            for part in np.split(indices, range(chunk, count, chunk)):
                summary.add(extractor(self._read(part, split)))
                bar.update(len(part))
        return summary

    def _indices(self, count, split):
        """Places of a split in an order at random: the first are spread over it."""
        size = self._data.size(split)
        if size is None:
            return np.arange(count)
        return np.random.default_rng(0).permutation(size)[:count]

    def _read(self, indices, split):
        return np.asarray(
            self._data.info().unscale(self._data.examples(indices, split, self._seed))
        )

    def _meta(self, metrics):
        """All that the statistics depend on."""
        count, info = self.count(metrics), self._data.info()
        few = self.examples(min(count, _FINGERPRINTED), self.split)
        needs = reference_needs(metrics, count)
        return {
            "data": info.name,
            "split": self.split,
            "size": self._data.size(self.split),
            "shape": list(info.shape),
            "preprocessing": info.to_json(),
            "values of the first examples": files.text_hash(few.tobytes().hex()),
            "extractor": metrics[0].extractor.identity(),
            "count": count,
            "kept": {key: needs[key] for key in ("kept", "moments", "classes")},
        }

    def _compare(self, path, stored, expected):
        differing = [
            f"  {key}: {stored.get(key)} there, {value} now"
            for key, value in expected.items()
            if stored.get(key) != value
        ]
        if differing:
            raise ReferenceError(
                f"{path} holds statistics of something else:\n"
                + "\n".join(differing)
                + "\nThey are never mixed. Remove the file to have it made again, or leave "
                "references.path out."
            )
