"""Metrics: how far samples are from data. Importing this registers all metrics."""

from lcss_tf.metrics.base import Figure, Metric, reference_needs, sample_summary
from lcss_tf.metrics.class_score import ClassScore
from lcss_tf.metrics.frechet import frechet_distance
from lcss_tf.metrics.frechet_metric import Frechet, PixelFrechet
from lcss_tf.metrics.kernels import MMD, EnergyDistance, KernelDistance, kernel_distance
from lcss_tf.metrics.manifolds import DensityCoverage, PrecisionRecall
from lcss_tf.metrics.sliced_wasserstein import SlicedWasserstein, sliced_wasserstein
from lcss_tf.metrics.statistics import GaussianStatistics
from lcss_tf.metrics.summary import Summary
from lcss_tf.metrics.two_sample import TwoSampleTest

__all__ = [
    "MMD",
    "ClassScore",
    "DensityCoverage",
    "EnergyDistance",
    "Figure",
    "Frechet",
    "GaussianStatistics",
    "KernelDistance",
    "Metric",
    "PixelFrechet",
    "PrecisionRecall",
    "SlicedWasserstein",
    "Summary",
    "TwoSampleTest",
    "frechet_distance",
    "kernel_distance",
    "reference_needs",
    "sample_summary",
    "sliced_wasserstein",
]
