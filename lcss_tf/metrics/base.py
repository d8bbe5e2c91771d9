"""The metric contract: what a metric needs of samples and of real data, and the values it gives."""

import abc
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import numpy as np

from lcss_tf.data import DataInfo
from lcss_tf.errors import UsageError
from lcss_tf.metrics.extractors import Extractor
from lcss_tf.metrics.statistics import FeatureStatistics
from lcss_tf.typing import Array, Numbers


class MetricValue(NamedTuple):
    """A value and its error over the samples, for fixed real data; NaN if unknown.

    error: the ± that is printed: the standard error, but for the Inception score the literature's
    standard deviation between groups.
    """

    value: float
    error: float

    @property
    def standard_error(self) -> float:
        """What differences are tested by."""
        return self.error


class GroupedValue(MetricValue):
    """A mean over ten groups of samples, whose error is the standard deviation between them."""

    __slots__ = ()

    @property
    def standard_error(self) -> float:
        """That of the mean: √(s²/10), where s² estimates the variance from ten values."""
        return self.error / 3.0


class Metric(abc.ABC):
    """Base of the metrics: compares samples with real data in an extractor's feature space.

    A subclass sets the class attributes and defines `compute`.

    Attributes:
      stem: the first part of the name, such as ``frechet``.
      words: {stem: what a person should know of the value}, for each value that it gives.
      needs_moments: whether it needs means and covariances of features.
      needs_classes: whether it needs class probabilities.
      needs_vectors: whether it needs the feature vectors themselves.
      needs_all_real_vectors: whether it needs those of all real examples; otherwise of at most
        `num_samples`.

    Args:
      extractor: an object of `EXTRACTORS`.
      num_samples: n, the number of samples compared. It is part of the name: most values change
        with n.

    Raises:
      UsageError: num_samples < 2.
    """

    stem = ""
    words: ClassVar[dict[str, str]] = {}
    needs_moments = needs_classes = needs_vectors = needs_all_real_vectors = False

    def __init__(self, extractor: Extractor, num_samples: int) -> None:
        if num_samples < 2:
            raise UsageError(
                f"{type(self).__name__}.num_samples must be at least 2; got {num_samples}."
            )
        self.extractor, self.num_samples = extractor, num_samples

    @property
    def name(self) -> str:
        """The tag in summaries and tables: ``frechet_digits_1000``, ``fid_50k``."""
        return self.value_name(self.stem)

    def value_name(self, stem: str) -> str:
        """The name of one value of this metric."""
        return f"{self.extractor.metric_name(stem)}_{count_text(self.num_samples)}"

    def in_words(self) -> dict[str, str]:
        """{name of a value: what a person should know of it}."""
        return {self.value_name(stem): text for stem, text in self.words.items()}

    def check(self, info: DataInfo) -> None:
        """Checks, before any long work, that the metric applies to such data.

        Raises:
          UsageError: it does not; the message names metrics and extractors that do.
          FileNotFoundError: a file of the extractor is missing.
        """
        self.extractor.check(info)
        if self.needs_classes and not self.extractor.has_classes:
            raise UsageError(
                f"{self.name} needs class probabilities, and {type(self.extractor).__name__} has "
                "none. Use an extractor that is a classifier, such as @features.Inception()."
            )

    @abc.abstractmethod
    def compute(
        self, samples: FeatureStatistics, reference: FeatureStatistics
    ) -> dict[str, MetricValue]:
        """The values by name, the main one first, of statistics of samples and of real data."""

    def distance(self, samples: FeatureStatistics, reference: FeatureStatistics) -> float:
        """The main value: the first that `compute` gives."""
        return next(iter(self.compute(samples, reference).values())).value

    def statistics(self, batches: Iterable[Array]) -> FeatureStatistics:
        """The statistics of all examples in `batches`, in the data's own units.

        Raises:
          UsageError: no example.
        """
        features = [self.extractor(batch) for batch in batches]
        count = sum(len(part.features) for part in features)
        if not count:
            raise UsageError(f"{self.name} needs at least one batch of examples; got none.")
        statistics = FeatureStatistics(
            [count], count if self.needs_vectors else 0, self.needs_moments, self.needs_classes
        )
        for part in features:
            statistics.add(part)
        return statistics


def jackknife_error(values: Numbers) -> float:
    """The standard error from estimates that each leave out one group (Tukey 1958)."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float("nan")
    count = len(values)
    return float(np.sqrt((count - 1) / count * np.sum((values - values.mean()) ** 2)))


def standard_error(values: Numbers) -> float:
    """The standard error of the mean of independent values; NaN for fewer than two."""
    values = np.asarray(values, np.float64)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def count_text(n: int) -> str:
    """Whole thousands from 10,000 on are abbreviated: 50_000 -> '50k', 1_000 -> '1000'."""
    return f"{n // 1000}k" if n >= 10_000 and n % 1000 == 0 else str(n)
