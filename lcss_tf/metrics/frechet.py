"""The Fréchet distance between Gaussians, and the metrics made of it: FID and its kin."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.metrics.base import Metric, MetricValue, jackknife_error
from lcss_tf.metrics.extractors import Extractor, Pixels
from lcss_tf.metrics.statistics import FeatureStatistics, GaussianStatistics
from lcss_tf.registry import METRICS
from lcss_tf.typing import Array


def frechet_distance(mean1: Array, cov1: Array, mean2: Array, cov2: Array) -> float:
    """The squared Fréchet (2-Wasserstein) distance of N(m₁, C₁) and N(m₂, C₂).

        d² = ‖m₁ − m₂‖² + tr C₁ + tr C₂ − 2·tr (C₁C₂)^½          (Dowson and Landau 1982)

    With factors C = AAᵀ, the last trace is the sum of the singular values of A₁ᵀA₂. This needs no
    square root of a matrix that is not symmetric, which is inaccurate for singular covariances.
    Directions without variance drop out of the factors.

    Args:
      mean1, mean2: [D].
      cov1, cov2: [D, D], symmetric and positive semi-definite; may be singular.

    Returns:
      A float, at least 0, computed in float64.

    Raises:
      UsageError: shapes that do not agree, or numbers that are not finite.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(a, np.float64) for a in (mean1, cov1, mean2, cov2))
    _check(mean1, cov1, mean2, cov2)
    cross = np.linalg.svd(factor(cov1).T @ factor(cov2), compute_uv=False).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2.0 * cross
    return max(0.0, float(distance))  # rounding may leave −1e-16 where the Gaussians agree


def factor(cov: Array) -> Array:
    """A [D, rank] with AAᵀ = cov."""
    variances, directions = np.linalg.eigh((cov + cov.T) / 2)
    largest = max(variances[-1], 0.0)
    kept = variances > largest * len(cov) * np.finfo(np.float64).eps
    return directions[:, kept] * np.sqrt(variances[kept])


def _check(mean1: Array, cov1: Array, mean2: Array, cov2: Array) -> None:
    size = mean1.shape[:1]
    shapes = (mean1.shape, cov1.shape, mean2.shape, cov2.shape)
    if mean1.ndim != 1 or shapes != (size, size * 2, size, size * 2):
        raise UsageError(
            "The Fréchet distance takes means [D] and covariances [D, D] of one D; got "
            f"means {mean1.shape}, {mean2.shape} and covariances {cov1.shape}, {cov2.shape}."
        )
    if not all(np.isfinite(array).all() for array in (mean1, cov1, mean2, cov2)):
        raise UsageError(
            "The Fréchet distance takes finite means and covariances; got NaN or infinity. "
            "Look for samples that are not finite."
        )


@METRICS.register
class Frechet(Metric):
    """The squared Fréchet distance of Gaussians with the features' means and covariances.

    With `Inception` it is the FID (Heusel et al. 2017), ``fid_50k``. With other extractors the
    name says which: ``frechet_digits_1000``. It falls with the number of samples, about as 1/n, so
    compare equal counts only. The error is that of a jackknife over ten groups of samples.

    Args:
      extractor: an object of `EXTRACTORS`; by default `Pixels`.
      num_samples: n.
    """

    stem = "frechet"
    words: ClassVar = {"frechet": "Fréchet distance of the features; lower is better"}
    needs_moments = True

    def __init__(self, extractor: Extractor | None = None, num_samples: int = 50_000) -> None:
        super().__init__(extractor or Pixels(), num_samples)

    def compute(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> dict[str, MetricValue]:
        """{name: value}; warns if there are fewer samples than features."""
        groups = samples.moments(self.num_samples)
        real = GaussianStatistics.merged(reference.moments())
        own = GaussianStatistics.merged(groups)
        self._check(own, real)
        value = frechet_distance(own.mean, own.covariance, real.mean, real.covariance)
        error = float("nan")
        if len(groups) > 2 and min(group.count for group in groups) > 1:
            error = _jackknife(groups, real)
        return {self.name: MetricValue(value, error)}

    def _check(self, own: GaussianStatistics, real: GaussianStatistics) -> None:
        if own.dimension != real.dimension:
            raise UsageError(
                f"{self.name} compares examples of one shape; the samples have {own.dimension} "
                f"features, the real examples {real.dimension}."
            )
        if min(own.count, real.count) <= own.dimension:
            warn(
                "%s: %s samples and %s real examples in %s dimensions: a covariance is singular. "
                "The value is exact for these examples, and far above that of many samples. Draw "
                "more samples (num_samples), and hold out more examples (test_every of the data).",
                self.name,
                f"{own.count:,}",
                f"{real.count:,}",
                f"{own.dimension:,}",
            )


@METRICS.register
class PixelFrechet(Frechet):
    """`Frechet` in pixel space: it needs no network, and small images only.

    It compares first and second moments only: a Gaussian with the data's moments scores 0. It
    shows whether training makes progress; it is not FID and does not compare with FID.

    Args:
      num_samples: n.
    """

    def __init__(self, num_samples: int = 1_000) -> None:
        super().__init__(Pixels(), num_samples)


def _jackknife(groups: Sequence[GaussianStatistics], real: GaussianStatistics) -> float:
    root, trace = factor(real.covariance), np.trace(real.covariance)
    values = []
    for i in range(len(groups)):
        rest = GaussianStatistics.merged(g for j, g in enumerate(groups) if j != i)
        values.append(_distance_to_known(rest, real.mean, root, trace))
    return jackknife_error(values)


def _distance_to_known(
    statistics: GaussianStatistics, mean: Array, root: Array, trace: float
) -> float:
    """`frechet_distance` to N(mean, AAᵀ) where A = `root` [D, rank] and its trace are known.

    The last trace is that of (AᵀC₁A)^½: one symmetric eigenvalue problem, which makes a
    jackknife's many distances to one Gaussian cheap. Small eigenvalues lose half their digits.
    """
    covariance = statistics.covariance
    inner = np.linalg.eigvalsh(root.T @ covariance @ root)
    cross = np.sqrt(np.maximum(inner, 0.0)).sum()
    return float(np.sum((statistics.mean - mean) ** 2) + np.trace(covariance) + trace - 2.0 * cross)
