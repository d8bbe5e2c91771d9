"""The probability-flow ODE by Heun's method: deterministic given x_T, for every SDE."""

import numpy as np

from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Sampler, Step
from lcss_tf.sdes.shapes import like


@SAMPLERS.register
class ProbabilityFlowODE(Sampler):
    """dx/dt = f − ½ g² ∇log p_t, from T down to t_end, by Heun's second-order steps.

    Times are spaced as t_i^(1/ρ) equally, which puts short steps where the data's
    structure appears. Two evaluations a step.

    Args:
      spacing: ρ; 1 gives equal steps.
      **options: of `Sampler`; `denoise` has no effect.

    Raises:
      ValueError: spacing <= 0.
    """

    def __init__(self, spacing=2.0, **options):
        super().__init__(**options)
        if spacing <= 0:
            raise ValueError(f"ProbabilityFlowODE expects spacing > 0; got {spacing}.")
        self.spacing = spacing

    def evaluations_per_step(self):
        return 2

    def times(self, sde):
        roots = np.linspace(
            sde.T ** (1 / self.spacing), self.end(sde) ** (1 / self.spacing), self.num_steps + 1
        )
        return roots**self.spacing

    def step(self, reverse, x, t, s, seed):
        h = like(t - s, x)
        slope = self._slope(reverse, x, t)
        predicted = x - h * slope
        x = x - 0.5 * h * (slope + self._slope(reverse, predicted, s))
        return Step(x, x)

    @staticmethod
    def _slope(reverse, x, t):
        return reverse.sde.reverse_drift(x, t, reverse.score_fn(x, t), probability_flow=True)
