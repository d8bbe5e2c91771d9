"""Metrics of samples against held-out data, beside those of real examples."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lcss_tf.data import DataInfo, Dataset
from lcss_tf.metrics.base import Metric, MetricValue
from lcss_tf.metrics.distances import KID, MMD, EnergyDistance, SlicedWasserstein
from lcss_tf.metrics.extractors import Classifier, DigitsClassifier, Extractor, Features
from lcss_tf.metrics.fidelity import DensityCoverage, InceptionScore, PrecisionRecall
from lcss_tf.metrics.frechet import Frechet, PixelFrechet
from lcss_tf.metrics.references import References
from lcss_tf.metrics.statistics import FeatureStatistics
from lcss_tf.typing import Array

_CLASSIFIED = 1_000  # samples that a classifier sees by default
_LARGEST_SIDE = 32  # of images for which a classifier is trained without being asked for
_FEWEST_LABELLED = 1_000  # examples that are worth a classifier
_SPLIT_NAMES = {"train": "training", "test": "held_out"}


def default_metrics(
    info: DataInfo, data: Dataset | None = None, num_samples: int | None = None
) -> list[Metric]:
    """What is measured if nothing else is asked for, the main metric first.

    Labelled images of at most 32×32 bytes are measured by a `Classifier` of their own too.

    Args:
      info: of the data.
      data: the data themselves, whose training split is then looked at for labels.
      num_samples: of each metric, in place of its default.
    """
    options: dict[str, Any] = {} if num_samples is None else {"num_samples": num_samples}
    if info.kind != "image":
        return [metric(**options) for metric in (SlicedWasserstein, MMD, EnergyDistance)]
    pixels = PixelFrechet(**options)
    classifier = _default_classifier(info, data)
    if classifier is None:
        return [pixels]
    by_classifier = (Frechet, KID, InceptionScore, PrecisionRecall, DensityCoverage)
    options = {"num_samples": _CLASSIFIED} | options
    return [pixels, *(metric(classifier, **options) for metric in by_classifier)]


def _default_classifier(info: DataInfo, data: Dataset | None) -> Classifier | None:
    if info.name == "digits" and info.shape == (8, 8, 1):
        return DigitsClassifier()
    small = max(info.shape[:2]) <= _LARGEST_SIDE and info.scaling.stored_dtype == "uint8"
    if data is None or not small or not hasattr(data, "labels"):
        return None
    data.require("train")
    labels = data.labels("train")
    if labels is None or len(labels) < _FEWEST_LABELLED or len(np.unique(labels)) < 2:
        return None
    return Classifier(data)


def measure(
    samples: Array, data: Dataset, metrics: Sequence[Metric] | None = None, seed: int = 0
) -> tuple[dict[str, MetricValue], dict[str, MetricValue]]:
    """Metrics of samples, and of as many training examples: what a perfect model would score.

    Both are compared with held-out data. Nothing is stored.

    Args:
      samples: [N, ...], in the data's own units, as `ScoreModel.sample` gives them.
      data: the `Dataset`.
      metrics: objects of `METRICS`; by default `default_metrics` of the data.
      seed: of generated data; data that are read do not depend on it.

    Returns:
      (values of samples, values of training examples), each {name: `MetricValue`}; the second is
      empty if the training split cannot be read.

    Raises:
      UsageError: a metric does not apply to the data.
    """
    suite = MetricSuite(
        metrics or default_metrics(data.info(), data), References(data, seed, store=False)
    )
    return suite.measure([samples]), suite.real_values


class MetricSuite:
    """Measures several metrics of many sets of samples; reads real data, and each sample, once.

    Metrics with the same features share one extractor and its statistics.

    Args:
      metrics: objects of `METRICS`, at least one.
      references: the real data.
      progress: whether a bar shows how real data are read.

    Raises:
      UsageError: a metric does not apply to the data, or a split is unknown.
      FileNotFoundError: the data, or a file of an extractor, are missing.
    """

    def __init__(
        self, metrics: Sequence[Metric], references: References, progress: bool = False
    ) -> None:
        self.metrics, self.references, self._progress = list(metrics), references, progress
        for metric in self.metrics:
            metric.check(references.data.info())
        references.data.require(references.split)

    @property
    def num_samples(self) -> int:
        """The number of samples that all metrics together need."""
        return max(metric.num_samples for metric in self.metrics)

    @property
    def extractors(self) -> dict[str, Extractor]:
        """The extractors by `Extractor.identity`, each once."""
        return {identity: group[0].extractor for identity, group in self._groups.items()}

    @property
    def names(self) -> list[str]:
        """The name of each metric's main value."""
        return [metric.name for metric in self.metrics]

    def in_words(self) -> dict[str, str]:
        """{name of a value: what a person should know of it}, where its metric says so."""
        return {name: text for m in self.metrics for name, text in m.in_words().items()}

    def features(self, batch: Array) -> dict[str, Features]:
        """The features of examples in the data's own units, by `Extractor.identity`."""
        return {identity: extractor(batch) for identity, extractor in self.extractors.items()}

    def measure(self, batches: Iterable[Array]) -> dict[str, MetricValue]:
        """The values of samples: an iterable of batches [B, ...], in the data's own units."""
        return self.measure_features(self.features(batch) for batch in batches)

    def measure_features(self, batches: Iterable[Mapping[str, Features]]) -> dict[str, MetricValue]:
        """The values of samples whose features, as `features` gives them, are known already."""
        statistics = {
            identity: FeatureStatistics.of_samples(group)
            for identity, group in self._groups.items()
        }
        for batch in batches:
            for identity, one in statistics.items():
                one.add(batch[identity])
        return self._values(statistics)

    @functools.cached_property
    def real_values(self) -> dict[str, MetricValue]:
        """The values of real examples of the other split: what a perfect model would score.

        Empty if that split cannot be read.
        """
        if not self.references.has_other_split:
            return {}
        return self._values(
            {
                identity: self.references.other_statistics(group, self._progress)
                for identity, group in self._groups.items()
            }
        )

    @property
    def real_split(self) -> str:
        """The split of `real_values`: ``"training"`` or ``"held_out"``."""
        return _SPLIT_NAMES[self.references.other_split]

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of real examples used: {"held_out_examples": n, "training_examples": m}."""
        splits = [self.references.split]
        splits += [self.references.other_split] if self.references.has_other_split else []
        return {
            f"{_SPLIT_NAMES[split]}_examples": self.references.count(self.metrics, split)
            for split in splits
        }

    @property
    def facts(self) -> dict[str, float]:
        """What the extractors say of themselves, such as a classifier's accuracy, by name."""
        return {
            name: value
            for extractor in self.extractors.values()
            for name, value in extractor.facts().items()
        }

    @property
    def reference_paths(self) -> list[Path]:
        """The files of the real data's statistics, which are computed if they are missing."""
        return [path for _, path in self._references.values() if path is not None]

    @functools.cached_property
    def _groups(self) -> dict[str, list[Metric]]:
        groups: dict[str, list[Metric]] = {}
        for metric in self.metrics:
            groups.setdefault(metric.extractor.identity(), []).append(metric)
        return groups

    @functools.cached_property
    def _references(self) -> dict[str, tuple[FeatureStatistics, Path | None]]:
        return {
            identity: self.references.statistics(group, self._progress)
            for identity, group in self._groups.items()
        }

    def _values(self, samples: Mapping[str, FeatureStatistics]) -> dict[str, MetricValue]:
        values: dict[str, MetricValue] = {}
        for identity, group in self._groups.items():
            reference, _ = self._references[identity]
            for metric in group:
                values |= metric.compute(samples[identity], reference)
        return values
