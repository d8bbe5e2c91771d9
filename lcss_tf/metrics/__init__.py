"""Metrics: distances between samples and real data. Importing this registers all of them."""

from lcss_tf.metrics.base import Metric, MetricValue
from lcss_tf.metrics.distances import (
    KID,
    MMD,
    EnergyDistance,
    SlicedWasserstein,
    TwoSampleTest,
    kernel_distance,
    permutation_test,
    sliced_wasserstein,
)
from lcss_tf.metrics.extractors import (
    Classifier,
    DigitsClassifier,
    Extractor,
    Features,
    IdentityFeatures,
    KerasFeatures,
    Pixels,
)
from lcss_tf.metrics.fidelity import DensityCoverage, InceptionScore, PrecisionRecall
from lcss_tf.metrics.frechet import Frechet, PixelFrechet, frechet_distance
from lcss_tf.metrics.inception import Inception
from lcss_tf.metrics.measure import MetricSuite, default_metrics, measure
from lcss_tf.metrics.memorization import Neighbours, find_neighbours
from lcss_tf.metrics.references import ReferenceMismatchError, References
from lcss_tf.metrics.statistics import FeatureStatistics, GaussianStatistics

__all__ = [
    "KID",
    "MMD",
    "Classifier",
    "DensityCoverage",
    "DigitsClassifier",
    "EnergyDistance",
    "Extractor",
    "FeatureStatistics",
    "Features",
    "Frechet",
    "GaussianStatistics",
    "IdentityFeatures",
    "Inception",
    "InceptionScore",
    "KerasFeatures",
    "Metric",
    "MetricSuite",
    "MetricValue",
    "Neighbours",
    "Pixels",
    "PixelFrechet",
    "PrecisionRecall",
    "ReferenceMismatchError",
    "References",
    "SlicedWasserstein",
    "TwoSampleTest",
    "default_metrics",
    "find_neighbours",
    "frechet_distance",
    "kernel_distance",
    "measure",
    "permutation_test",
    "sliced_wasserstein",
]
