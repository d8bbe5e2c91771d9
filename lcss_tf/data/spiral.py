"""The spiral: one long, thin arm."""

import numpy as np

from lcss_tf.data.mixture import Mixture, unit_curve
from lcss_tf.registry import DATASETS

_POINTS = 512


@DATASETS.register
class Spiral(Mixture):
    """An Archimedean spiral with Gaussian noise, of even density along the arm.

    Args:
      noise: the standard deviation across the arm, in units of the data's own.
      turns: of the arm round the centre.
    """

    def __init__(self, noise=0.07, turns=2.0):
        # The arm's length grows with the square of the angle, so the root spaces points evenly.
        angle = 2.0 * np.pi * turns * np.sqrt((np.arange(_POINTS) + 0.5) / _POINTS)
        arm = angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        super().__init__("spiral", unit_curve(arm, noise), noise)
