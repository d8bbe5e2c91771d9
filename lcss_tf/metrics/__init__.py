"""Metrics: how far samples are from data. Importing this registers all metrics."""

from lcss_tf.metrics.frechet import frechet_distance
from lcss_tf.metrics.pixel_frechet import PixelFrechet
from lcss_tf.metrics.sliced_wasserstein import SlicedWasserstein, sliced_wasserstein
from lcss_tf.metrics.statistics import GaussianStatistics
from lcss_tf.metrics.two_sample import TwoSampleTest

__all__ = [
    "GaussianStatistics",
    "PixelFrechet",
    "SlicedWasserstein",
    "TwoSampleTest",
    "frechet_distance",
    "sliced_wasserstein",
]
