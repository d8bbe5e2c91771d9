"""Two moons: two interleaved half circles."""

import numpy as np

from lcss_tf.data.mixture import Mixture, unit_curve
from lcss_tf.registry import DATASETS

_POINTS = 128  # on each moon: a quarter of the default noise apart


@DATASETS.register
class TwoMoons(Mixture):
    """Two interleaved half circles with Gaussian noise.

    Args:
      noise: the standard deviation across the moons, in units of the data's own.
    """

    def __init__(self, noise=0.1):
        angle = np.pi * (np.arange(_POINTS) + 0.5) / _POINTS
        upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        lower = np.array([1.0, 0.5]) - upper
        super().__init__("two_moons", unit_curve(np.concatenate([upper, lower]), noise), noise)
