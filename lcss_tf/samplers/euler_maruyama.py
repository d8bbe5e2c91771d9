"""Euler–Maruyama for the reverse SDE: works for every SDE."""

from lcss_tf import random
from lcss_tf.ops import shape_of
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Sampler
from lcss_tf.samplers.predictors import EulerMaruyamaPredictor


@SAMPLERS.register
class EulerMaruyama(Sampler):
    """x_s = x − [f − g² score] (t − s) + g √(t − s) z; by default equal steps from T to t_end."""

    def step(self, reverse, x, t, s, seed):
        return EulerMaruyamaPredictor().step(reverse, x, t, s, random.normal(seed, shape_of(x)))
