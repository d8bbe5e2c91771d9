"""Time travel: back up in the noise, and down again, so that what is filled in agrees."""

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.control.controlled import Controlled, Method
from lcss_tf.control.replacement import Replacement
from lcss_tf.errors import UsageError
from lcss_tf.ops import shape_of
from lcss_tf.registry import METHODS
from lcss_tf.samplers.base import Step

_SUBSTEPS = 16  # of a jump under an SDE without a closed form


@METHODS.register
class TimeTravel(Method):
    """Every `jump_length` steps are gone `num_travels` times (RePaint, Lugmayr et al. 2022).

    Between, the state is noised again by the SDE itself: by its transition kernel where it is
    affine, else by simulation. Evaluations grow by the factor num_travels.

    Args:
      method: what is done in each step; an object of `METHODS`, `Replacement` by default.
      num_travels: how often each stretch of steps is gone.
      jump_length: its steps.

    Raises:
      ValueError: num_travels or jump_length below 1.
    """

    def __init__(self, method=None, num_travels=4, jump_length=4):
        if num_travels < 1 or jump_length < 1:
            raise UsageError(
                "TimeTravel expects num_travels >= 1 and jump_length >= 1; got "
                f"{num_travels} and {jump_length}."
            )
        self.method = method or Replacement()
        self.num_travels = num_travels
        self.jump_length = jump_length

    def control(self, sampler, problem):
        inner = self.method.control(sampler, problem)
        return TimeTravelSampler(inner, problem, self.num_travels, self.jump_length)


class TimeTravelSampler(Controlled):
    """See `TimeTravel`."""

    def __init__(self, sampler, problem, num_travels, jump_length):
        super().__init__(sampler, problem)
        self._route = route(sampler.num_steps, num_travels, jump_length)
        self.num_steps = len(self._route) - 1

    def check(self, sde):
        self.require_steps("TimeTravel")
        super().check(sde)

    def times(self, sde):
        return np.asarray(self.sampler.times(sde))[self._route]

    def evaluations(self):
        down = int(np.sum(np.diff(self._route) > 0))
        more = down - self.sampler.num_steps
        return self.sampler.evaluations() + more * self.sampler.evaluations_per_step()

    def advance(self, reverse, x, times, seed, memory):
        t, s = times

        def jump():
            after = forward(reverse.sde, x, t, s, random.fold_in(seed, "jump"))
            # What the inner sampler remembers is of another path by now.
            return Step(after, after), self.sampler.begin(reverse, after)

        def step():
            return self.sampler.advance(reverse, x, times, seed, memory)

        return tf.cond(s[0] > t[0], jump, step)


def route(num_steps, num_travels, jump_length):
    """The places 0 .. num_steps in the order in which they are visited, int [·]."""
    visited = [0]
    for start in range(0, num_steps, jump_length):
        end = min(start + jump_length, num_steps)
        for travel in range(num_travels):
            visited += ([start] if travel else []) + list(range(start + 1, end + 1))
    return np.array(visited)


def forward(sde, x, s, t, seed):
    """x_t given x_s [B, ...], s < t [B]: exact of an affine SDE, else simulated."""
    if sde.has_marginal:
        mean, std = sde.local_kernel(x, s, t)
        return mean + std * random.normal(seed, shape_of(x))

    def step(i, x):
        now, after = (s + (t - s) * (tf.cast(k, tf.float32) / _SUBSTEPS) for k in (i, i + 1))
        return i + 1, sde.simulation_step(x, now, after, random.fold_in(seed, i))

    state = (tf.constant(0), x)
    return tf.while_loop(lambda i, _: i < _SUBSTEPS, step, state, maximum_iterations=_SUBSTEPS)[1]
