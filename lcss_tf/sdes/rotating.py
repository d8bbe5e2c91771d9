"""An SDE whose drift couples and turns all coordinates: no kernel, no potential, a known prior."""

import math

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like
from lcss_tf.registry import SDES
from lcss_tf.sdes.affine import linear_beta
from lcss_tf.sdes.base import SDE
from lcss_tf.typing import Seed, Shape, Tensor


@SDES.register
class RotatingSDE(SDE):
    """dx = β(t) (ω R x − ½ |x|^(p−2) x) dt + √β(t) dw, |x| the norm of the whole example.

    R turns the coordinates in pairs, (x_1, x_2) to (−x_2, x_1) and so on; the last of an odd number
    stays. A turn moves every density that depends on |x| alone into itself, so the stationary
    distribution is ∝ exp(−|x|^p/p), whatever ω. No transition kernel is known for p ≠ 2, and for
    ω ≠ 0 the drift is no gradient.

    Args:
      power: p >= 2.
      turn: ω.
      beta_min, beta_max: β(0) and β(T), T = 1.

    Raises:
      UsageError: power < 2, or a β out of its range.
    """

    simulation_spacing = 0.5  # β grows like t: every step the same share of the noise

    def __init__(
        self, power: float = 4.0, turn: float = 1.5, beta_min: float = 0.1, beta_max: float = 20.0
    ) -> None:
        if power < 2:
            raise UsageError(f"RotatingSDE expects power >= 2; got {power}.")
        self.power, self.turn = float(power), float(turn)
        self.beta = linear_beta(beta_min, beta_max, self)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        flat = _flat(x)
        square = tf.reduce_sum(flat**2, axis=1, keepdims=True)
        pull = 0.5 * tf.maximum(square, 1e-12) ** (0.5 * self.power - 1)  # its slope stays finite
        drift = like(self.beta(t), flat) * (self.turn * _turned(flat) - pull * flat)
        return tf.reshape(drift, tf.shape(x))

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(self.beta(t)), x)

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        """|x|^p/p ~ Gamma(D/p, 1), in a uniform direction; D the numbers of an example."""
        dimension = math.prod(shape[1:])
        if self.power == 2:
            return random.normal(seed, shape)
        direction = random.sphere(random.fold_in(seed, "direction"), shape)
        size = random.gamma(random.fold_in(seed, "size"), shape[:1], dimension / self.power)
        radius = (self.power * size) ** (1 / self.power) / math.sqrt(dimension)
        return direction * like(radius, direction)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        flat, p = _flat(x), self.power
        d = flat.shape[1]
        sphere = math.log(2) + 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d)
        log_normaliser = sphere + (d / p - 1) * math.log(p) + math.lgamma(d / p)
        return -(tf.norm(flat, axis=1) ** p) / p - log_normaliser


def _flat(x: Tensor) -> Tensor:
    return tf.reshape(x, [-1, math.prod(x.shape[1:])])


def _turned(flat: Tensor) -> Tensor:
    """R x of x [B, D]."""
    dimension = flat.shape[1]
    order = np.arange(dimension - dimension % 2) ^ 1
    sign = np.where(np.arange(len(order)) % 2, 1.0, -1.0).astype(np.float32)
    turned = tf.gather(flat, order, axis=1) * tf.cast(sign, flat.dtype)
    return tf.pad(turned, [[0, 0], [0, dimension % 2]])


__all__ = ["RotatingSDE"]
