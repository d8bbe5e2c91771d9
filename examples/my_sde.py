"""An SDE of your own, in your own file: four methods and a decorator.

    python bin/train.py --gin_file=examples/my_sde.gin --import=examples/my_sde.py
    python bin/sample.py --workdir=runs/my_sde

dx = −½β(t) tanh(x/2s)/s dt + √β(t) dw pulls with a bounded force. It has no closed-form
transition kernel, so denoising score matching cannot train on it. Its stationary
distribution is the logistic distribution of scale s, whatever the data were.

Drift and diffusion of a coordinate depend on it alone, so it is an ElementwiseSDE: LCSS then
learns it by one evaluation a step. An SDE of any other drift derives from lcss_tf.SDE.
"""

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
