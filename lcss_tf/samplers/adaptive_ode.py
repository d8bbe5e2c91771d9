"""The probability-flow ODE with adaptive steps, for every SDE."""

import numpy as np
import tensorflow as tf

from lcss_tf.ops import like
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Sampler, Samples
from lcss_tf.samplers.dormand_prince import DormandPrinceSolver


def probability_flow(score_fn, sde):
    """The field (x, t) -> f − ½ ∂(g²) − ½ g² ∇log p_t, whose flow has the SDE's marginals."""
    return lambda x, t: sde.reverse_drift(x, t, score_fn(x, t), probability_flow=True)


@SAMPLERS.register
class DormandPrince(Sampler):
    """dx/dt = f − ½ ∂(g²) − ½ g² ∇log p_t, from T down to t_end, by steps of order 5.

    Steps are chosen so that their error is within the tolerances. How many evaluations that takes
    is known afterwards only: `Samples.evaluations` is a tensor. A sample that does not arrive in
    `num_steps` steps, or whose score is not finite, becomes NaN.

    Args:
      rtol, atol: tolerances; see `DormandPrinceSolver`.
      control: "sample": each sample has its own steps, and is the same in every batch and on any
        number of replicas. "batch": all of a replica's samples share their steps, as in score_sde.
      num_steps: the most steps tried.
      **options: of `Sampler`; `denoise` has no effect, and `spacing` says where the film's frames
        lie.

    Raises:
      ValueError: a tolerance that is not positive, another control, or num_steps < 1.
    """

    def __init__(self, rtol=1e-5, atol=1e-5, control="sample", **options):
        super().__init__(**options)
        self.solver = DormandPrinceSolver(rtol, atol, control, self.num_steps)

    def evaluations_per_step(self):
        return 6

    def evaluations(self):
        """None: known only afterwards."""

    def run(self, reverse, x_T, seed, frames=0):
        """`Samples`; see `Sampler.run`. The seed changes nothing."""
        del seed
        sde, flow = reverse.sde, probability_flow(reverse.score_fn, reverse.sde)
        end = self.end(sde)
        ends = self.frame_times(sde, frames)[1:] if frames else np.array([end])
        solution = self.solver.solve(lambda t, y: [flow(y[0], t)], [x_T], sde.T, ends)
        x = tf.where(like(solution.finished, x_T), solution.state[0], np.nan)
        film = tf.concat([x_T[None], solution.film[0][:-1], x[None]], axis=0) if frames else None
        return Samples(x, solution.evaluations, film, solution.failure)

    def frame_times(self, sde, frames):
        """Where the spacing puts them: the steps end there."""
        return self.spacing.times(sde, self.end(sde), frames)

    def explain(self, failure):
        """What a `Samples.failure` means, and what to do: a sentence."""
        return self.solver.explain(failure)
