"""The real data's side of every metric: examples, and statistics that are computed once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lcss_tf import files
from lcss_tf.archives import ArchiveError, ArrayArchive
from lcss_tf.data import Dataset
from lcss_tf.display import Bar, warn
from lcss_tf.errors import UsageError
from lcss_tf.metrics.base import Metric
from lcss_tf.metrics.statistics import FeatureStatistics, reference_needs
from lcss_tf.typing import Array

_FINGERPRINTED = 32  # examples whose values enter the hash
_CHUNK_NUMBERS = 2**22  # numbers read at a time
_META = "meta"


class ReferenceMismatchError(UsageError):
    """Stored statistics are of other data, or were made in another way."""


class References:
    """Real examples, and their statistics, stored under a hash of all that they depend on.

    Args:
      data: the `Dataset`.
      seed: of generated data; data that are read do not depend on it.
      split: what samples are compared with. The literature's FID on CIFAR-10 takes ``"train"``.
      num_examples: how many examples of the split are used, at random where there are more. By
        default all; of endless data as many as the metric with the most samples takes.
      directory: where statistics are stored; by default in the cache.
      path: a file of statistics to use. It must be of the same data, made in the same way.
      store: whether statistics are read from files and written to them at all.

    Raises:
      UsageError: no examples.
    """

    def __init__(
        self,
        data: Dataset,
        seed: int = 0,
        split: str = "test",
        num_examples: int | None = None,
        directory: str | Path | None = None,
        path: str | Path | None = None,
        store: bool = True,
    ) -> None:
        if num_examples is not None and num_examples < 1:
            raise UsageError(
                f"References.num_examples must be at least 1; got {num_examples}. Leave it out for "
                "all."
            )
        self.data, self.split = data, split
        self._seed, self._num_examples = seed, num_examples
        self._directory = Path(directory or files.cache_directory() / "references")
        self._given, self._store = path, store

    @property
    def other_split(self) -> str:
        """The split whose examples show what a perfect model would score."""
        return "test" if self.split == "train" else "train"

    @property
    def has_other_split(self) -> bool:
        """Whether the other split can be read."""
        try:
            self.data.require(self.other_split)
        except (FileNotFoundError, ValueError):
            return False
        return True

    def count(self, metrics: Sequence[Metric], split: str | None = None) -> int:
        """How many examples of a split are used."""
        most = max(metric.num_samples for metric in metrics)
        split = split or self.split
        wanted = self._num_examples if split == self.split else most
        size = self.data.size(split)
        return min(wanted or size or most, size or wanted or most)

    def statistics(
        self, metrics: Sequence[Metric], progress: bool = True
    ) -> tuple[FeatureStatistics, Path | None]:
        """The reference for metrics of one extractor, and the path of its file, if it has one.

        Raises:
          ReferenceMismatchError: the given file does not match; the message lists the differences.
        """
        if not self._store:
            return self._computed(metrics, progress), None
        meta = self._meta(metrics)
        key = files.text_hash(json.dumps(meta, sort_keys=True))
        extractor = metrics[0].extractor.name or "identity"
        name = f"{meta['data']}_{self.split}_{extractor}_{meta['count']}"
        path = Path(self._given or self._directory / f"{name}_{key[:16]}.npz")
        statistics = self._stored(path, meta)
        if statistics is None:
            statistics = self._computed(metrics, progress)
            stored = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}
            setting = "References.path" if self._given else "LCSS_TF_CACHE (References.directory)"
            kept = files.keep_arrays(path, stored | statistics.arrays(), setting)
            return statistics, path if kept else None
        return statistics, path

    def _stored(self, path: Path, meta: dict[str, Any]) -> FeatureStatistics | None:
        """What a file holds, compared with what is expected before it is read; None: no file."""
        try:
            with ArrayArchive(path) as archive:
                found = json.loads(bytes(archive.read(_META, (None,), np.uint8)))
                if not isinstance(found, dict):
                    raise ArchiveError("its description is no object with keys")
                _compare(path, found, meta)
                arrays = {name: archive.read(name) for name in archive.names if name != _META}
            return FeatureStatistics.from_arrays(arrays)
        except ReferenceMismatchError:
            raise
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            if self._given:
                raise ReferenceMismatchError(
                    f"{path} cannot be read ({error}). Remove it, and it is computed again."
                ) from error
            warn("%s cannot be read (%s): it is computed again.", path, error)
            return None

    def other_statistics(
        self, metrics: Sequence[Metric], progress: bool = True
    ) -> FeatureStatistics:
        """The statistics of real examples of the other split, in place of samples."""
        statistics = FeatureStatistics.of_samples(metrics)
        count = self.count(metrics, self.other_split)
        return self._read_into(statistics, metrics[0], count, self.other_split, progress)

    def examples(self, count: int, split: str, start: int = 0, size: int | None = None) -> Array:
        """`count` examples of a split, chosen at random, in the data's own units.

        With `start` and `size`, only a slice of them is read.
        """
        return self._read(self._indices(count, split)[start:][:size], split)

    def examples_at(self, count: int, split: str, places: Array) -> Array:
        """Those of ``examples(count, split)`` at certain places."""
        return self._read(self._indices(count, split)[places], split)

    def _computed(self, metrics: Sequence[Metric], progress: bool) -> FeatureStatistics:
        count = self.count(metrics)
        statistics = FeatureStatistics.of_reference(metrics, count)
        return self._read_into(statistics, metrics[0], count, self.split, progress)

    def _read_into(
        self, statistics: FeatureStatistics, metric: Metric, count: int, split: str, progress: bool
    ) -> FeatureStatistics:
        extractor, indices = metric.extractor, self._indices(count, split)
        chunk = max(1, _CHUNK_NUMBERS // int(np.prod(self.data.shape)))
        label = f"{extractor.name or 'values'} of real examples ({split})"
        with Bar(count, label, "examples", shown=progress) as bar:
            for part in np.split(indices, range(chunk, count, chunk)):
                statistics.add(extractor(self._read(part, split)))
                bar.update(len(part))
        return statistics

    def _indices(self, count: int, split: str) -> Array:
        """The first of a fixed random order, so that few examples are spread over the split."""
        size = self.data.size(split)
        if size is None:
            return np.arange(count)
        return np.random.default_rng(0).permutation(size)[:count]

    def _read(self, indices: Array, split: str) -> Array:
        return np.asarray(self.data.info().unscale(self.data.examples(indices, split, self._seed)))

    def _meta(self, metrics: Sequence[Metric]) -> dict[str, Any]:
        """All that the statistics depend on."""
        count, info = self.count(metrics), self.data.info()
        few = self.examples(min(count, _FINGERPRINTED), self.split)
        needs = reference_needs(metrics, count)
        return {
            "data": info.name,
            "split": self.split,
            "size": self.data.size(self.split),
            "shape": list(info.shape),
            "preprocessing": info.to_json(),
            "values of the first examples": files.text_hash(few.tobytes().hex()),
            "extractor": metrics[0].extractor.identity(),
            "count": count,
            "kept": {key: needs[key] for key in ("num_vectors", "moments", "classes")},
        }


def _compare(path: Path, stored: dict[str, Any], expected: dict[str, Any]) -> None:
    differing = [
        f"  {key}: {stored.get(key)} in the file, {value} now"
        for key, value in expected.items()
        if stored.get(key) != value
    ]
    if differing:
        raise ReferenceMismatchError(
            f"{path} holds statistics of something else:\n"
            + "\n".join(differing)
            + "\nRemove the file to have it computed again, or leave References.path unset."
        )
