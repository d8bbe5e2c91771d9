"""Score-matching losses, one per file."""

from lcss_tf.losses.base import Loss
from lcss_tf.losses.dsm import DSMLoss
from lcss_tf.losses.lcss import LCSSLoss
from lcss_tf.losses.weighting import likelihood, noise_scale

__all__ = ["DSMLoss", "LCSSLoss", "Loss", "likelihood", "noise_scale"]
