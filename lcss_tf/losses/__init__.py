"""Score-matching losses: LCSS, and the classical ones to compare it with; their times, weights."""

from lcss_tf.losses.base import Loss
from lcss_tf.losses.classical import DSMLoss, FDSSMLoss, ISMLoss, SSMLoss
from lcss_tf.losses.lcss import LCSSLoss
from lcss_tf.losses.times import (
    AdaptiveTimes,
    ImportanceTimes,
    LogitNormalTimes,
    LogNormalTimes,
    TimeDistribution,
    UniformTimes,
)
from lcss_tf.losses.weightings import (
    EDMWeighting,
    MinSNRWeighting,
    P2Weighting,
    SNRWeighting,
    likelihood,
    noise_scale,
)

__all__ = [
    "AdaptiveTimes",
    "DSMLoss",
    "EDMWeighting",
    "FDSSMLoss",
    "ISMLoss",
    "ImportanceTimes",
    "LCSSLoss",
    "LogNormalTimes",
    "LogitNormalTimes",
    "Loss",
    "MinSNRWeighting",
    "P2Weighting",
    "SNRWeighting",
    "SSMLoss",
    "TimeDistribution",
    "UniformTimes",
    "likelihood",
    "noise_scale",
]
