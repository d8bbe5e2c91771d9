"""Denoising diffusion implicit models (Song, Meng and Ermon 2021), over (alpha_t, sigma_t)."""

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import shape_of
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Step
from lcss_tf.samplers.few_steps import FewSteps, data_and_noise, levels
from lcss_tf.samplers.spacing import PowerSchedule


@SAMPLERS.register
class DDIM(FewSteps):
    """x_s = alpha_s D + √(sigma_s² − η² v) ε + η √v z,  v = Var[x_s | x_t, x_0].

    v = (sigma_s/sigma_t)² (sigma_t² − (alpha_t/alpha_s)² sigma_s²). At η = 0 it is deterministic,
    of order 1 for the probability-flow ODE, and exact where D does not change; at η = 1 it is
    the ancestral step between any two times. One evaluation a step.

    Args:
      eta: η in [0, 1].
      **options: of `FewSteps`; times are quadratic by default.

    Raises:
      ValueError: eta out of its range.
    """

    default_spacing = PowerSchedule(2.0)

    def __init__(self, eta=0.0, **options):
        super().__init__(**options)
        if not 0 <= eta <= 1:
            raise UsageError(f"DDIM expects 0 <= eta <= 1; got {eta}.")
        self.eta = eta

    def step(self, reverse, x, t, s, seed):
        alpha_t, sigma_t = levels(reverse.sde, t, x)
        alpha_s, sigma_s = levels(reverse.sde, s, x)
        data, noise = data_and_noise(reverse, x, t)
        if not self.eta:
            x = alpha_s * data + sigma_s * noise
            return Step(x, x)
        # sigma_s² − v = (kept/sigma_t · sigma_s)²; (a − b)(a + b) loses fewer bits than a² − b².
        kept = alpha_t / alpha_s * sigma_s
        variance = (sigma_s / sigma_t) ** 2 * tf.maximum((sigma_t - kept) * (sigma_t + kept), 0.0)
        rest = tf.sqrt((kept / sigma_t * sigma_s) ** 2 + (1.0 - self.eta**2) * variance)
        mean = alpha_s * data + rest * noise
        z = random.normal(seed, shape_of(x))
        return Step(mean + self.eta * tf.sqrt(variance) * z, mean)
