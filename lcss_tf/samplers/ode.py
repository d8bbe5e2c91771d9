"""The probability-flow ODE by Heun's method: deterministic given x_T, for every SDE."""

from lcss_tf.ops import like
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Sampler, Step
from lcss_tf.samplers.spacing import PowerSchedule


@SAMPLERS.register
class ProbabilityFlowODE(Sampler):
    """dx/dt = f − ½ g² ∇log p_t, from T down to t_end, by Heun's second-order steps.

    Two evaluations a step. Times are quadratic by default, which puts short steps where the
    data's structure appears.

    Args:
      **options: of `Sampler`; `denoise` has no effect.
    """

    default_spacing = PowerSchedule(2.0)

    def evaluations_per_step(self):
        return 2

    def step(self, reverse, x, t, s, seed):
        h = like(t - s, x)
        slope = self._slope(reverse, x, t)
        predicted = x - h * slope
        x = x - 0.5 * h * (slope + self._slope(reverse, predicted, s))
        return Step(x, x)

    @staticmethod
    def _slope(reverse, x, t):
        return reverse.sde.reverse_drift(x, t, reverse.score_fn(x, t), probability_flow=True)
