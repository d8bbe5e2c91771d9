"""Methods that change which steps are taken: `TimeTravel` repeats some, `SDEdit` skips some."""

from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.control.methods import Controlled, Method, Replacement
from lcss_tf.control.operators import InverseProblem
from lcss_tf.errors import UsageError
from lcss_tf.ops import shape_of
from lcss_tf.registry import METHODS
from lcss_tf.samplers.base import Reverse, Sampler, Samples, Step
from lcss_tf.sdes import SDE
from lcss_tf.typing import Array, ScoreFn, Seed, Tensor

_SUBSTEPS = 16  # of a jump under an SDE without a closed form


@METHODS.register
class TimeTravel(Method):
    """Takes every `jump_length` steps `num_travels` times (RePaint, Lugmayr et al. 2022).

    Before each repetition the SDE itself noises the state again: by its transition kernel where it
    is affine, else by simulation. The parts of the state then agree better. The number of function
    evaluations grows by the factor num_travels.

    Args:
      method: what each step does; an object of `METHODS`, `Replacement` by default.
      num_travels: how often each stretch of steps is taken.
      jump_length: steps in a stretch.

    Raises:
      UsageError: num_travels or jump_length below 1, or a method that chooses the steps itself.
    """

    may_be_repeated = False

    def __init__(
        self, method: Method | None = None, num_travels: int = 4, jump_length: int = 4
    ) -> None:
        if num_travels < 1 or jump_length < 1:
            raise UsageError(
                "TimeTravel expects num_travels >= 1 and jump_length >= 1; got "
                f"{num_travels} and {jump_length}."
            )
        self.method = method or Replacement()
        if not self.method.may_be_repeated:
            raise UsageError(
                f"TimeTravel repeats the steps of a method, and {type(self.method).__name__} says "
                "itself which are taken. Put TimeTravel inside: SDEdit(method=TimeTravel())."
            )
        self.num_travels = num_travels
        self.jump_length = jump_length

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        inner = self.method.control(sampler, problem)
        return _TimeTravelSampler(inner, problem, self.num_travels, self.jump_length)


class _TimeTravelSampler(Controlled):
    """See `TimeTravel`."""

    def __init__(
        self, sampler: Sampler, problem: InverseProblem, num_travels: int, jump_length: int
    ) -> None:
        super().__init__(sampler, problem)
        self.goes_back = True
        self._route = route(sampler.num_steps, num_travels, jump_length)
        self.num_steps = len(self._route) - 1

    needs_linear = False  # the method inside says whether it does

    def check(self, sde: SDE) -> None:
        self.require_fixed_steps("TimeTravel")
        self.require_downward_steps("TimeTravel")
        super().check(sde)

    def times(self, sde: SDE) -> Array:
        return np.asarray(self.sampler.times(sde))[self._route]

    def nfe(self) -> int | None:
        once = self.sampler.nfe()
        more = int(np.sum(np.diff(self._route) > 0)) - self.sampler.num_steps
        return None if once is None else once + more * self.sampler.nfe_per_step()

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        t, s = times

        def jump() -> tuple[Step, tuple]:
            after = forward(reverse.sde, x, t, s, random.fold_in(seed, "jump"))
            # The inner sampler's memory belongs to the path that is left here.
            return Step(after, after), self.sampler.begin(reverse, after)

        def step() -> tuple[Step, tuple]:
            return self.sampler.advance(reverse, x, times, seed, memory)

        return tf.cond(s[0] > t[0], jump, step)


@METHODS.register
class SDEdit(Method):
    """Begins at y itself, noised to the time t_0, and not at the prior (Meng et al. 2022, SDEdit).

    x_{t_0} given x_0 = y is drawn by the SDE, and the sampler takes its steps from there: what is
    finer than the noise at t_0 is drawn anew, what is coarser stays. For images to be edited, with
    the operator `Identity`. From the observation of another operator it begins at y as an example
    (`shown`): small images enlarged, for instance. Every SDE without a velocity.

    Args:
      strength: t_0/T in (0, 1]; t_0 is the next of the sampler's times below. More changes more.
      method: what is done in each step, which binds the samples to y too; an object of `METHODS`
        (Chung et al. 2022: come closer, diffuse faster). None: nothing; then y is where the samples
        come from, and A x = y need not hold.

    Raises:
      UsageError: strength out of its range, or another `SDEdit` as method.
    """

    may_be_repeated = False
    may_begin_late = False

    def __init__(self, strength: float = 0.6, method: Method | None = None) -> None:
        if not 0 < strength <= 1:
            raise UsageError(f"SDEdit.strength must lie in (0, 1]; got {strength}.")
        if method is not None and not method.may_begin_late:
            raise UsageError(
                "SDEdit begins once; got another SDEdit as its method. Give it a method that acts "
                "in each step, or none."
            )
        self.strength = strength
        self.method = method

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        inner = sampler if self.method is None else self.method.control(sampler, problem)
        return _SDEditSampler(inner, problem, self.strength)


class _SDEditSampler(Controlled):
    """See `SDEdit`."""

    needs_linear = False

    def __init__(self, sampler: Sampler, problem: InverseProblem, strength: float) -> None:
        super().__init__(sampler, problem)
        self._strength = strength

    def check(self, sde: SDE) -> None:
        self.require_fixed_steps("SDEdit")
        self.require_downward_steps("SDEdit")
        super().check(sde)
        if self._first(sde) == len(self.sampler.times(sde)) - 1:
            raise UsageError(
                f"SDEdit.strength = {self._strength:g} lies below all of the sampler's "
                f"{self.sampler.num_steps} times but the last: use a larger one, or more steps."
            )

    def _first(self, sde: SDE) -> int:
        """The place of t_0 among the sampler's times."""
        times = np.asarray(self.sampler.times(sde))
        return int(np.argmax(times <= self._strength * sde.T * (1 + 1e-6)))

    def times(self, sde: SDE) -> Array:
        return np.asarray(self.sampler.times(sde))[self._first(sde) :]

    def nfe(self) -> None:
        """None: known once the SDE is, and with it the times."""

    def projected(self, x: Tensor) -> Tensor:
        return x

    def sample_from(
        self, score_fn: ScoreFn, sde: SDE, x_T: Tensor, seed: Seed, trajectory_steps: int = 0
    ) -> Samples:
        """As `Sampler.sample_from`; x_T has no effect but by its shape."""
        self.check(sde)
        shape = x_T.shape[1:]
        operator, y, _ = self.problem
        operator.check(y, shape)
        guide = operator.shown(y, shape)
        if guide is None:
            raise UsageError(
                f"SDEdit begins at y as an example, and {type(operator).__name__} makes none of "
                "it. Use another operator, or DPS."
            )
        t_0 = tf.fill([x_T.shape[0]], tf.constant(self.times(sde)[0], tf.float32))
        x = sde.sample_xt(guide, t_0, random.fold_in(seed, "edit"))
        rest = _Rest(self.sampler, self.problem, self.sampler.times(sde), self._first(sde))
        return rest.run(Reverse(score_fn, sde, rest.num_steps), x, seed, trajectory_steps)


class _Rest(Controlled):
    """The steps of a sampler from a place among its times on."""

    needs_linear = False

    def __init__(self, sampler: Sampler, problem: InverseProblem, times: Array, first: int) -> None:
        super().__init__(sampler, problem)
        self.num_steps = len(times) - 1 - first
        self._times, self._first = times, first

    def times(self, sde: SDE) -> Array:
        return self._times[self._first :]

    def nfe(self) -> int | None:
        whole = self.sampler.nfe()
        skipped = int(np.sum(np.diff(self._times[: self._first + 1]) <= 0))  # but not jumps
        return None if whole is None else whole - skipped * self.sampler.nfe_per_step()

    def projected(self, x: Tensor) -> Tensor:
        return x


def route(num_steps: int, num_travels: int, jump_length: int) -> Array:
    """The places 0 .. num_steps in the order in which `TimeTravel` takes them, int [·]."""
    visited = [0]
    for start in range(0, num_steps, jump_length):
        end = min(start + jump_length, num_steps)
        for travel in range(num_travels):
            visited += ([start] if travel else []) + list(range(start + 1, end + 1))
    return np.array(visited)


def forward(sde: Any, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
    """x_t given x_s [B, ...], s < t [B]: exact for an affine SDE, else simulated."""
    if sde.has_marginal:
        mean, std = sde.local_kernel(x, s, t)
        return mean + std * random.normal(seed, shape_of(x))

    def step(i: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        now, after = (s + (t - s) * (tf.cast(k, tf.float32) / _SUBSTEPS) for k in (i, i + 1))
        return i + 1, sde.simulation_step(x, now, after, random.fold_in(seed, i))

    state = (tf.constant(0), x)
    return tf.while_loop(lambda i, _: i < _SUBSTEPS, step, state, maximum_iterations=_SUBSTEPS)[1]


__all__ = ["SDEdit", "TimeTravel", "forward", "route"]
