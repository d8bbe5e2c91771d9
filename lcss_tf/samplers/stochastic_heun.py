"""A second-order sampler of the reverse SDE, for every SDE: multiplicative noise as well."""

import tensorflow as tf

from lcss_tf import random
from lcss_tf.ops import like, shape_of
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Sampler, Step
from lcss_tf.samplers.spacing import PowerSchedule


@SAMPLERS.register
class StochasticHeun(Sampler):
    """Platen's explicit scheme of weak order 2 (Kloeden and Platen 1992, 15.1), coordinate by
    coordinate. With a = −(f − ∂(g²) − g² score), b = g, h = t − s and ΔW = √h z,

        x_s = x + ½ (a + a(x + a h + b ΔW)) h
                + ¼ (b₊ + b₋ + 2b) ΔW + ¼ (b₊ − b₋) (ΔW² − h)/√h,    b± = b(x + a h ± b √h),

    a and b at (x, t), the others at time s. Two evaluations a step. Where g does not depend on x
    this is stochastic Heun, b the mean of both times'. Itô's own integral: averaging b over x and
    the predicted state, as Heun does the drift, would sample Stratonovich's. The order holds
    where g_i depends on x_i and t alone; where on other coordinates too, it is 1.

    Args:
      **options: of `Sampler`. Times are quadratic by default; `denoise`: the last step's mean is
        Euler's, x + a h.
    """

    default_spacing = PowerSchedule(2.0)

    def evaluations_per_step(self):
        return 2

    def step(self, reverse, x, t, s, seed):
        return self.step_with(reverse, x, t, s, random.normal(seed, shape_of(x)))

    def step_with(self, reverse, x, t, s, z):
        """The step with given noise z, of the shape of x."""
        h = like(t - s, x)
        root = tf.sqrt(h)
        a, b = self._drift(reverse, x, t), reverse.sde.diffusion(x, t)
        mean = x + a * h
        a_after = self._drift(reverse, mean + b * root * z, s)
        above = reverse.sde.diffusion(mean + b * root, s)
        below = reverse.sde.diffusion(mean - b * root, s)
        noise = 0.25 * (above + below + 2.0 * b) * root * z
        noise += 0.25 * (above - below) * root * (z**2 - 1.0)
        return Step(x + 0.5 * (a + a_after) * h + noise, mean)

    @staticmethod
    def _drift(reverse, x, t):
        return -reverse.sde.reverse_drift(x, t, reverse.score_fn(x, t))
