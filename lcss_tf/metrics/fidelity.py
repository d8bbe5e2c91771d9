"""Fidelity and diversity: precision, recall, density and coverage; the Inception score."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.metrics.base import GroupedValue, Metric, MetricValue, standard_error
from lcss_tf.metrics.distances import blocks, check_pair, squared_distances
from lcss_tf.metrics.extractors import Extractor
from lcss_tf.metrics.statistics import FeatureStatistics
from lcss_tf.registry import METRICS
from lcss_tf.typing import Array

_ROUNDING = 1e-12  # of squared distances in float64, relative


def squared_radii(x: Array, k: int) -> Array:
    """The squared distance of each x_i to its k-th nearest neighbour, itself excluded: [N].

    Raises:
      UsageError: N <= k.
    """
    if len(x) <= k:
        raise UsageError(f"The {k}-th neighbour needs more than {k} examples; got {len(x)}.")
    parts, start = [], 0
    for squares in _distance_blocks(x, x):
        places = np.arange(len(squares))
        squares[places, start + places] = 0.0
        start += len(squares)
        # The example itself is the nearest, at 0; among duplicates it does not matter which is.
        # A copy: a view would keep the whole partitioned block alive.
        parts.append(np.partition(squares, k, axis=1)[:, k].copy())
    return np.concatenate(parts)


def in_balls(points: Array, centres: Array, radii: Array) -> tuple[Array, Array]:
    """How many balls hold each point, and each point's squared distance to the nearest centre.

    Args:
      points: [N, D].
      centres: [M, D].
      radii: squared, [M].

    Returns:
      ([N], [N]).
    """
    counts, nearest = [], []
    for squares in _distance_blocks(points, centres):
        counts.append(np.sum(squares <= radii, axis=1))
        nearest.append(squares.min(axis=1))
    return np.concatenate(counts), np.concatenate(nearest)


def _distance_blocks(x: Array, y: Array) -> Iterator[Array]:
    """‖x_i − y_j‖² in blocks of x, [B, M], about the mean of y, which saves digits."""
    centre = np.mean(y, axis=0, dtype=np.float64)
    for part in blocks(x):
        squares = [squared_distances(part - centre, others - centre) for others in blocks(y)]
        yield np.concatenate(squares, axis=1)


class _NeighbourMetric(Metric):
    """Base: the arguments, and the features compared."""

    needs_vectors = True

    def __init__(self, extractor: Extractor, num_samples: int = 10_000, k: int = 3) -> None:
        super().__init__(extractor, num_samples)
        if k < 1:
            raise UsageError(f"{type(self).__name__}.k must be at least 1; got {k}.")
        self.k = k

    def _pair(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> tuple[Array, Array]:
        x, y = samples.vectors(self.num_samples), reference.vectors(self.num_samples)
        check_pair(self.name, x, y)
        return x, y


@METRICS.register
class PrecisionRecall(_NeighbourMetric):
    """Improved precision and recall (Kynkäänniemi et al. 2019).

    Precision is the share of samples inside the balls of real examples. Recall is the share of
    real examples inside the balls of samples. A ball reaches from an example to its k-th nearest
    neighbour in the same set. Both values rise with the counts. The errors are binomial, for fixed
    balls.

    Args:
      extractor: an object of `EXTRACTORS`.
      num_samples: n, and the most real examples used; the time grows as n².
      k: neighbours.
    """

    stem = "precision"
    words: ClassVar = {
        "precision": "share of samples that lie among real examples; higher is better",
        "recall": "share of real examples that lie among samples; higher is better",
    }

    def compute(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> dict[str, MetricValue]:
        """{precision: value, recall: value}."""
        x, y = self._pair(samples, reference)
        precision = in_balls(x, y, squared_radii(y, self.k))[0] > 0
        recall = in_balls(y, x, squared_radii(x, self.k))[0] > 0
        return {
            self.value_name("precision"): _share(precision),
            self.value_name("recall"): _share(recall),
        }


@METRICS.register
class DensityCoverage(_NeighbourMetric):
    """Density and coverage (Naeem et al. 2020).

    Density is the mean number of real balls that hold a sample, divided by k. Coverage is the
    share of real balls that hold a sample. For equal distributions the density is 1 on average,
    and n samples cover 1 − (m−1)⋯(m−k)/((n+m−1)⋯(n+m−k)) of m real balls. Unlike recall, neither
    needs balls about samples, which outliers would enlarge. A ball is open, as in the authors' code
    (prdc): it does not hold a sample at its very radius, which matters for repeated examples. The
    errors are that of the mean over samples, and binomial.

    Args:
      extractor: an object of `EXTRACTORS`.
      num_samples: n, and the most real examples used; the time grows as n².
      k: neighbours.
    """

    stem = "density"
    words: ClassVar = {
        "density": "how densely samples lie among real examples; 1 for equal distributions",
        "coverage": "share of real examples with a sample nearby; higher is better",
    }

    def __init__(self, extractor: Extractor, num_samples: int = 10_000, k: int = 5) -> None:
        super().__init__(extractor, num_samples, k)

    def compute(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> dict[str, MetricValue]:
        """{density: value, coverage: value}."""
        x, y = self._pair(samples, reference)
        # Equal distances are equal up to rounding, of the size of what they are differences of.
        centre = np.mean(y, axis=0, dtype=np.float64)
        norms = np.concatenate([np.sum((part - centre) ** 2, axis=1) for part in blocks(y)])
        radii = squared_radii(y, self.k)
        radii -= _ROUNDING * (norms + radii)
        density = in_balls(x, y, radii)[0] / self.k
        nearest = in_balls(y, x, np.zeros(len(x)))[1]
        return {
            self.value_name("density"): MetricValue(float(density.mean()), standard_error(density)),
            self.value_name("coverage"): _share(nearest <= radii),
        }


def _share(indicators: Array) -> MetricValue:
    """A share with its binomial error."""
    p = float(np.mean(indicators))
    return MetricValue(p, float(np.sqrt(p * (1.0 - p) / len(indicators))))


@METRICS.register
class InceptionScore(Metric):
    """exp E KL(p(y|x) ‖ p(y)), large if samples are of clear classes and of many (Salimans 2016).

    With `Inception` it is ``inception_score_50k`` of the literature; any other classifier will do.
    It is the mean over ten groups of consecutive samples. Its error is the ± of the literature, the
    standard deviation between the groups, which is three times the standard error of the mean that
    the other metrics give; differences are tested by the latter. The score does not use the
    reference, and rises with the number of samples.

    Args:
      extractor: an object of `EXTRACTORS` that is a classifier.
      num_samples: n.
    """

    stem = "inception_score"
    words: ClassVar = {
        "inception_score": "clear classes, all of them; higher is better, 1 at least"
    }
    needs_classes = True

    def __init__(self, extractor: Extractor, num_samples: int = 50_000) -> None:
        super().__init__(extractor, num_samples)

    def compute(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> dict[str, MetricValue]:
        """{name: value}."""
        del reference
        scores = [sums.score() for sums in samples.classes(self.num_samples)]
        return {self.name: GroupedValue(float(np.mean(scores)), float(np.std(scores)))}
