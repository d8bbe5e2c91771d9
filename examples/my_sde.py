"""An SDE of your own, in your own file: four methods and a decorator.

    python bin/train.py --gin_file=examples/my_sde.gin --import=examples/my_sde.py
    python bin/sample.py --workdir=runs/my_sde

dx = −½β(t) (x + ω tanh(|x|²/2) R x) dt + √β(t) dw, R a quarter turn: while noise spreads the points
of the plane, a swirl carries them round the origin, the faster the further out. The drift couples
the coordinates, is not linear, and derives from no potential. It has no transition kernel in closed form, so
denoising score matching cannot train on it.

The swirl runs along circles, with one speed on each: it moves a standard normal distribution
into itself. So that is the prior, whatever ω.

LCSS learns any such SDE by path smoothing, with one evaluation of the network a step.
"""

import math

import tensorflow as tf

import lcss_tf


@lcss_tf.register_sde
class SwirlSDE(lcss_tf.SDE):
    """dx = −½β(t) (x + ω tanh(|x|²/2) R x) dt + √β(t) dw, β rising from beta_min to beta_max.

    Args:
      turn: ω, positive for clockwise.
      beta_min, beta_max: β(0) and β(1).
    """

    simulation_spacing = 0.5  # β grows like t: every step the same share of the noise

    def __init__(self, turn=2.0, beta_min=0.1, beta_max=20.0):
        self.turn = turn
        self.beta_min = beta_min
        self.beta_max = beta_max

    def beta(self, t):
        """β(t), [B, 1]."""
        return self.beta_min + t[:, None] * (self.beta_max - self.beta_min)

    def drift(self, x, t):
        quarter_turn = tf.stack([-x[:, 1], x[:, 0]], axis=1)
        speed = tf.tanh(0.5 * tf.reduce_sum(x**2, axis=1, keepdims=True))
        return -0.5 * self.beta(t) * (x + self.turn * speed * quarter_turn)

    def diffusion(self, x, t):
        return tf.sqrt(self.beta(t))

    def prior_sample(self, shape, seed):
        return tf.random.stateless_normal(shape, seed)

    def prior_log_prob(self, x):
        return -0.5 * tf.reduce_sum(x**2 + math.log(2 * math.pi), axis=1)
