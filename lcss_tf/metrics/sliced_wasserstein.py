"""The sliced Wasserstein distance between samples of vectors."""

import math

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.features import Values
from lcss_tf.metrics.base import Figure, Metric, jackknife
from lcss_tf.metrics.summary import PARTS
from lcss_tf.registry import METRICS

_BLOCK = 32  # directions sorted at a time: bounds the memory


def sliced_wasserstein(x, y, num_projections=128):
    """√ mean_θ W₂²(θ·x, θ·y) over directions θ on the unit sphere (Bonneel et al. 2015).

    In one dimension W₂ is the distance between the quantile functions,
    W₂² = ∫₀¹ (F_x⁻¹(u) − F_y⁻¹(u))² du: here exact for the empirical laws, also where they
    hold different numbers of samples. A shift by m gives ‖m‖/√D on average over θ; N(0, a²I)
    and N(0, b²I) are |a − b| apart.

    The directions are fixed by their number and the dimension, and orthonormal in groups of
    at most D (Rowland et al. 2019): less noise than independent ones, and the shift's value is
    exact where num_projections is a multiple of D. In one dimension one is enough, and the
    distance is W₂ itself.

    Args:
      x, y: samples [N, D] and [M, D], N, M >= 1.
      num_projections: directions, at least 1.

    Returns:
      A float, at least 0, in the units of x; computed in float64.

    Raises:
      ValueError: shapes that do not agree, no samples, numbers that are not finite, or fewer
        than one direction.
    """
    x, y = _checked(x), _checked(y)
    if x.shape[1] != y.shape[1]:
        raise UsageError(
            f"The sliced Wasserstein distance compares samples of one dimension; got {x.shape} "
            f"and {y.shape}."
        )
    directions = random_directions(x.shape[1], num_projections)
    squares = [
        squared_wasserstein(x @ part, y @ part)
        for part in np.split(directions, range(_BLOCK, directions.shape[1], _BLOCK), axis=1)
    ]
    return math.sqrt(np.mean(np.concatenate(squares)))


def squared_wasserstein(a, b):
    """W₂² of the empirical laws in each column: a [N, K] and b [M, K] give [K], exact."""
    a, b = np.sort(a, axis=0), np.sort(b, axis=0)
    if len(a) == len(b):
        return np.mean((a - b) ** 2, axis=0)
    # Both quantile functions are constant between two neighbours of the levels i/N and j/M;
    # in units of 1/(N·M) these are whole numbers, so that equal ones meet.
    n, m = len(a), len(b)
    levels = np.union1d(np.arange(n + 1, dtype=np.int64) * m, np.arange(m + 1, dtype=np.int64) * n)
    start, width = levels[:-1], np.diff(levels) / (n * m)
    return width @ (a[start // m] - b[start // n]) ** 2


def random_directions(dimension, count):
    """Unit vectors as columns [D, count], orthonormal in groups of at most D; [1, 1] for D = 1.

    Raises:
      ValueError: count < 1.
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


def _checked(x):
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

    It sees every difference of the laws, not moments alone. Between n and n true samples it is
    about 1/√n of the data's deviation, so the number of samples is in its name. The error is
    that of a jackknife over ten groups of samples.

    Args:
      num_samples: n, the samples that are compared.
      num_projections: directions.
      extractor: an object of `EXTRACTORS`; by default `Values`.

    Raises:
      ValueError: num_samples < 2 or num_projections < 1.
    """

    kind = "sliced_wasserstein"
    keeps = keeps_all_real = True

    def __init__(self, num_samples=4_096, num_projections=128, extractor=None):
        if num_samples < 2 or num_projections < 1:
            raise UsageError(
                "SlicedWasserstein expects num_samples >= 2 and num_projections >= 1; got "
                f"{num_samples} and {num_projections}."
            )
        super().__init__(extractor or Values(), num_samples)
        self.num_projections = num_projections

    def figures(self, samples, reference):
        """{name: `Figure`} of two `Summary` objects."""
        x, y = _checked(samples.features(self.num_samples)), _checked(reference.features())
        value = sliced_wasserstein(x, y, self.num_projections)
        error = float("nan")
        if len(x) >= 2 * PARTS:
            parts = np.array_split(x, PARTS)
            rest = (np.concatenate(parts[:i] + parts[i + 1 :]) for i in range(PARTS))
            error = jackknife([sliced_wasserstein(r, y, self.num_projections) for r in rest])
        return {self.name: Figure(value, error)}
