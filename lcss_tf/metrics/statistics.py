"""The mean and covariance of features that come in batches."""

import numpy as np


class GaussianStatistics:
    """Accumulates the mean and the covariance in float64, batch by batch.

    The result does not depend on how the features are cut into batches, but for rounding.

    Args:
      dimension: D, the numbers of one feature vector.
    """

    def __init__(self, dimension):
        self.dimension = dimension
        self.count = 0
        self.mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    def update(self, features):
        """Adds features [B, D]; returns self.

        Raises:
          ValueError: another shape, or numbers that are not finite.
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != self.dimension:
            raise ValueError(
                f"These statistics take features [B, {self.dimension}]; got {features.shape}."
            )
        if not np.isfinite(features).all():
            raise ValueError("The features hold NaN or infinity; no statistics were updated.")
        if len(features) == 0:
            return self
        # Chan, Golub and LeVeque's merging: no difference of large sums.
        mean = features.mean(axis=0)
        total = self.count + len(features)
        gap = mean - self.mean
        deviations = features - mean
        self._scatter += deviations.T @ deviations
        self._scatter += np.outer(gap, gap) * (self.count * len(features) / total)
        self.mean = self.mean + gap * (len(features) / total)
        self.count = total
        return self

    @property
    def covariance(self):
        """The unbiased covariance [D, D].

        Raises:
          ValueError: fewer than two feature vectors.
        """
        if self.count < 2:
            raise ValueError(f"A covariance needs at least two examples; got {self.count}.")
        return self._scatter / (self.count - 1)
