"""Score-matching losses, one per file."""

from lcss_tf.losses.base import Loss
from lcss_tf.losses.dsm import DSMLoss
from lcss_tf.losses.finite_difference import FDSSMLoss
from lcss_tf.losses.implicit import ISMLoss
from lcss_tf.losses.lcss import LCSSLoss
from lcss_tf.losses.sliced import SSMLoss
from lcss_tf.losses.weighting import likelihood, noise_scale

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
