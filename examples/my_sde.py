"""An SDE of your own, in your own file: four methods and a decorator.

    python bin/train.py --gin_file=examples/my_sde.gin --import=examples/my_sde.py
    python bin/sample.py --workdir=runs/my_sde

dx = −½β(t) x³ dt + √β(t) dw has no closed-form transition kernel, so denoising score
matching cannot train on it. Its stationary law is the quartic exp(−x⁴/4), whatever the
data were.
"""

import math

import tensorflow as tf

import lcss_tf


@lcss_tf.register_sde
class QuarticSDE(lcss_tf.SDE):
    """dx = −½β(t) x³ dt + √β(t) dw, with β rising linearly from beta_min to beta_max."""

    def __init__(self, beta_min=0.1, beta_max=20.0):
        self.beta_min = beta_min
        self.beta_max = beta_max

    def beta(self, x, t):
        """β(t), shaped to broadcast against x [B, ...]."""
        t = tf.reshape(t, [-1] + [1] * (len(x.shape) - 1))
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def drift(self, x, t):
        return -0.5 * self.beta(x, t) * x**3

    def diffusion(self, x, t):
        return tf.sqrt(self.beta(x, t))

    def prior_sample(self, shape, seed):
        # If x has the density ∝ exp(−x⁴/4), then x⁴/4 ~ Gamma(1/4, 1), and signs are even.
        sizes, signs = tf.unstack(tf.random.split(seed, 2))
        gamma = tf.random.stateless_gamma(shape, sizes, alpha=0.25)
        sign = tf.sign(tf.random.stateless_uniform(shape, signs) - 0.5)
        return sign * (4.0 * gamma) ** 0.25

    def prior_log_prob(self, x):
        # ∫ exp(−x⁴/4) dx = Γ(1/4)/√2
        log_normaliser = math.log(math.gamma(0.25) / math.sqrt(2.0))
        return tf.reduce_sum(-(x**4) / 4 - log_normaliser, axis=list(range(1, len(x.shape))))
