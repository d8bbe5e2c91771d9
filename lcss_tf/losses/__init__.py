"""Score-matching losses: LCSS, and the classical ones to compare it with."""

from lcss_tf.losses.base import Loss, likelihood, noise_scale
from lcss_tf.losses.classical import DSMLoss, FDSSMLoss, ISMLoss, SSMLoss
from lcss_tf.losses.lcss import LCSSLoss

__all__ = [
    "DSMLoss",
    "FDSSMLoss",
    "ISMLoss",
    "LCSSLoss",
    "Loss",
    "SSMLoss",
    "likelihood",
    "noise_scale",
]
