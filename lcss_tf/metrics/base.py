"""The metric contract: what it needs to see of samples and of real data, and its figures."""

from typing import NamedTuple

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.metrics.summary import Summary


class Figure(NamedTuple):
    """A measured value and its standard error over the samples, the reference held fixed."""

    value: float
    error: float


class Metric:
    """Base of the metrics: a distance between samples and real data, seen by an extractor.

    A subclass sets the class attributes and writes `figures`.

    Attributes:
      kind: the stem of its name, as ``frechet``.
      moments, classes: whether it needs means and covariances, or class sums.
      keeps: whether it needs feature vectors as they are.
      keeps_all_real: whether it needs those of all real examples, not of `num_samples` alone.

    Args:
      extractor: an object of `EXTRACTORS`.
      num_samples: n, the samples that are compared; in its name, for most values change with it.

    Raises:
      ValueError: num_samples < 2.
    """

    kind = ""
    moments = classes = keeps = keeps_all_real = False

    def __init__(self, extractor, num_samples):
        if num_samples < 2:
            raise UsageError(
                f"{type(self).__name__}.num_samples must be at least 2; got {num_samples}."
            )
        self.extractor, self.num_samples = extractor, num_samples

    @property
    def name(self):
        """``frechet_digits_1000``, ``fid_50k``: the tag in summaries and tables."""
        return self.title(self.kind)

    def title(self, kind):
        """The name of a figure of this metric."""
        return f"{self.extractor.title(kind)}_{count_text(self.num_samples)}"

    def check(self, info):
        """Raises, before any work, unless the metric can see such data, a `DataInfo`."""
        self.extractor.check(info)
        if self.classes and not self.extractor.has_classes:
            raise UsageError(
                f"{self.name} needs class probabilities, and {type(self.extractor).__name__} has "
                "none. Bind an extractor that is a classifier, such as @features.Inception()."
            )

    def figures(self, samples, reference):
        """{name: `Figure`} of two `Summary` objects: of samples and of real data."""
        raise NotImplementedError(f"{type(self).__name__} must define figures.")

    def distance(self, samples, reference):
        """The value of its first figure, a float."""
        return next(iter(self.figures(samples, reference).values())).value

    def statistics(self, batches):
        """The `Summary` of examples in memory: an iterable of batches in the data's own units.

        Raises:
          ValueError: no batch.
        """
        outputs = [self.extractor(batch) for batch in batches]
        count = sum(len(o.features) for o in outputs)
        if not count:
            raise UsageError(f"{self.name} needs at least one batch of examples; got none.")
        summary = Summary([count], count if self.keeps else 0, self.moments, self.classes)
        for part in outputs:
            summary.add(part)
        return summary


def sample_summary(metrics):
    """An empty `Summary` that holds what metrics of one extractor need of samples."""
    return Summary(
        sorted({m.num_samples for m in metrics if m.moments or m.classes}),
        max((m.num_samples for m in metrics if m.keeps), default=0),
        any(m.moments for m in metrics),
        any(m.classes for m in metrics),
    )


def reference_needs(metrics, count):
    """Arguments of the `Summary` of `count` real examples."""
    kept = [count if m.keeps_all_real else min(count, m.num_samples) for m in metrics if m.keeps]
    return {
        "counts": [count],
        "kept": max(kept, default=0),
        "moments": any(m.moments for m in metrics),
        "classes": any(m.classes for m in metrics),
        "parts": 1,
    }


def jackknife(values):
    """The standard error from estimates that each leave out one of the groups (Tukey 1958)."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float("nan")
    count = len(values)
    return float(np.sqrt((count - 1) / count * np.sum((values - values.mean()) ** 2)))


def standard_error(values):
    """That of the mean of independent values."""
    values = np.asarray(values, np.float64)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def count_text(n):
    """10,000 and more in thousands where they are whole: 50_000 -> '50k', 1_000 -> '1000'."""
    return f"{n // 1000}k" if n >= 10_000 and n % 1000 == 0 else str(n)
