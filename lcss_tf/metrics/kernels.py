"""Distances by a kernel: KID, MMD and the energy distance are one estimator with three kernels."""

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.features import Values
from lcss_tf.metrics.base import Figure, Metric
from lcss_tf.registry import METRICS

_ROWS = 512  # of a kernel matrix that are computed at a time: bounds the memory
_SCALED = 1_024  # real examples whose median distance is a bandwidth


def kernel_distance(x, y, kernel):
    """The unbiased estimate of E k(x,x') + E k(y,y') − 2 E k(x,y), and its standard error.

    Gretton et al. (2012), equation 3: pairs of an example with itself are left out, so that the
    mean is the true distance for any number of examples, and the value may be below 0. The error
    is that over x, y held fixed: with h_i = mean_{j≠i} k(x_i, x_j) − mean_j k(x_i, y_j), whose
    mean the samples' part is, 2·sd(h)/√n.

    Args:
      x, y: [N, D] and [M, D], N, M >= 2; computed in float64.
      kernel: maps [B, D] and [M, D] to k [B, M].

    Returns:
      (value, error), floats.
    """
    within_x, across = _sums(x, x, kernel), _sums(x, y, kernel)
    within_y = _sums(y, y, kernel)
    n, m = len(x), len(y)
    own = (within_x - _diagonal(x, kernel)) / (n - 1)
    other = (within_y - _diagonal(y, kernel)) / (m - 1)
    value = own.mean() + other.mean() - 2.0 * across.mean() / m
    error = 2.0 * np.std(own - across / m, ddof=1) / np.sqrt(n)
    return float(value), float(error)


def blocks(x):
    """Parts of [N, D] in float64: of features that are kept in float32, never all at a time."""
    return (np.asarray(x[i : i + _ROWS], np.float64) for i in range(0, len(x), _ROWS))


def _sums(x, y, kernel):
    """Σ_j k(x_i, y_j) [N]."""
    parts = [sum(kernel(rows, others).sum(axis=1) for others in blocks(y)) for rows in blocks(x)]
    return np.concatenate(parts)


def _diagonal(x, kernel):
    return np.array([kernel(row[None], row[None])[0, 0] for part in blocks(x) for row in part])


def polynomial(x, y):
    """(x·y/D + 1)³, the KID's kernel."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def negative_distance(x, y):
    """−‖x − y‖."""
    return -np.sqrt(squared_distances(x, y))


def gaussian(bandwidth):
    """exp(−‖x − y‖²/(2·bandwidth²))."""
    return lambda x, y: np.exp(-squared_distances(x, y) / (2.0 * bandwidth**2))


def centred(kernel, reference):
    """A kernel of distances about the reference's mean: the same, with more of its digits."""
    centre = np.mean(reference, axis=0, dtype=np.float64)
    return lambda x, y: kernel(x - centre, y - centre)


def squared_distances(x, y):
    """‖x_i − y_j‖² [N, M], never below 0."""
    squares = np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)[None, :]
    return np.maximum(squares - 2.0 * (x @ y.T), 0.0)


class KernelMetric(Metric):
    """Base: a `kernel_distance` of the first `num_samples` examples of each."""

    keeps = True

    def kernel(self, reference):
        """The kernel, given the reference's features [M, D]."""
        raise NotImplementedError(f"{type(self).__name__} must define kernel(reference).")

    def figures(self, samples, reference):
        """{name: `Figure`}."""
        x, y = samples.features(self.num_samples), reference.features(self.num_samples)
        check_pair(self.name, x, y)
        return {self.name: Figure(*kernel_distance(x, y, self.kernel(y)))}


@METRICS.register
class KernelDistance(KernelMetric):
    """The kernel distance with the kernel (x·y/D + 1)³: with `Inception` the KID.

    Bińkowski et al. (2018). Unbiased: values for different counts compare, with errors in mind.
    The literature averages it over subsets of 1,000; here all pairs count, whose mean is the
    same and whose noise is smaller.

    Args:
      extractor: an object of `EXTRACTORS`.
      num_samples: n; the cost grows as its square, the memory as itself.
    """

    kind = "kernel"

    def __init__(self, extractor, num_samples=10_000):
        super().__init__(extractor, num_samples)

    def kernel(self, reference):
        """`polynomial`."""
        del reference
        return polynomial


@METRICS.register
class MMD(KernelMetric):
    """The squared maximum mean discrepancy with a Gaussian kernel, for vectors.

    Gretton et al. (2012). The bandwidth is given, or the median distance of the real examples.

    Args:
      num_samples: n.
      bandwidth: of the kernel.
      extractor: by default `Values`.
    """

    kind = "mmd"

    def __init__(self, num_samples=4_096, bandwidth=None, extractor=None):
        super().__init__(extractor or Values(), num_samples)
        if bandwidth is not None and bandwidth <= 0:
            raise UsageError(f"MMD.bandwidth must be positive; got {bandwidth}.")
        self._bandwidth = bandwidth

    def kernel(self, reference):
        """`gaussian`."""
        if self._bandwidth is not None:
            return centred(gaussian(self._bandwidth), reference)
        few = np.asarray(reference[:_SCALED], np.float64)
        squares = squared_distances(few, few)[np.triu_indices(len(few), 1)]
        # Examples that are all equal have no scale of their own; any will do.
        return centred(gaussian(float(np.sqrt(np.median(squares))) or 1.0), reference)


@METRICS.register
class EnergyDistance(KernelMetric):
    """2E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖, for vectors (Székely and Rizzo 2013).

    0 only for equal laws. Unbiased, so it may be below 0; the square of what
    ``scipy.stats.energy_distance`` gives in one dimension.

    Args:
      num_samples: n.
      extractor: by default `Values`.
    """

    kind = "energy_distance"

    def __init__(self, num_samples=4_096, extractor=None):
        super().__init__(extractor or Values(), num_samples)

    def kernel(self, reference):
        """`negative_distance`."""
        return centred(negative_distance, reference)


def check_pair(name, x, y):
    """Raises ValueError unless x [N, D] and y [M, D] are of one dimension, N, M >= 2."""
    if x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise UsageError(
            f"{name} compares at least two examples each, of one shape; got features {x.shape} of "
            f"samples and {y.shape} of real examples."
        )
