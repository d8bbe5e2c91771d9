"""The Gaussian prior N(0, std² I) that the affine SDEs share."""

import math

import tensorflow as tf

from lcss_tf import rng
from lcss_tf.sdes.shapes import sum_over_data


def gaussian_sample(shape, seed, std=1.0):
    """N(0, std² I) of `shape` [B, ...]."""
    return std * rng.normal(seed, shape)


def gaussian_log_prob(x, std=1.0):
    """log N(x; 0, std² I) in nats, [B]."""
    dimension = math.prod(x.shape[1:])
    log_normaliser = dimension * (0.5 * math.log(2 * math.pi) + math.log(std))
    return -0.5 * sum_over_data(tf.square(x / std)) - log_normaliser
