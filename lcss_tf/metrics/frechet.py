"""The Fréchet distance between Gaussians."""

import numpy as np

from lcss_tf.errors import UsageError


def frechet_distance(mean1, cov1, mean2, cov2):
    """The squared Fréchet (2-Wasserstein) distance of N(m₁, C₁) and N(m₂, C₂).

        d² = ‖m₁ − m₂‖² + tr C₁ + tr C₂ − 2·tr (C₁C₂)^½          (Dowson and Landau 1982)

    With factors C = AAᵀ, the last trace is the sum of the singular values of A₁ᵀA₂. That needs no
    square root of a matrix that is not symmetric, which is where the usual formula breaks down on
    singular covariances: directions without variance simply leave the factors.

    Args:
      mean1, mean2: [D].
      cov1, cov2: [D, D], symmetric and positive semi-definite; may be singular.

    Returns:
      A float, at least 0, computed in float64.

    Raises:
      ValueError: shapes that do not agree, or numbers that are not finite.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(a, np.float64) for a in (mean1, cov1, mean2, cov2))
    _check(mean1, cov1, mean2, cov2)
    cross = np.linalg.svd(factor(cov1).T @ factor(cov2), compute_uv=False).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2.0 * cross
    return max(0.0, float(distance))  # rounding may leave −1e-16 where the Gaussians agree


def mean_and_covariance_distance(statistics, mean, root, trace):
    """`frechet_distance` to N(mean, AAᵀ) where A = `root` [D, rank] and its trace are known.

    The last trace is that of (AᵀC₁A)^½: one symmetric eigenvalue problem, for a jackknife's many
    distances to one Gaussian. Small eigenvalues lose half their digits.
    """
    covariance = statistics.covariance
    inner = np.linalg.eigvalsh(root.T @ covariance @ root)
    cross = np.sqrt(np.maximum(inner, 0.0)).sum()
    return float(np.sum((statistics.mean - mean) ** 2) + np.trace(covariance) + trace - 2.0 * cross)


def factor(cov):
    """A [D, rank] with AAᵀ = cov."""
    variances, directions = np.linalg.eigh((cov + cov.T) / 2)
    largest = max(variances[-1], 0.0)
    kept = variances > largest * len(cov) * np.finfo(np.float64).eps
    return directions[:, kept] * np.sqrt(variances[kept])


def _check(mean1, cov1, mean2, cov2):
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
