"""Weightings λ(t) of the loss over time: functions (sde, t [B]) -> [B]."""

import tensorflow as tf

from lcss_tf.registry import WEIGHTINGS


@WEIGHTINGS.register
def noise_scale(sde, t):
    """λ = s(t)²: every time counts alike in units of its own noise. For sample quality."""
    return sde.noise_scale(t) ** 2


@WEIGHTINGS.register
def likelihood(sde, t):
    """λ = g(0, t)²: the weighted loss bounds the negative log-likelihood (Song et al. 2021)."""
    return tf.reshape(sde.diffusion(tf.zeros_like(t)[:, None], t), [-1]) ** 2
