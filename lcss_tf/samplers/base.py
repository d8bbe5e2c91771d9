"""The sampler contract: the base owns the loop, a subclass one step."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import shape_of
from lcss_tf.samplers.schedules import Schedule, UniformSchedule
from lcss_tf.sdes import SDE
from lcss_tf.typing import Array, ScoreFn, Seed, Shape, Tensor


class Samples(NamedTuple):
    """What a sampler returns.

    x: samples [B, ...].
    nfe: number of function evaluations: calls of the network for one sample. An int or an int32
      scalar.
    trajectory: the states [trajectory_steps + 1, B, ...] on the way from x_T to x, both included;
      None if no steps were asked for.
    failure: float32 [2], the step and the time of the first state that is not finite; (−1, 0) if
      all states are.
    """

    x: Tensor
    nfe: int | Tensor
    trajectory: Tensor | None
    failure: Tensor


class Step(NamedTuple):
    """x: the state after a step; mean: the same without the step's last noise."""

    x: Tensor
    mean: Tensor


class Reverse(NamedTuple):
    """The reverse process that a step belongs to: its score, its SDE, its number of steps."""

    score_fn: ScoreFn
    sde: SDE
    num_steps: int


class Sampler:
    """Base of the samplers: from x_T ~ prior at time T to x at t_end, in `num_steps` steps.

    The number of steps and the schedule belong to the sampler, not to the training. A subclass
    defines `step`, and `nfe_per_step` unless that is 1. A multistep method defines `begin` and
    `advance` instead, which carry a memory from step to step.

    Args:
      num_steps: steps of the loop, at least 1.
      t_end: time of the last state, in [0, T); None: the SDE's `sampling_t_min`.
      denoise: return the last step's mean, without its noise.
      schedule: an object of `SCHEDULES`, which places the times; None: the class's own.

    Attributes:
      evaluates_at_start: whether the first function evaluation of a step is at its x and t.
      fixed_steps: whether the base's loop runs the sampler. False for a sampler whose `run` has a
        loop of its own, which chooses its steps.
      deterministic: whether a step, between any two times, is a function of its state and memory.
      goes_back: whether some steps of the loop go up in time again, as those of restarts do.

    Raises:
      UsageError: num_steps < 1.
    """

    default_schedule: Schedule = UniformSchedule()
    evaluates_at_start: bool = True
    fixed_steps: bool = True
    deterministic: bool = False
    goes_back: bool = False

    def __init__(
        self,
        num_steps: int = 1000,
        t_end: float | None = None,
        denoise: bool = True,
        schedule: Schedule | None = None,
    ) -> None:
        if num_steps < 1:
            raise UsageError(f"{type(self).__name__} expects num_steps >= 1; got {num_steps}.")
        self.num_steps = num_steps
        self.t_end = t_end
        self.denoise = denoise
        self.schedule = schedule or self.default_schedule

    def check(self, sde: SDE) -> None:
        """Raises UsageError if the SDE lacks something that this sampler needs."""
        if not 0 <= self.end(sde) < sde.T:
            raise UsageError(
                f"{type(self).__name__}.t_end must lie in [0, {sde.T:g}), the times of "
                f"{type(sde).__name__}; got {self.end(sde):g}."
            )
        self.schedule.check(sde)

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, seed: Seed) -> Step:
        """One step from time t down to s, both [B], of x [B, ...]."""
        raise NotImplementedError(
            f"{type(self).__name__} must define step(reverse, x, t, s, seed)."
        )

    def begin(self, reverse: Reverse, x: Tensor) -> tuple:
        """The memory before the first step: tensors whose shapes are the same at every step."""
        return ()

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        """(`Step`, memory) of one step from t to s, where times = (t, s)."""
        return self.step(reverse, x, *times, seed), memory

    def finish(self, reverse: Reverse, step: Step, t: Tensor) -> Tensor:
        """The samples [B, ...], from the last `Step`, at time t [B]."""
        return step.mean if self.denoise else step.x

    def nfe_per_step(self) -> int:
        """Function evaluations of one step."""
        return 1

    def nfe(self) -> int | None:
        """Function evaluations for one sample; None if they are known only afterwards."""
        return self.num_steps * self.nfe_per_step()

    def steps_asked(self) -> int:
        """The num_steps that the constructor was given, which messages name."""
        return self.num_steps

    def explain(self, failure: Array) -> str:
        """What a `Samples.failure` of (step, t) means, and what to do: a sentence."""
        step, t = failure
        steps, name = self.num_steps, type(self).__name__
        place = f"at step {int(step) + 1} of {steps}" if step < steps else "in the last evaluation"
        return (
            f"a state first ceased to be finite {place}, t = {t:.4g}. Try more steps "
            f"({name}.num_steps = {self.steps_asked()})."
        )

    def times(self, sde: SDE) -> Array:
        """The num_steps + 1 times of the states, from T down to t_end: float64."""
        return self.schedule.times(sde, self.end(sde), self.num_steps)

    def trajectory_times(self, sde: SDE, trajectory_steps: int) -> Array:
        """The trajectory_steps + 1 times of the states of a trajectory: float64."""
        times = np.asarray(self.times(sde))
        return times[np.round(np.linspace(0, len(times) - 1, trajectory_steps + 1)).astype(int)]

    def end(self, sde: SDE) -> float:
        """`t_end`, or the SDE's own."""
        return sde.sampling_t_min if self.t_end is None else self.t_end

    def sample(
        self, score_fn: ScoreFn, sde: SDE, shape: Shape, seed: Seed, trajectory_steps: int = 0
    ) -> Samples:
        """`Samples` of `shape` [B, ...]: draws x_T from the prior and runs the loop.

        A pure function of its seed (see `lcss_tf.random`), in plain TensorFlow: the caller
        compiles it, e.g. by ``tf.function(jit_compile=True)``.

        Args:
          score_fn: (x [B, ...], t [B]) -> the score, of the shape of x.
          sde: the SDE that the score belongs to.
          shape: [B, ...].
          seed: an int or an int32 seed of shape [2] or [3].
          trajectory_steps: in how many parts the returned trajectory divides the way, from 1 to
            num_steps; 0: no trajectory.

        Raises:
          UsageError: the SDE lacks something, or trajectory_steps > num_steps.
        """
        state_shape = (shape[0], *sde.state_shape(shape[1:]))
        x_T = sde.broadcast_prior_sample(state_shape, random.fold_in(seed, "prior"))
        samples = self.sample_from(
            score_fn, sde, x_T, random.fold_in(seed, "steps"), trajectory_steps
        )
        states = samples.trajectory
        states = None if states is None else sde.from_state(states)
        return samples._replace(x=sde.from_state(samples.x), trajectory=states)

    def sample_from(
        self, score_fn: ScoreFn, sde: SDE, x_T: Tensor, seed: Seed, trajectory_steps: int = 0
    ) -> Samples:
        """Runs the loop from given states x_T [B, ...] at time T; see `sample`."""
        self.check(sde)
        return self.run(Reverse(score_fn, sde, self.num_steps), x_T, seed, trajectory_steps)

    def run(self, reverse: Reverse, x_T: Tensor, seed: Seed, trajectory_steps: int = 0) -> Samples:
        """The loop. A sampler that chooses its steps overrides it and clears `fixed_steps`."""
        if trajectory_steps > self.num_steps:
            raise UsageError(
                f"A trajectory of {trajectory_steps} steps needs as many steps of the sampler; "
                f"{type(self).__name__} takes {self.num_steps}. Ask for fewer, or set num_steps."
            )
        times = self.times(reverse.sde)
        ones = tf.ones(shape_of(x_T)[:1])
        from_times = tf.constant(times[:-1], tf.float32)
        to_times = tf.constant(times[1:], tf.float32)
        slots = tf.constant(_trajectory_slots(self.num_steps, trajectory_steps))

        def body(
            i: Tensor, step: Step, memory: tuple, kept: Tensor, failure: Tensor
        ) -> tuple[Tensor, Step, tuple, Tensor, Tensor]:
            t, s = from_times[i] * ones, to_times[i] * ones
            step, memory = self.advance(reverse, step.x, (t, s), random.fold_in(seed, i), memory)
            if trajectory_steps:
                kept = tf.tensor_scatter_nd_update(kept, [[slots[i]]], [step.x])
            failure = first_failure(failure, step.x, i, s)
            return i + 1, step, memory, kept, failure

        # The last slot also takes the states that are not part of the trajectory. `x` replaces it.
        kept = tf.repeat(x_T[None], trajectory_steps + 1, axis=0) if trajectory_steps else x_T[:0]
        state = (tf.constant(0), Step(x_T, x_T), self.begin(reverse, x_T), kept, no_failure())
        _, step, _, kept, failure = tf.while_loop(
            lambda i, *_: i < self.num_steps, body, state, maximum_iterations=self.num_steps
        )
        x = self.finish(reverse, step, to_times[-1] * ones)
        trajectory = tf.concat([kept[:-1], x[None]], axis=0) if trajectory_steps else None
        failure = first_failure(failure, x, self.num_steps, to_times[-1:])
        return Samples(x, self.nfe(), trajectory, failure)


def _trajectory_slots(num_steps: int, trajectory_steps: int) -> Array:
    """Where each step's state goes, int32 [num_steps]; `trajectory_steps`: not kept."""
    slots = np.full(num_steps, trajectory_steps, np.int32)
    if trajectory_steps:
        after = np.round(np.linspace(0, num_steps, trajectory_steps + 1)).astype(int)[1:-1]
        slots[np.maximum(after, 1) - 1] = np.arange(1, trajectory_steps)
    return slots


def no_failure() -> Tensor:
    """The `failure` of `Samples` before the first step."""
    return tf.constant([-1.0, 0.0])


def first_failure(failure: Tensor, x: Tensor, step: int | Tensor, t: Tensor) -> Tensor:
    """`failure`, or (step, t) if x is the first state that is not finite; t [B]."""
    wrong = ~tf.reduce_all(tf.math.is_finite(x)) & (failure[0] < 0)
    return tf.where(wrong, tf.stack([tf.cast(step, tf.float32), t[0]]), failure)


__all__ = ["Reverse", "Sampler", "Samples", "Step", "first_failure", "no_failure"]
