"""EDM's sampler (Karras et al. 2022, Alg. 1 and 2), over (alpha_t, sigma_t)."""

import math

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import shape_of
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Step
from lcss_tf.samplers.few_steps import FewSteps, data_and_noise, levels, log_snr
from lcss_tf.samplers.spacing import RhoSchedule

_MOST = math.sqrt(2.0) - 1.0  # of the churn of one step


@SAMPLERS.register
class EDMHeun(FewSteps):
    """Heun's steps of dy/dς = ε(x, t), in y = x/alpha_t and ς = sigma_t/alpha_t.

    Any affine SDE's probability flow is this ODE. Two evaluations a step. With churn, noise first
    raises ς to ς' = (1 + γ) ς, y' = y + √(ς'² − ς²) s_noise z, where
    γ = min(s_churn/num_steps, √2 − 1), and the step starts from there; never from beyond T.

    Args:
      s_churn: 0: deterministic.
      s_min, s_max: the churn is confined to ς in [s_min, s_max].
      s_noise: factor of the churn's noise; a little over 1 restores what a network
        that denoises too well takes away.
      **options: of `FewSteps`; times are spaced by `RhoSchedule`(7) by default.

    Raises:
      ValueError: a number out of its range.
    """

    default_spacing = RhoSchedule(7.0)

    def __init__(self, s_churn=0.0, s_min=0.0, s_max=math.inf, s_noise=1.0, **options):
        super().__init__(**options)
        if s_churn < 0 or not 0 <= s_min < s_max or s_noise <= 0:
            raise UsageError(
                "EDMHeun expects s_churn >= 0, 0 <= s_min < s_max and s_noise > 0; got "
                f"s_churn={s_churn}, s_min={s_min}, s_max={s_max}, s_noise={s_noise}."
            )
        self.s_churn = s_churn
        self.s_min = s_min
        self.s_max = s_max
        self.s_noise = s_noise

    def evaluations_per_step(self):
        return 2

    def step(self, reverse, x, t, s, seed):
        if self.s_churn:
            x, t = self._churned(reverse.sde, x, t, random.normal(seed, shape_of(x)))
        alpha_t, sigma_t = levels(reverse.sde, t, x)
        alpha_s, sigma_s = levels(reverse.sde, s, x)
        change = sigma_s / alpha_s - sigma_t / alpha_t
        _, noise = data_and_noise(reverse, x, t)
        predicted = alpha_s * (x / alpha_t + change * noise)
        _, after = data_and_noise(reverse, predicted, s)
        x = alpha_s * (x / alpha_t + 0.5 * change * (noise + after))
        return Step(x, x)

    def _churned(self, sde, x, t, z):
        """(x, t) with more noise."""
        log_level = -log_snr(sde, t)
        level = tf.exp(log_level)
        share = min(self.s_churn / self.num_steps, _MOST)
        share = tf.where((level >= self.s_min) & (level <= self.s_max), share, 0.0)
        later = tf.maximum(sde.time_of_log_noise(log_level + tf.math.log1p(share)), t)
        alpha_t, sigma_t = levels(sde, t, x)
        alpha_s, sigma_s = levels(sde, later, x)
        # The noise between the two times themselves, whatever the bisection's last bit was.
        kept = alpha_s / alpha_t * sigma_t
        std = tf.sqrt(tf.maximum((sigma_s - kept) * (sigma_s + kept), 0.0))
        return alpha_s / alpha_t * x + self.s_noise * std * z, later
