"""The Fréchet distance in pixel space: no network, so only for small images."""

import math

import numpy as np

from lcss_tf.metrics.frechet import frechet_distance
from lcss_tf.metrics.statistics import GaussianStatistics
from lcss_tf.registry import METRICS


@METRICS.register
class PixelFrechet:
    """Compares the means and covariances of pixels, in units where black is 0 and white 1.

    It sees no more than second moments: a Gaussian with the data's covariance scores 0. So it
    tells whether training goes well on digits; it is not FID and compares with no FID.

    Its value falls with the number of samples, so that number is in its name.

    Args:
      num_samples: n, the samples that are compared.
    """

    def __init__(self, num_samples=1_000):
        if num_samples < 2:
            raise ValueError(f"PixelFrechet.num_samples must be at least 2; got {num_samples}.")
        self.num_samples = num_samples

    @property
    def name(self):
        """``frechet_pixels_<n>``: the tag in summaries and tables."""
        return f"frechet_pixels_{self.num_samples}"

    def check(self, info):
        """Raises ValueError unless the data, a `DataInfo`, are images."""
        if info.kind != "image":
            raise ValueError(
                f"{self.name} compares images; {info.name} holds {info.kind}s of shape "
                f"{info.shape}. Look at <workdir>/samples, or bind another evaluate.metric."
            )

    def features(self, images):
        """Flat pixels in [0, 1], float64 [B, H·W·C], of images uint8 [B, H, W, C].

        Raises:
          ValueError: another dtype or rank.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(
                f"{self.name} takes uint8 images [B, H, W, C]; got {images.dtype} of shape "
                f"{images.shape}. Unscale them first: info.unscale(x)."
            )
        return images.reshape(len(images), math.prod(images.shape[1:])) / 255.0

    def statistics(self, batches):
        """The `GaussianStatistics` of batches of images: an iterable of uint8 [B, H, W, C].

        Raises:
          ValueError: no batch.
        """
        statistics = None
        for batch in batches:
            features = self.features(batch)
            if statistics is None:
                statistics = GaussianStatistics(features.shape[1])
            statistics.update(features)
        if statistics is None:
            raise ValueError(f"{self.name} needs at least one batch of images; got none.")
        return statistics

    def distance(self, samples, reference):
        """The Fréchet distance, a float, between two `GaussianStatistics`."""
        return frechet_distance(
            samples.mean, samples.covariance, reference.mean, reference.covariance
        )
