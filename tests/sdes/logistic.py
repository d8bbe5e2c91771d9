"""An SDE of an author's own, elementwise and without closed form: it enters the contract too."""

import math

import tensorflow as tf

import lcss_tf


@lcss_tf.register_sde
class LogisticSDE(lcss_tf.ElementwiseSDE):
    """dx = −½β(t) tanh(x/2s)/s dt + √β(t) dw, β rising linearly from beta_min to beta_max."""

    simulation_spacing = 0.5  # β grows like t: every step the same share of the noise

    def __init__(self, scale=0.5, beta_min=0.1, beta_max=20.0):
        self.scale = scale
        self.beta_min = beta_min
        self.beta_max = beta_max

    def beta(self, x, t):
        """β(t), shaped to broadcast against x [B, ...]."""
        t = tf.reshape(t, [-1] + [1] * (len(x.shape) - 1))
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def drift(self, x, t):
        return -0.5 * self.beta(x, t) * tf.tanh(x / (2 * self.scale)) / self.scale

    def diffusion(self, x, t):
        return tf.sqrt(self.beta(x, t))

    def prior_sample(self, shape, seed):
        u = tf.random.stateless_uniform(shape, seed, minval=1e-6, maxval=1 - 1e-6)
        return self.scale * (tf.math.log(u) - tf.math.log1p(-u))

    def prior_log_prob(self, x):
        y = x / self.scale
        log_density = -y - 2 * tf.nn.softplus(-y) - math.log(self.scale)
        return tf.reduce_sum(log_density, axis=list(range(1, len(x.shape))))
