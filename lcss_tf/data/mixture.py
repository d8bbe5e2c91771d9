"""Mixtures of equal round Gaussians: everything about them is known exactly."""

import math

import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.toy import Toy
from lcss_tf.errors import UsageError


class Mixture(Toy):
    """p(x) = (1/K)·Σ_k N(x; μ_k, s²I), with its score, at every noise level.

    A density along a curve is such a mixture too, with means close together: see `means_along`.

    Args:
      name: of the dataset.
      means: μ, [K, D].
      component_std: s, positive.
    """

    def __init__(self, name, means, component_std):
        if component_std <= 0:
            raise UsageError(f"component_std must be positive; got {component_std}.")
        means = np.asarray(means, np.float64)
        # One uniform chooses the component; Box and Muller take two for each normal.
        super().__init__(name, means.shape[1], num_uniforms=1 + 2 * means.shape[1])
        self.means = means
        self.component_std = float(component_std)

    def draw(self, uniforms):
        """See `Toy.draw`."""
        component = tf.cast(uniforms[:, 0] * len(self.means), tf.int32)
        mean = tf.gather(tf.constant(self.means, tf.float32), component)
        return mean + self.component_std * hashing.to_normal(uniforms[:, 1:])

    def log_density(self, x, alpha_t=1.0, sigma_t=0.0):
        """log p_t(x) [B], in x's dtype.

        Args:
          x: [B, D].
          alpha_t, sigma_t: numbers or [B]; p_t is the law of alpha_t·x_0 + sigma_t·z,
            z ~ N(0, I): the marginal of an affine SDE that starts from these data.
        """
        x = tf.convert_to_tensor(x)
        log_joint, _, _ = self._log_joint(x, alpha_t, sigma_t)
        return tf.cast(tf.reduce_logsumexp(log_joint, axis=1), x.dtype)

    def score(self, x, alpha_t=1.0, sigma_t=0.0):
        """∇ log p_t(x) [B, D], in x's dtype; the arguments as in `log_density`."""
        x = tf.convert_to_tensor(x)
        log_joint, alpha_t, variance = self._log_joint(x, alpha_t, sigma_t)
        mean = tf.nn.softmax(log_joint, axis=1) @ tf.constant(self.means)
        return tf.cast((alpha_t * mean - tf.cast(x, tf.float64)) / variance, x.dtype)

    def component_log_density(self, u):
        """log N(u; 0, s²), of the shape of u: one coordinate of a component about its mean."""
        std = self.component_std
        return -0.5 * (u / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))

    def _log_joint(self, x, alpha_t, sigma_t):
        """log (1/K)·N(x; αμ_k, (α²s² + σ²)I) [B, K]; α and the variance, [B, 1] or [1, 1]."""
        alpha_t, sigma_t = (_column(value) for value in (alpha_t, sigma_t))
        variance = alpha_t**2 * self.component_std**2 + sigma_t**2
        # The expanded square needs no [B, K, D]; float64 bears its cancellation.
        x, means = tf.cast(x, tf.float64), tf.constant(self.means)
        square = (
            tf.reduce_sum(x**2, axis=1, keepdims=True)
            - 2.0 * alpha_t * tf.matmul(x, means, transpose_b=True)
            + alpha_t**2 * tf.reduce_sum(means**2, axis=1)
        )
        log_normal = -0.5 * (square / variance + self.shape[0] * tf.math.log(2 * np.pi * variance))
        return log_normal - math.log(len(self.means)), alpha_t, variance


def _column(value):
    """A number or [B] as float64 [1, 1] or [B, 1]."""
    return tf.reshape(tf.cast(value, tf.float64), [-1, 1])


def means_along(curve, component_std):
    """Means [K, 2] along a curve, so close together that their Gaussians merge.

    They are centred and scaled so that the mixture has unit variance, averaged over the two
    dimensions, the component's own included.

    Args:
      curve: maps parameters [K], evenly spaced in (0, 1), to points [K, 2].
      component_std: of the mixture, between 0 and 1.

    Raises:
      ValueError: component_std is out of its range.
    """
    if not 0 < component_std < 1:
        raise UsageError(f"The noise must lie between 0 and 1; got {component_std}.")

    def means(count):
        points = curve((np.arange(count) + 0.5) / count)
        points = points - points.mean(axis=0)
        return points * math.sqrt((1.0 - component_std**2) / np.mean(points**2))

    length = np.linalg.norm(np.diff(means(2048), axis=0), axis=1).sum()
    # At 3/4 of a standard deviation the ripples are 2·exp(−2π²·16/9), 1e-15 of the density. An
    # even number: curves may have two halves.
    return means(2 * math.ceil(length / (1.5 * component_std)))
