"""The last Gaussian step of a path, as the losses use it.

A kernel gives, for noise z ~ N(0, I), the point x' and its **Stein weight**
w = −∇ log p(x' | all before): E_z[tr ∇S(x')] = E_z[S(x')·w] for every S.
"""

from typing import NamedTuple

import tensorflow as tf


class GaussianKernel(NamedTuple):
    """x' = mean + std z, w = z/std; std broadcastable to mean [B, ...]."""

    mean: tf.Tensor
    std: tf.Tensor

    def at(self, z):
        """(x', w), of the shape of z."""
        return self.mean + self.std * z, z / self.std


class LatentKernel(NamedTuple):
    """y' = mean + std z in an SDE's latent coordinate, x' = `sde.from_latent(y')`."""

    mean: tf.Tensor
    std: tf.Tensor
    sde: object

    def at(self, z):
        """(x', w), of the shape of z."""
        x = self.sde.from_latent(self.mean + self.std * z)
        return x, self.sde.weight_from_latent(x, z / self.std)
