"""Precision and recall, density and coverage: by balls that reach to the k-th neighbour."""

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.metrics.base import Figure, Metric
from lcss_tf.metrics.kernels import blocks, check_pair, squared_distances
from lcss_tf.registry import METRICS


def radii(x, k):
    """The squared distance of each x_i to its k-th nearest neighbour, not itself: [N].

    Raises:
      ValueError: N <= k.
    """
    if len(x) <= k:
        raise UsageError(f"The {k}-th neighbour needs more than {k} examples; got {len(x)}.")
    parts, start = [], 0
    for squares in _rows(x, x):
        rows = np.arange(len(squares))
        squares[rows, start + rows] = 0.0
        start += len(squares)
        # Itself is the nearest, at 0; among equal examples it does not matter which is.
        # A copy: a view would keep the whole partitioned block alive.
        parts.append(np.partition(squares, k, axis=1)[:, k].copy())
    return np.concatenate(parts)


def in_balls(points, centres, squared_radii):
    """(number of balls about `centres` that hold each point [N], nearest centre's square [N])."""
    counts, nearest = [], []
    for squares in _rows(points, centres):
        counts.append(np.sum(squares <= squared_radii, axis=1))
        nearest.append(squares.min(axis=1))
    return np.concatenate(counts), np.concatenate(nearest)


def _rows(x, y):
    """Rows of the matrix ‖x_i − y_j‖², some at a time, about y's mean: it keeps their digits."""
    centre = np.mean(y, axis=0, dtype=np.float64)
    for part in blocks(x):
        squares = [squared_distances(part - centre, others - centre) for others in blocks(y)]
        yield np.concatenate(squares, axis=1)


class _Neighbours(Metric):
    """Base: the arguments, and the features compared."""

    keeps = True

    def __init__(self, extractor, num_samples=10_000, k=3):
        super().__init__(extractor, num_samples)
        if k < 1:
            raise UsageError(f"{type(self).__name__}.k must be at least 1; got {k}.")
        self.k = k

    def _pair(self, samples, reference):
        x, y = samples.features(self.num_samples), reference.features(self.num_samples)
        check_pair(self.name, x, y)
        return x, y


@METRICS.register
class PrecisionRecall(_Neighbours):
    """Precision: the share of samples within the real examples' balls; recall: the converse.

    Kynkäänniemi et al. (2019). The balls reach from each example to its k-th nearest neighbour
    of the same set. Both rise with the counts. Errors are binomial, the balls held fixed.

    Args:
      extractor: an object of `EXTRACTORS`.
      num_samples: n, and the number of real examples at most; the cost grows as its square.
      k: neighbours.
    """

    kind = "precision"

    def figures(self, samples, reference):
        """{precision: `Figure`, recall: `Figure`}."""
        x, y = self._pair(samples, reference)
        precision = in_balls(x, y, radii(y, self.k))[0] > 0
        recall = in_balls(y, x, radii(x, self.k))[0] > 0
        return {self.title("precision"): share(precision), self.title("recall"): share(recall)}


@METRICS.register
class DensityCoverage(_Neighbours):
    """Density: real balls that hold a sample, over k, on average; coverage: balls that hold any.

    Naeem et al. (2020). For equal laws the density is 1 on average, and the coverage that of
    `expected_coverage`. Unlike recall they build no balls about samples, whose outliers would
    count. Errors: of the mean over samples; binomial.

    Args:
      extractor: an object of `EXTRACTORS`.
      num_samples: n, and the number of real examples at most.
      k: neighbours.
    """

    kind = "density"

    def __init__(self, extractor, num_samples=10_000, k=5):
        super().__init__(extractor, num_samples, k)

    def figures(self, samples, reference):
        """{density: `Figure`, coverage: `Figure`}."""
        x, y = self._pair(samples, reference)
        reach = radii(y, self.k)
        holding = in_balls(x, y, reach)[0] / self.k
        nearest = in_balls(y, x, np.zeros(len(x)))[1]
        error = float(holding.std(ddof=1) / np.sqrt(len(holding)))
        density = Figure(float(holding.mean()), error)
        return {self.title("density"): density, self.title("coverage"): share(nearest <= reach)}


def expected_coverage(n, m, k):
    """The coverage that n samples of the same law as m real examples have on average.

    1 − (m−1)⋯(m−k)/((n+m−1)⋯(n+m−k)): a ball is empty if the k nearest of all others are real.
    """
    j = np.arange(1, k + 1)
    return float(1.0 - np.prod((m - j) / (n + m - j)))


def share(indicators):
    """The `Figure` of a share, with its binomial error."""
    p = float(np.mean(indicators))
    return Figure(p, float(np.sqrt(p * (1.0 - p) / len(indicators))))
