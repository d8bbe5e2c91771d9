"""Gaussian data with their exact score, and their posterior given y = A x + noise."""

import numpy as np
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.control import InverseProblem, Mask

MEAN = np.float32([1.0, -0.5, 0.3, 0.0])
KNOWN = np.array([1, 1, 0, 0])  # of the four coordinates the first two are observed


def isotropic(std=0.5):
    return std**2 * np.eye(4)


def correlated():
    """Each known coordinate has a correlation of 0.8 with a hidden one; all variances are 1/4."""
    covariance = np.eye(4)
    covariance[0, 2] = covariance[2, 0] = 0.8
    covariance[1, 3] = covariance[3, 1] = -0.8
    return 0.25 * covariance


def score_of(sde, covariance):
    """∇log p_t of N(MEAN, covariance), exact."""

    def score_fn(x, t):
        alpha_t, sigma_t = sde.marginal(t)
        noised = (alpha_t**2)[:, None, None] * tf.constant(covariance, tf.float32)
        noised += (sigma_t**2)[:, None, None] * tf.eye(4)
        return -tf.linalg.matvec(tf.linalg.inv(noised), x - alpha_t[:, None] * MEAN)

    return score_fn


def posterior(covariance, y, noise_std):
    """(mean, covariance) of x given y [4], of which KNOWN is observed."""
    A = np.eye(4)[KNOWN == 1]
    gain = covariance @ A.T @ np.linalg.inv(A @ covariance @ A.T + noise_std**2 * np.eye(len(A)))
    return MEAN + gain @ (A @ (y - MEAN)), covariance - gain @ A @ covariance


def draw(method, sampler, covariance, y, noise_std=0.0, count=4_000):
    """`count` samples given y [4] by the exact score, under VP."""
    sde = lcss_tf.SDES["VPSDE"]()
    observed = tf.repeat(tf.constant(y[None] * KNOWN, tf.float32), count, axis=0)
    problem = InverseProblem(Mask(KNOWN), observed, noise_std)
    controlled = method.control(sampler, problem)

    @tf.function(jit_compile=True, autograph=False)
    def run(seed):
        return controlled.sample(score_of(sde, covariance), sde, (count, 4), seed).x

    return run(random.as_seed(1)).numpy()
