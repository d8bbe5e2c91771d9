"""The spiral: one long, thin arm."""

import numpy as np

from lcss_tf.data.mixture import Mixture, means_along
from lcss_tf.registry import DATASETS


@DATASETS.register
class Spiral(Mixture):
    """An Archimedean spiral with Gaussian noise, of even density along the arm.

    Args:
      noise: the standard deviation across the arm, between 0 and 1, in the data's units.
      turns: of the arm round the centre.
    """

    def __init__(self, noise=0.07, turns=2.0):
        def arm(u):
            # The arm's length grows with the square of the angle; the root spaces points evenly.
            angle = 2.0 * np.pi * turns * np.sqrt(u)
            return angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

        super().__init__("spiral", means_along(arm, noise), noise)
