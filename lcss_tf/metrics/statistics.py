"""Statistics of features that stream by: moments in groups, feature vectors, class sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.typing import Array

if TYPE_CHECKING:
    from lcss_tf.metrics.base import Metric
    from lcss_tf.metrics.extractors import Features

GROUPS = 10  # that a jackknife leaves out one at a time


class FeatureStatistics:
    """Reads `Features` batch by batch; its memory does not grow with the number of examples.

    Moments and class sums are kept in `GROUPS` groups of consecutive examples, so that a jackknife
    can leave out each in turn. Feature vectors are kept as they are, the first `num_vectors` of
    them. The batch size changes the result by rounding only.

    Args:
      counts: sample counts n. For each, moments and class sums cover the first n examples.
      num_vectors: feature vectors to keep.
      moments: whether to keep means and covariances.
      classes: whether to keep class sums.
      groups: the number of groups.
    """

    def __init__(
        self,
        counts: Sequence[int],
        num_vectors: int = 0,
        moments: bool = True,
        classes: bool = True,
        groups: int = GROUPS,
    ) -> None:
        self._seen, self._most, self._num_vectors = 0, max(counts, default=0), num_vectors
        self._moments = {n: _Groups(n, groups, _moments) for n in counts if moments}
        self._classes = {n: _Groups(n, groups, _class_sums) for n in counts if classes}
        self._vectors: Array | None = None

    @classmethod
    def of_samples(cls, metrics: Sequence[Metric]) -> FeatureStatistics:
        """Empty statistics with all that metrics of one extractor need of samples."""
        counts = {m.num_samples for m in metrics if m.needs_moments or m.needs_classes}
        return cls(
            sorted(counts),
            max((m.num_samples for m in metrics if m.needs_vectors), default=0),
            any(m.needs_moments for m in metrics),
            any(m.needs_classes for m in metrics),
        )

    @classmethod
    def of_reference(cls, metrics: Sequence[Metric], count: int) -> FeatureStatistics:
        """Empty statistics with all that metrics of one extractor need of `count` real examples."""
        return cls(groups=1, **reference_needs(metrics, count))

    @property
    def wanted(self) -> int:
        """The number of examples after which more change nothing."""
        return max(self._most, self._num_vectors)

    @property
    def count(self) -> int:
        """The number of examples read so far."""
        return self._seen

    def add(self, features: Features) -> FeatureStatistics:
        """Reads a batch; examples beyond `wanted` change nothing. Returns self.

        Raises:
          UsageError: features of another dimension, or features that are not finite.
        """
        vectors = np.asarray(features.features)
        if not np.isfinite(vectors).all():
            raise UsageError(
                "The features hold NaN or infinity. Look for samples that are not finite."
            )
        for n, groups in self._moments.items():
            groups.add(self._seen, n, vectors)
        if features.logits is not None:
            for n, groups in self._classes.items():
                groups.add(self._seen, n, np.asarray(features.logits))
        self._keep(vectors)
        self._seen += len(vectors)
        return self

    def _keep(self, vectors: Array) -> None:
        wanted = vectors[: max(0, self._num_vectors - self._seen)]
        if not len(wanted):
            return
        if self._vectors is None:
            self._vectors = np.empty((self._num_vectors, vectors.shape[1]), vectors.dtype)
        if vectors.shape[1] != self._vectors.shape[1]:
            raise UsageError(
                f"All examples must be of one shape; got {vectors.shape[1]} features after "
                f"{self._vectors.shape[1]}."
            )
        self._vectors[self._seen : self._seen + len(wanted)] = wanted

    def vectors(self, n: int | None = None) -> Array:
        """The first n feature vectors [n, D], or as many as were kept."""
        if self._vectors is None:
            raise UsageError("A metric needs at least one batch of examples; got none.")
        return self._vectors[: min(self._seen, len(self._vectors))][:n]

    def moments(self, n: int | None = None) -> list[GaussianStatistics]:
        """The moments of each group of the first n examples; by default of the largest count."""
        return self._of(self._moments, n)

    def classes(self, n: int | None = None) -> list[ClassSums]:
        """The class sums of each group of the first n examples; by default of the largest count."""
        return self._of(self._classes, n)

    def _of(self, by_count: dict[int, _Groups], n: int | None) -> list[Any]:
        count = n if n in by_count else max(by_count, default=None)
        if count is None or not by_count[count].groups:
            raise UsageError("A metric needs at least one batch of examples; got none.")
        return by_count[count].groups

    def arrays(self) -> dict[str, Array]:
        """Arrays that `from_arrays` reads; for statistics of one count and one group."""
        arrays = {"seen": np.array(self._seen)}
        if self._vectors is not None:
            arrays["features"] = self.vectors()
        for name, by_count in (("moments", self._moments), ("classes", self._classes)):
            for groups in (g.groups for g in by_count.values()):
                if groups:
                    items = groups[0].arrays().items()
                    arrays.update({f"{name}/{key}": value for key, value in items})
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> FeatureStatistics:
        """The statistics that `arrays` described; nothing can be added to them.

        Raises:
          UsageError: arrays of other names or shapes.
        """
        _check_arrays(arrays)
        seen = int(arrays["seen"])
        vectors = arrays.get("features")
        statistics = cls([seen], 0 if vectors is None else len(vectors), groups=1)
        statistics._seen, statistics._vectors = seen, vectors
        kinds: dict[str, Any] = {"moments": GaussianStatistics, "classes": ClassSums}
        for name, by_count in (("moments", statistics._moments), ("classes", statistics._classes)):
            given = {
                key.partition("/")[2]: value
                for key, value in arrays.items()
                if key.startswith(f"{name}/")
            }
            if given:
                by_count[seen].groups = [kinds[name].from_arrays(**given)]
        return statistics


def _check_arrays(arrays: Mapping[str, Array]) -> None:
    """Raises a UsageError unless they have the shapes of stored statistics."""
    mean = arrays.get("moments/mean")
    size = None if mean is None else mean.size
    expected: dict[str, tuple] = {
        "seen": (),
        "features": (None, size),
        "moments/count": (),
        "moments/mean": (size,),
        "moments/scatter": (size, size),
        "classes/count": (),
        "classes/probabilities": (None,),
        "classes/negative_entropy": (),
    }
    for name, array in arrays.items():
        fits = name in expected and array.dtype.kind in "uif" and array.ndim == len(expected[name])
        if not fits or any(
            e not in (None, n) for n, e in zip(array.shape, expected[name], strict=True)
        ):
            raise UsageError(
                f"Stored statistics hold {', '.join(expected)}; got {name!r} of {array.dtype} and "
                f"shape {array.shape}."
            )


def reference_needs(metrics: Sequence[Metric], count: int) -> dict[str, Any]:
    """Arguments of the `FeatureStatistics` of `count` real examples."""
    vectors = [
        count if m.needs_all_real_vectors else min(count, m.num_samples)
        for m in metrics
        if m.needs_vectors
    ]
    return {
        "counts": [count],
        "num_vectors": max(vectors, default=0),
        "moments": any(m.needs_moments for m in metrics),
        "classes": any(m.needs_classes for m in metrics),
    }


class _Groups:
    """The first `count` examples in groups: example i belongs to group i·num_groups // count."""

    def __init__(self, count: int, num_groups: int, make: Callable[[Array], Any]) -> None:
        self._edges = np.linspace(0, count, min(num_groups, max(count, 1)) + 1).astype(int)
        self._make = make
        self.groups: list[Any] = []

    def add(self, seen: int, count: int, batch: Array) -> None:
        batch = batch[: max(0, count - seen)]
        cuts = np.clip(self._edges[1:-1] - seen, 0, len(batch))
        for index, chunk in enumerate(np.split(batch, cuts)):
            if not len(chunk):
                continue
            while len(self.groups) <= index:
                self.groups.append(self._make(chunk))
            self.groups[index].update(chunk)


def _moments(features: Array) -> GaussianStatistics:
    return GaussianStatistics(features.shape[1])


def _class_sums(logits: Array) -> ClassSums:
    del logits
    return ClassSums()


class GaussianStatistics:
    """Accumulates a mean and a covariance in float64, batch by batch.

    The batch size changes the result by rounding only.

    Args:
      dimension: D, the length of a feature vector.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.count = 0
        self.mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    def update(self, features: Array) -> GaussianStatistics:
        """Adds features [B, D]; returns self.

        Raises:
          UsageError: another shape, or features that are not finite.
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != self.dimension:
            raise UsageError(
                f"These statistics take features [B, {self.dimension}]; got {features.shape}."
            )
        if not np.isfinite(features).all():
            raise UsageError("The features hold NaN or infinity; no statistics were updated.")
        if len(features) == 0:
            return self
        mean = features.mean(axis=0)
        centred = features - mean
        self._merge(len(features), mean, centred.T @ centred)
        return self

    @classmethod
    def merged(cls, parts: Iterable[GaussianStatistics]) -> GaussianStatistics:
        """The statistics of all examples of several parts, at least one."""
        first, *others = parts
        total = cls(first.dimension)
        for part in (first, *others):
            total._merge(part.count, part.mean, part._scatter)
        return total

    def arrays(self) -> dict[str, Array]:
        """Arrays that `from_arrays` reads."""
        return {"count": np.array(self.count), "mean": self.mean, "scatter": self._scatter}

    @classmethod
    def from_arrays(cls, count: Array, mean: Array, scatter: Array) -> GaussianStatistics:
        """The statistics that `arrays` described."""
        statistics = cls(len(mean))
        statistics._merge(int(count), mean, scatter)
        return statistics

    def _merge(self, count: int, mean: Array, scatter: Array) -> None:
        # Chan, Golub and LeVeque's merging: no difference of large sums.
        total = self.count + count
        if total == 0:
            return
        gap = mean - self.mean
        self._scatter += scatter
        self._scatter += np.outer(gap, gap) * (self.count * count / total)
        self.mean = self.mean + gap * (count / total)
        self.count = total

    @property
    def covariance(self) -> Array:
        """The unbiased covariance [D, D].

        Raises:
          UsageError: fewer than two feature vectors.
        """
        if self.count < 2:
            raise UsageError(f"A covariance needs at least two examples; got {self.count}.")
        return self._scatter / (self.count - 1)


class ClassSums:
    """Σ p and Σ Σ_k p_k log p_k over examples with class probabilities p, in float64."""

    def __init__(self) -> None:
        self.count, self.negative_entropy = 0, 0.0
        self.probabilities: Array = np.zeros(())  # [K] from the first batch on

    def update(self, logits: Array) -> ClassSums:
        """Adds logits [B, K]; returns self."""
        logits = np.asarray(logits, np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        self.count += len(p)
        self.probabilities = self.probabilities + p.sum(axis=0)
        self.negative_entropy = self.negative_entropy + float(np.sum(p * log_p))
        return self

    def score(self) -> float:
        """exp E KL(p(y|x) ‖ p(y))."""
        marginal = self.probabilities / self.count
        seen = marginal[marginal > 0]
        return float(np.exp(self.negative_entropy / self.count - np.sum(seen * np.log(seen))))

    def arrays(self) -> dict[str, Array]:
        """Arrays that `from_arrays` reads."""
        return {
            "count": np.array(self.count),
            "probabilities": self.probabilities,
            "negative_entropy": np.array(self.negative_entropy),
        }

    @classmethod
    def from_arrays(cls, count: Array, probabilities: Array, negative_entropy: Array) -> ClassSums:
        """The sums that `arrays` described."""
        sums = cls()
        sums.count, sums.probabilities = int(count), probabilities
        sums.negative_entropy = float(negative_entropy)
        return sums
