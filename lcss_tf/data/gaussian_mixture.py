"""Separate Gaussians, in any dimension."""

import math

import numpy as np

from lcss_tf.data.mixture import Mixture
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS


@DATASETS.register
class GaussianMixture(Mixture):
    """Equal Gaussians whose means lie on a sphere: evenly on the circle in two dimensions.

    In one dimension the means are evenly spaced on [−radius, radius]; in three and more they
    point in random directions, drawn once and for all.

    Args:
      num_components: K.
      radius: of the sphere; by default such that a coordinate has unit variance (on average).
      component_std: the standard deviation of one component.
      dimension: D.
      means: [K, D], in place of all of the above but component_std.

    Raises:
      ValueError: a number out of its range.
    """

    def __init__(self, num_components=8, radius=None, component_std=0.15, dimension=2, means=None):
        if means is not None:
            super().__init__("gaussian_mixture", means, component_std)
            return
        if num_components < 1 or dimension < 1:
            raise UsageError(
                "GaussianMixture needs num_components >= 1 and dimension >= 1; got "
                f"{num_components} and {dimension}."
            )
        means = _directions(num_components, dimension)
        if radius is None:
            if component_std >= 1:
                raise UsageError(
                    f"With component_std = {component_std} >= 1 no radius gives unit variance; "
                    "set GaussianMixture.radius as well."
                )
            radius = math.sqrt((1.0 - component_std**2) / max(np.mean(means**2), 1e-12))
        super().__init__("gaussian_mixture", radius * means, component_std)


def _directions(count, dimension):
    if count == 1:
        return np.eye(1, dimension)
    if dimension == 1:
        return np.linspace(-1.0, 1.0, count)[:, None]
    if dimension == 2:
        angle = 2.0 * np.pi * np.arange(count) / count
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # RandomState, not default_rng: NumPy promises that its stream never changes.
    draws = np.random.RandomState(0).normal(size=(count, dimension))
    return draws / np.linalg.norm(draws, axis=1, keepdims=True)
