"""The mean and covariance of features that come in batches."""

import numpy as np

from lcss_tf.errors import UsageError


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
            raise UsageError(
                f"These statistics take features [B, {self.dimension}]; got {features.shape}."
            )
        if not np.isfinite(features).all():
            raise UsageError("The features hold NaN or infinity; no statistics were updated.")
        if len(features) == 0:
            return self
        mean = features.mean(axis=0)
        deviations = features - mean
        self._merge(len(features), mean, deviations.T @ deviations)
        return self

    @classmethod
    def merged(cls, parts):
        """The statistics of several parts' examples together: an iterable, at least one."""
        total = None
        for part in parts:
            if total is None:
                total = cls(part.dimension)
            total._merge(part.count, part.mean, part._scatter)
        return total

    def arrays(self):
        """What `from_arrays` makes the statistics of."""
        return {"count": np.array(self.count), "mean": self.mean, "scatter": self._scatter}

    @classmethod
    def from_arrays(cls, count, mean, scatter):
        """The statistics that `arrays` described."""
        statistics = cls(len(mean))
        statistics._merge(int(count), mean, scatter)
        return statistics

    def _merge(self, count, mean, scatter):
        # Chan, Golub and LeVeque's merging: no difference of large sums.
        total = self.count + count
        if total == 0:
            return
        gap = mean - self.mean
        self._scatter += scatter
        self._scatter += np.outer(gap, gap) * (self.count * count / total)
        self.mean = self.mean + gap * (count / total)
        self.count = total

    @property
    def covariance(self):
        """The unbiased covariance [D, D].

        Raises:
          ValueError: fewer than two feature vectors.
        """
        if self.count < 2:
            raise UsageError(f"A covariance needs at least two examples; got {self.count}.")
        return self._scatter / (self.count - 1)
