"""Two moons: two interleaved half circles."""

import numpy as np

from lcss_tf.data.mixture import Mixture, means_along
from lcss_tf.registry import DATASETS


@DATASETS.register
class TwoMoons(Mixture):
    """Two interleaved half circles with Gaussian noise.

    Args:
      noise: the standard deviation across the moons, between 0 and 1, in the data's units.
    """

    def __init__(self, noise=0.1):
        super().__init__("two_moons", means_along(_moons, noise), noise)


def _moons(u):
    angle = 2.0 * np.pi * u  # one half of the way is one moon
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.where((u < 0.5)[:, None], circle, circle + [1.0, 0.5])
