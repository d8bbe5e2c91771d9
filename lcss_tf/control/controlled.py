"""The contract of control: a sampler around a sampler, which sees to it that A x = y.

A `Method` makes one from any sampler and an `InverseProblem`. What it changes is the score
(`NullSpace`, `PseudoinverseGuidance`), the state after each step (`Replacement`) or the order
of the steps (`TimeTravel`); the rest is the inner sampler's.
"""

from typing import NamedTuple

import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.samplers.base import Sampler


class InverseProblem(NamedTuple):
    """y = A x + noise.

    operator: a `LinearOperator` A. y: observations [B, ...], scaled like the data. noise_std: of
    the noise in y, in the units of the scaled data.
    """

    operator: object
    y: object
    noise_std: float = 0.0


class Method:
    """Base of the methods: `control` composes one over a sampler."""

    def control(self, sampler, problem):
        """A `Controlled` sampler of x given y.

        Its `check(sde)` says what cannot be combined; that needs no y.
        """
        raise NotImplementedError(f"{type(self).__name__} must define control(sampler, problem).")


class Controlled(Sampler):
    """Base of the controlled samplers. This one only projects the result, where y is exact.

    Args:
      sampler: the inner one, any `Sampler`.
      problem: the `InverseProblem`.

    Raises:
      ValueError: a negative noise_std.
    """

    def __init__(self, sampler, problem):
        if problem.noise_std < 0:
            raise UsageError(f"noise_std must be at least 0; got {problem.noise_std}.")
        super().__init__(sampler.num_steps, sampler.t_end, sampler.denoise, sampler.spacing)
        self.sampler = sampler
        self.problem = problem
        # A sampler that chooses its steps by itself has its own loop, and nobody steps it.
        own = type(sampler).run is Sampler.run
        self.step_by_step = getattr(sampler, "step_by_step", own)

    def seen(self, reverse):
        """The `Reverse` that the inner sampler sees."""
        return reverse

    def check(self, sde):
        self.sampler.check(sde)

    def times(self, sde):
        return self.sampler.times(sde)

    def frame_times(self, sde, frames):
        filmed = super() if self.step_by_step else self.sampler
        return filmed.frame_times(sde, frames)

    def evaluations_per_step(self):
        return self.sampler.evaluations_per_step()

    def evaluations(self):
        return self.sampler.evaluations()

    def sample_from(self, score_fn, sde, x_T, seed, frames=0):
        if self.problem.y is not None:
            self.problem.operator.check(self.problem.y, x_T.shape[1:])
        return super().sample_from(score_fn, sde, x_T, seed, frames)

    def run(self, reverse, x_T, seed, frames=0):
        if self.step_by_step:
            # The discrete processes take their step from the inner sampler's number of steps.
            reverse = reverse._replace(num_steps=self.sampler.num_steps)
            return super().run(reverse, x_T, seed, frames)
        samples = self.sampler.run(self.seen(reverse), x_T, seed, frames)
        x = self.projected(samples.x)
        film = tf.concat([samples.film[:-1], x[None]], axis=0) if frames else None
        return samples._replace(x=x, film=film)

    def begin(self, reverse, x):
        return self.sampler.begin(self.seen(reverse), x)

    def advance(self, reverse, x, times, seed, memory):
        return self.sampler.advance(self.seen(reverse), x, times, seed, memory)

    def finish(self, reverse, step, t):
        return self.projected(self.sampler.finish(self.seen(reverse), step, t))

    def projected(self, x):
        """x with A x = y, if y is exact; else x."""
        if self.problem.noise_std > 0:
            return x
        return self.problem.operator.project(x, self.problem.y)

    def require_steps(self, name):
        """Raises ValueError if nobody can step the inner sampler but itself."""
        if not self.step_by_step:
            innermost = getattr(self.sampler, "sampler", self.sampler)
            raise UsageError(
                f"{name} acts between the steps of a sampler, and {type(innermost).__name__} "
                "chooses its own: use NullSpace, which changes the score, or a sampler of fixed "
                "steps such as ProbabilityFlowODE."
            )
