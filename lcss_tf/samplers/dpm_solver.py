"""DPM-Solver++ (Lu et al. 2022b): exponential multistep in λ_t = log(alpha_t/sigma_t)."""

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Step
from lcss_tf.samplers.few_steps import FewSteps, data_and_noise, levels, log_snr
from lcss_tf.samplers.spacing import LogSNRSchedule


@SAMPLERS.register
class DPMSolverPP(FewSteps):
    """2M: x_s = (sigma_s/sigma_t) x − alpha_s (e^{−h} − 1) D̄,  h = λ_s − λ_t > 0.

    D̄ = D + (h/2h') (D − D'), with D' and h' of the step before: second order with one
    evaluation a step. The first step has no D' and is of order 1 (DDIM's). The form for the SDE,

        x_s = (sigma_s/sigma_t) e^{−h} x + alpha_s (1 − e^{−2h}) D̄ + sigma_s √(1 − e^{−2h}) z,

    forgets errors of earlier steps.

    Args:
      order: 2, or 1.
      stochastic: the form for the SDE.
      first_order_end: the last step is of order 1, where D changes faster than a few steps can
        follow; None: if num_steps < 15, as in the paper's code, and no last evaluation
        (`denoise`) follows to mend it.
      **options: of `FewSteps`; times are equal steps of λ by default.

    Raises:
      ValueError: order is neither 1 nor 2.
    """

    default_spacing = LogSNRSchedule()

    def __init__(self, order=2, stochastic=False, first_order_end=None, **options):
        super().__init__(**options)
        if order not in (1, 2):
            raise UsageError(f"DPMSolverPP.order must be 1 or 2; got {order}.")
        self.order = order
        self.stochastic = stochastic
        if first_order_end is None:
            first_order_end = self.num_steps < 15 and not self.denoise
        self.first_order_end = first_order_end

    def begin(self, reverse, x):
        """(D', 1/h'): no step before is one of infinite length."""
        return tf.zeros_like(x), tf.zeros([x.shape[0]])

    def advance(self, reverse, x, times, seed, memory):
        t, s = times
        h = log_snr(reverse.sde, s) - log_snr(reverse.sde, t)
        data, _ = data_and_noise(reverse, x, t)
        before, inverse = memory
        share = 0.5 * h * inverse if self.order == 2 else tf.zeros_like(h)
        if self.first_order_end:
            share = tf.where(s > tf.constant(self.end(reverse.sde), tf.float32), share, 0.0)
        extrapolated = data + like(share, x) * (data - before)
        memory = (data, 1.0 / h)
        return self._step(reverse, x, times, extrapolated, seed), memory

    def _step(self, reverse, x, times, data, seed):
        t, s = times
        _, sigma_t = levels(reverse.sde, t, x)
        alpha_s, sigma_s = levels(reverse.sde, s, x)
        h = like(log_snr(reverse.sde, s) - log_snr(reverse.sde, t), x)
        if not self.stochastic:
            x = sigma_s / sigma_t * x - alpha_s * tf.math.expm1(-h) * data
            return Step(x, x)
        fresh = -tf.math.expm1(-2.0 * h)
        mean = sigma_s / sigma_t * tf.exp(-h) * x + alpha_s * fresh * data
        return Step(mean + sigma_s * tf.sqrt(fresh) * random.normal(seed, shape_of(x)), mean)
