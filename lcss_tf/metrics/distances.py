"""Distances between distributions: sliced Wasserstein, kernel distances (KID, MMD), energy."""

import abc
import math
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.metrics.base import Metric, MetricValue, jackknife_error
from lcss_tf.metrics.extractors import Extractor, IdentityFeatures
from lcss_tf.metrics.statistics import GROUPS, FeatureStatistics
from lcss_tf.registry import METRICS
from lcss_tf.typing import Array

Kernel = Callable[[Array, Array], Array]  # [N, D] and [M, D] -> [N, M]

_DIRECTIONS = 32  # sorted at a time: bounds the memory
_EXAMPLES = 512  # of a kernel matrix computed at a time: bounds the memory
_FOR_BANDWIDTH = 1_024  # real examples whose median distance is a bandwidth


# Sliced Wasserstein


def sliced_wasserstein(x: Array, y: Array, num_projections: int = 128) -> float:
    """√ mean_θ W₂²(θ·x, θ·y) over directions θ on the unit sphere (Bonneel et al. 2015).

    In one dimension W₂² = ∫₀¹ (F_x⁻¹(u) − F_y⁻¹(u))² du, with the quantile functions F⁻¹. The
    integral is exact for the empirical distributions, also for different numbers of samples. A
    shift by m gives ‖m‖/√D on average over θ; N(0, a²I) and N(0, b²I) are |a − b| apart.

    The directions are fixed by their number and the dimension, and orthonormal in groups of at
    most D (Rowland et al. 2019). That is less noisy than independent directions, and the value for
    a shift is exact if num_projections is a multiple of D. In one dimension one direction is
    enough, and the distance is W₂ itself.

    Args:
      x, y: samples [N, D] and [M, D], N, M >= 1.
      num_projections: directions, at least 1.

    Returns:
      A float, at least 0, in the units of x; computed in float64.

    Raises:
      UsageError: shapes that do not agree, no samples, numbers that are not finite, or fewer than
        one direction.
    """
    x, y = _checked(x), _checked(y)
    if x.shape[1] != y.shape[1]:
        raise UsageError(
            f"The sliced Wasserstein distance compares samples of one dimension; got {x.shape} "
            f"and {y.shape}."
        )
    directions = random_directions(x.shape[1], num_projections)
    parts = np.split(directions, range(_DIRECTIONS, directions.shape[1], _DIRECTIONS), axis=1)
    squares = [squared_wasserstein(x @ part, y @ part) for part in parts]
    return math.sqrt(np.mean(np.concatenate(squares)))


def squared_wasserstein(a: Array, b: Array) -> Array:
    """W₂² of the empirical distributions in each column: a [N, K], b [M, K] -> [K], exact."""
    a, b = np.sort(a, axis=0), np.sort(b, axis=0)
    if len(a) == len(b):
        return np.mean((a - b) ** 2, axis=0)
    # Both quantile functions are constant between neighbouring levels i/N and j/M. In units of
    # 1/(N·M) the levels are whole numbers, so that equal ones coincide.
    n, m = len(a), len(b)
    levels = np.union1d(np.arange(n + 1, dtype=np.int64) * m, np.arange(m + 1, dtype=np.int64) * n)
    start, width = levels[:-1], np.diff(levels) / (n * m)
    return width @ (a[start // m] - b[start // n]) ** 2


def random_directions(dimension: int, count: int) -> Array:
    """Unit vectors as columns [D, count], orthonormal in groups of at most D; [1, 1] for D = 1.

    Raises:
      UsageError: count < 1.
    """
    if count < 1:
        raise UsageError(f"num_projections must be at least 1; got {count}.")
    if dimension == 1:
        return np.ones((1, 1))
    random = np.random.RandomState(0)
    groups = [
        np.linalg.qr(random.normal(size=(dimension, min(dimension, count - start))))[0]
        for start in range(0, count, dimension)
    ]
    return np.concatenate(groups, axis=1)


def _checked(x: Array) -> Array:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or not x.size:
        raise UsageError(
            f"The sliced Wasserstein distance takes samples [N, D], at least one; got {x.shape}."
        )
    if not np.isfinite(x).all():
        raise UsageError(
            "The sliced Wasserstein distance takes finite samples; got NaN or infinity in "
            f"{np.sum(~np.isfinite(x).all(axis=1))} of {len(x)}."
        )
    return x


@METRICS.register
class SlicedWasserstein(Metric):
    """`sliced_wasserstein` between samples and real data, for vectors of any dimension.

    It detects every difference of the distributions, not of moments alone. Between n samples and n
    real examples of one distribution it is about 1/√n of the data's standard deviation. The error
    is that of a jackknife over ten groups of samples.

    Args:
      num_samples: n.
      num_projections: directions.
      extractor: an object of `EXTRACTORS`; by default `IdentityFeatures`.

    Raises:
      UsageError: num_samples < 2 or num_projections < 1.
    """

    stem = "sliced_wasserstein"
    words: ClassVar = {"sliced_wasserstein": "sliced Wasserstein distance; lower is better"}
    needs_vectors = needs_all_real_vectors = True

    def __init__(
        self,
        num_samples: int = 4_096,
        num_projections: int = 128,
        extractor: Extractor | None = None,
    ) -> None:
        if num_samples < 2 or num_projections < 1:
            raise UsageError(
                "SlicedWasserstein expects num_samples >= 2 and num_projections >= 1; got "
                f"{num_samples} and {num_projections}."
            )
        super().__init__(extractor or IdentityFeatures(), num_samples)
        self.num_projections = num_projections

    def compute(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> dict[str, MetricValue]:
        """{name: value}."""
        x, y = _checked(samples.vectors(self.num_samples)), _checked(reference.vectors())
        value = sliced_wasserstein(x, y, self.num_projections)
        error = float("nan")
        if len(x) >= 2 * GROUPS:
            groups = np.array_split(x, GROUPS)
            rest = (np.concatenate(groups[:i] + groups[i + 1 :]) for i in range(GROUPS))
            error = jackknife_error([sliced_wasserstein(r, y, self.num_projections) for r in rest])
        return {self.name: MetricValue(value, error)}


# Kernel distances: KID, MMD and the energy distance are one estimator with three kernels


def kernel_distance(x: Array, y: Array, kernel: Kernel) -> tuple[float, float]:
    """The unbiased estimate of E k(x,x') + E k(y,y') − 2 E k(x,y), and its standard error.

    Gretton et al. (2012), equation 3. Pairs of an example with itself are left out. So the mean is
    the true distance for any number of examples, and a value may be below 0. The error is that
    over x for fixed y. To first order, example i adds 2·h_i/n to the value, where
    h_i = mean_{j≠i} k(x_i, x_j) − mean_j k(x_i, y_j); so the error is 2·sd(h)/√n.

    Args:
      x, y: [N, D] and [M, D], N, M >= 2; computed in float64.
      kernel: k, [B, D] and [M, D] -> [B, M].

    Returns:
      (value, error), floats.
    """
    n, m = len(x), len(y)
    within_x = (_kernel_sums(x, x, kernel) - _diagonal(x, kernel)) / (n - 1)
    within_y = (_kernel_sums(y, y, kernel) - _diagonal(y, kernel)) / (m - 1)
    across = _kernel_sums(x, y, kernel) / m
    value = within_x.mean() + within_y.mean() - 2.0 * across.mean()
    error = 2.0 * np.std(within_x - across, ddof=1) / np.sqrt(n)
    return float(value), float(error)


def blocks(x: Array) -> Iterator[Array]:
    """Parts of [N, D] in float64, so that float32 features are never converted all at once."""
    return (np.asarray(x[i : i + _EXAMPLES], np.float64) for i in range(0, len(x), _EXAMPLES))


def _kernel_sums(x: Array, y: Array, kernel: Kernel) -> Array:
    """Σ_j k(x_i, y_j), [N]."""
    return np.concatenate(
        [sum(kernel(part, others).sum(axis=1) for others in blocks(y)) for part in blocks(x)]
    )


def _diagonal(x: Array, kernel: Kernel) -> Array:
    return np.array([kernel(one[None], one[None])[0, 0] for part in blocks(x) for one in part])


def polynomial(x: Array, y: Array) -> Array:
    """(x·y/D + 1)³, the kernel of KID."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def negative_distance(x: Array, y: Array) -> Array:
    """−‖x − y‖, the kernel of the energy distance."""
    return -np.sqrt(squared_distances(x, y))


def gaussian(bandwidth: float) -> Kernel:
    """exp(−‖x − y‖²/(2·bandwidth²))."""
    return lambda x, y: np.exp(-squared_distances(x, y) / (2.0 * bandwidth**2))


def centred(kernel: Kernel, reference: Array) -> Kernel:
    """A shift-invariant kernel evaluated about the reference's mean, which saves digits."""
    centre = np.mean(reference, axis=0, dtype=np.float64)
    return lambda x, y: kernel(x - centre, y - centre)


def squared_distances(x: Array, y: Array) -> Array:
    """‖x_i − y_j‖² [N, M], never below 0."""
    squares = np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)[None, :]
    return np.maximum(squares - 2.0 * (x @ y.T), 0.0)


class KernelMetric(Metric):
    """Base: the `kernel_distance` of the first `num_samples` examples of each set."""

    needs_vectors = True

    @abc.abstractmethod
    def kernel(self, reference: Array) -> Kernel:
        """The kernel, which may depend on the real features [M, D]."""

    def compute(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> dict[str, MetricValue]:
        """{name: value}."""
        x, y = samples.vectors(self.num_samples), reference.vectors(self.num_samples)
        check_pair(self.name, x, y)
        return {self.name: MetricValue(*kernel_distance(x, y, self.kernel(y)))}


@METRICS.register
class KID(KernelMetric):
    """The kernel Inception distance (Bińkowski et al. 2018): MMD² with the kernel (x·y/D + 1)³.

    With `Inception` it is the KID of the literature, ``kid_10k``; with other extractors the name
    says which. It is unbiased, so different sample counts compare within their errors. The
    literature averages over subsets of 1,000; here all pairs count, which has the same mean and
    less noise.

    Args:
      extractor: an object of `EXTRACTORS`.
      num_samples: n; the time grows as n², the memory as n.
    """

    stem = "kid"
    words: ClassVar = {
        "kid": "squared maximum mean discrepancy; lower is better, 0 for equal distributions"
    }

    def __init__(self, extractor: Extractor, num_samples: int = 10_000) -> None:
        super().__init__(extractor, num_samples)

    def kernel(self, reference: Array) -> Kernel:
        """`polynomial`."""
        del reference
        return polynomial


@METRICS.register
class MMD(KernelMetric):
    """The squared maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012).

    Args:
      num_samples: n.
      bandwidth: of the kernel; by default the median distance between real examples.
      extractor: an object of `EXTRACTORS`; by default `IdentityFeatures`.

    Raises:
      UsageError: bandwidth <= 0.
    """

    stem = "mmd"
    words: ClassVar = {"mmd": "maximum mean discrepancy; lower is better"}

    def __init__(
        self,
        num_samples: int = 4_096,
        bandwidth: float | None = None,
        extractor: Extractor | None = None,
    ) -> None:
        super().__init__(extractor or IdentityFeatures(), num_samples)
        if bandwidth is not None and bandwidth <= 0:
            raise UsageError(f"MMD.bandwidth must be positive; got {bandwidth}.")
        self._bandwidth = bandwidth

    def kernel(self, reference: Array) -> Kernel:
        """`gaussian`."""
        if self._bandwidth is not None:
            return centred(gaussian(self._bandwidth), reference)
        few = np.asarray(reference[:_FOR_BANDWIDTH], np.float64)
        squares = squared_distances(few, few)[np.triu_indices(len(few), 1)]
        # Equal examples have no scale of their own; any bandwidth will do.
        return centred(gaussian(float(np.sqrt(np.median(squares))) or 1.0), reference)


@METRICS.register
class EnergyDistance(KernelMetric):
    """2E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖ (Székely and Rizzo 2013).

    It is 0 only for equal distributions. The estimate is unbiased, so it may be below 0. In one
    dimension it estimates the square of what ``scipy.stats.energy_distance`` does.

    Args:
      num_samples: n.
      extractor: an object of `EXTRACTORS`; by default `IdentityFeatures`.
    """

    stem = "energy_distance"
    words: ClassVar = {"energy_distance": "energy distance; lower is better"}

    def __init__(self, num_samples: int = 4_096, extractor: Extractor | None = None) -> None:
        super().__init__(extractor or IdentityFeatures(), num_samples)

    def kernel(self, reference: Array) -> Kernel:
        """`negative_distance`."""
        return centred(negative_distance, reference)


def check_pair(name: str, x: Array, y: Array) -> None:
    """Raises UsageError unless x [N, D] and y [M, D] agree in D, and N, M >= 2."""
    if x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise UsageError(
            f"{name} compares at least two examples each, of one shape; got features {x.shape} of "
            f"samples and {y.shape} of real examples."
        )


# A two-sample test


def permutation_test(
    x: Array, y: Array, permutations: int = 999, seed: int = 0
) -> tuple[float, float]:
    """The energy distance of two samples, and its p-value by permutations.

    Args:
      x, y: [N, D] and [M, D], N, M >= 2.
      permutations: random splits of all N + M examples into N and M.
      seed: of the splits.

    Returns:
      (distance, p). p is the share of splits, the true one included, whose distance is at least
      as large. If x and y have one distribution, p is uniform on multiples of
      1/(permutations + 1).
    """
    every = np.concatenate([x, y]).astype(np.float64)
    kernel = centred(negative_distance, every)(every, every)
    np.fill_diagonal(kernel, 0.0)  # rounding leaves some −1e−8
    first = np.arange(len(every)) < len(x)
    random = np.random.default_rng(seed)
    splits = np.stack([first, *(random.permutation(first) for _ in range(permutations))])
    values = _split_distances(kernel, splits)
    # A tolerance: splits that repeat the true one must count, whatever the rounding.
    return float(values[0]), float(np.mean(values >= values[0] - 1e-12))


def _split_distances(kernel: Array, splits: Array) -> Array:
    """`kernel_distance` for every split of one set, from its kernel matrix with a zero diagonal.

    Args:
      kernel: [L, L], symmetric.
      splits: bool [P, L]: which examples are x.

    Returns:
      [P].
    """
    x = splits.astype(np.float64)
    n = x[0].sum()
    m = x.shape[1] - n
    sums = x @ kernel  # Σ over x for every example
    within_x = np.sum(sums * x, axis=1)
    across = sums.sum(axis=1) - within_x
    within_y = kernel.sum() - within_x - 2.0 * across
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2.0 * across / (n * m)


@METRICS.register
class TwoSampleTest(Metric):
    """The p-value of `permutation_test` between samples and held-out data, standardised.

    It is about uniform on [0, 1] for a perfect model, and close to 0 where the test tells samples
    from data. Features are standardised, column by column, by the real data's moments.

    Args:
      num_samples: n.
      permutations: of the test.
      extractor: an object of `EXTRACTORS`; by default `IdentityFeatures`.

    Raises:
      UsageError: num_samples < 2 or permutations < 1.
    """

    stem = "two_sample_p"
    words: ClassVar = {"two_sample_p": "p of equal distributions; small where they differ"}
    needs_vectors = needs_all_real_vectors = True

    def __init__(
        self, num_samples: int = 500, permutations: int = 999, extractor: Extractor | None = None
    ) -> None:
        if permutations < 1:
            raise UsageError(f"TwoSampleTest expects permutations >= 1; got {permutations}.")
        super().__init__(extractor or IdentityFeatures(), num_samples)
        self.permutations = permutations

    def compute(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> dict[str, MetricValue]:
        """{name: p}; the error is that of the share of splits."""
        x, y = samples.vectors(self.num_samples), reference.vectors()
        check_pair(self.name, x, y)
        mean, std = y.mean(axis=0), np.maximum(y.std(axis=0), 1e-12)
        p = permutation_test((x - mean) / std, (y - mean) / std, self.permutations)[1]
        return {self.name: MetricValue(p, math.sqrt(p * (1 - p) / self.permutations))}
