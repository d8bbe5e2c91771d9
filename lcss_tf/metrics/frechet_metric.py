"""The Fréchet distance between samples and real data, seen by an extractor: FID and its kin."""

import numpy as np
from absl import logging

from lcss_tf.errors import UsageError
from lcss_tf.features import Pixels
from lcss_tf.metrics.base import Figure, Metric, jackknife
from lcss_tf.metrics.frechet import factor, frechet_distance, mean_and_covariance_distance
from lcss_tf.metrics.statistics import GaussianStatistics
from lcss_tf.registry import METRICS


@METRICS.register
class Frechet(Metric):
    """The squared Fréchet distance of the Gaussians with the features' moments.

    With `Inception`'s features the FID (Heusel et al. 2017), ``fid_50k``; with others its name
    says which: ``frechet_digits_1000``. It falls with the number of samples, about as 1/n: only
    equal counts compare. The error is that of a jackknife over ten groups of samples.

    Args:
      extractor: an object of `EXTRACTORS`; by default `Pixels`.
      num_samples: n.
    """

    kind = "frechet"
    moments = True

    def __init__(self, extractor=None, num_samples=50_000):
        super().__init__(extractor or Pixels(), num_samples)

    def figures(self, samples, reference):
        """{name: `Figure`}; a warning where the samples are too few for their features."""
        parts = samples.moments(self.num_samples)
        real = GaussianStatistics.merged(reference.moments())
        own = GaussianStatistics.merged(parts)
        self._check(own, real)
        value = frechet_distance(own.mean, own.covariance, real.mean, real.covariance)
        error = float("nan")
        if len(parts) > 2 and min(p.count for p in parts) > 1:
            error = self._error(parts, real)
        return {self.name: Figure(value, error)}

    def _error(self, parts, real):
        covariance = real.covariance
        root, trace = factor(covariance), np.trace(covariance)
        values = []
        for i in range(len(parts)):
            rest = GaussianStatistics.merged(p for j, p in enumerate(parts) if j != i)
            values.append(mean_and_covariance_distance(rest, real.mean, root, trace))
        return jackknife(values)

    def _check(self, own, real):
        if own.dimension != real.dimension:
            raise UsageError(
                f"{self.name} compares examples of one shape; the samples have {own.dimension} "
                f"features, the real examples {real.dimension}."
            )
        if min(own.count, real.count) <= own.dimension:
            logging.warning(
                "%s: %s samples and %s real examples in %s dimensions: a covariance is singular. "
                "The figure is exact for these, and far above that of many samples.",
                self.name,
                f"{own.count:,}",
                f"{real.count:,}",
                f"{own.dimension:,}",
            )


@METRICS.register
class PixelFrechet(Frechet):
    """`Frechet` in pixel space: no network, so only for small images.

    It sees no more than second moments: a Gaussian with the data's covariance scores 0. So it
    tells whether training goes well on digits; it is not FID and compares with no FID.

    Args:
      num_samples: n.
    """

    def __init__(self, num_samples=1_000):
        super().__init__(Pixels(), num_samples)
