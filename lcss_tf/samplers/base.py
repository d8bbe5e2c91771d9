"""The sampler contract: the base owns the loop, a subclass one step."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.samplers.spacing import UniformSchedule


class Samples(NamedTuple):
    """What a sampler returns.

    x: samples [B, ...]. evaluations: network evaluations spent per sample, an int or an int32
    scalar. film: states on the way [frames + 1, B, ...], from x_T to x, or None. failure:
    float32 [2], (step, t) where a state first ceased to be finite; step is −1 where none did.
    """

    x: tf.Tensor
    evaluations: object
    film: object
    failure: tf.Tensor


class Step(NamedTuple):
    """x: the state after a step; mean: the same without the step's last noise."""

    x: tf.Tensor
    mean: tf.Tensor


class Reverse(NamedTuple):
    """What a step is made of: the score of x at t [B], and the SDE whose time it reverses."""

    score_fn: object
    sde: object
    num_steps: int


class Sampler:
    """Base of the samplers: from x_T ~ prior to x at about time 0, in `num_steps` steps.

    The number of steps and their spacing are the sampler's, never the training's. A subclass
    writes `step`; one that remembers earlier steps writes `begin` and `advance` in its place.

    Args:
      num_steps: steps.
      t_end: time of the last state; by default the SDE's `sampling_t_min`.
      denoise: return the last step's mean, without its noise.
      spacing: an object of `SCHEDULES`: where the times lie; by default the class's own.

    Raises:
      ValueError: num_steps < 1.
    """

    default_spacing = UniformSchedule()

    def __init__(self, num_steps=1000, t_end=None, denoise=True, spacing=None):
        if num_steps < 1:
            raise UsageError(f"{type(self).__name__} expects num_steps >= 1; got {num_steps}.")
        self.num_steps = num_steps
        self.t_end = t_end
        self.denoise = denoise
        self.spacing = spacing or self.default_spacing

    def check(self, sde):
        """Raises ValueError if the SDE lacks something that this sampler needs."""
        if not 0 <= self.end(sde) < sde.T:
            raise UsageError(
                f"{type(self).__name__}.t_end must lie in [0, {sde.T:g}), the times of "
                f"{type(sde).__name__}; got {self.end(sde):g}."
            )
        self.spacing.check(sde)

    def step(self, reverse, x, t, s, seed):
        """One step from time t down to s, both [B]: a `Step`."""
        raise NotImplementedError(
            f"{type(self).__name__} must define step(reverse, x, t, s, seed)."
        )

    def begin(self, reverse, x):
        """What the first step remembers: a tuple of tensors, of the same shapes at every step."""
        return ()

    def advance(self, reverse, x, times, seed, memory):
        """(`Step`, memory) of one step from t to s, where times = (t, s)."""
        return self.step(reverse, x, *times, seed), memory

    def finish(self, reverse, step, t):
        """The samples, from the last `Step`, at time t [B]."""
        return step.mean if self.denoise else step.x

    def evaluations_per_step(self):
        """Network evaluations of one step."""
        return 1

    def evaluations(self):
        """Network evaluations of a run, where it is known beforehand."""
        return self.num_steps * self.evaluations_per_step()

    def explain(self, failure):
        """What a `Samples.failure` of (step, t) means, and what to do: a sentence."""
        step, t = failure
        steps, name = self.num_steps, type(self).__name__
        place = f"at step {int(step) + 1} of {steps}" if step < steps else "in the last evaluation"
        return (
            f"a state first ceased to be finite {place}, t = {t:.4g}. Try more steps "
            f"({name}.num_steps = {steps})."
        )

    def times(self, sde):
        """The num_steps + 1 times of the states, from T down to t_end: float64 numbers."""
        return self.spacing.times(sde, self.end(sde), self.num_steps)

    def frame_times(self, sde, frames):
        """The times of the frames + 1 states of a film, as `film_slots` chooses them: float64."""
        times = np.asarray(self.times(sde))
        return times[np.round(np.linspace(0, len(times) - 1, frames + 1)).astype(int)]

    def end(self, sde):
        """`t_end`, or the SDE's own."""
        return sde.sampling_t_min if self.t_end is None else self.t_end

    def sample(self, score_fn, sde, shape, seed, frames=0):
        """`Samples` of `shape` [B, ...]: draws x_T from the prior and runs the loop.

        A pure function of its seed (see `lcss_tf.random`). Plain TensorFlow: wrap it in
        ``tf.function(jit_compile=True)`` at the edge.
        """
        x_T = sde.broadcast_prior_sample(shape, random.fold_in(seed, "prior"))
        return self.sample_from(score_fn, sde, x_T, random.fold_in(seed, "steps"), frames)

    def sample_from(self, score_fn, sde, x_T, seed, frames=0):
        """Runs the loop from given states x_T [B, ...] at time T; films `frames` states of it."""
        self.check(sde)
        return self.run(Reverse(score_fn, sde, self.num_steps), x_T, seed, frames)

    def run(self, reverse, x_T, seed, frames=0):
        """The loop. A sampler that chooses its steps by itself has its own."""
        if frames > self.num_steps:
            raise UsageError(
                f"A film of {frames} frames needs as many steps; {type(self).__name__} takes "
                f"{self.num_steps}. Ask for fewer frames, or set num_steps."
            )
        times = self.times(reverse.sde)
        ones = tf.ones([x_T.shape[0]])
        from_times = tf.constant(times[:-1], tf.float32)
        to_times = tf.constant(times[1:], tf.float32)
        slots = tf.constant(film_slots(self.num_steps, frames))

        def body(i, step, memory, film, failure):
            t, s = from_times[i] * ones, to_times[i] * ones
            step, memory = self.advance(reverse, step.x, (t, s), random.fold_in(seed, i), memory)
            film = tf.tensor_scatter_nd_update(film, [[slots[i]]], [step.x]) if frames else film
            failure = first_failure(failure, step.x, i, s)
            return i + 1, step, memory, film, failure

        # The last frame's place also takes the states that nobody asked for; `x` overwrites it.
        film = tf.repeat(x_T[None], frames + 1 if frames else 0, axis=0)
        state = (tf.constant(0), Step(x_T, x_T), self.begin(reverse, x_T), film, no_failure())
        _, step, _, film, failure = tf.while_loop(
            lambda i, *_: i < self.num_steps, body, state, maximum_iterations=self.num_steps
        )
        x = self.finish(reverse, step, to_times[-1] * ones)
        film = tf.concat([film[:-1], x[None]], axis=0) if frames else None
        failure = first_failure(failure, x, self.num_steps, to_times[-1:])
        return Samples(x, self.evaluations(), film, failure)


def film_slots(num_steps, frames):
    """The place in the film of the state after each step, int32 [num_steps]; `frames`: none."""
    slots = np.full(num_steps, frames, np.int32)
    if frames:
        after = np.round(np.linspace(0, num_steps, frames + 1)).astype(int)[1:-1]
        slots[np.maximum(after, 1) - 1] = np.arange(1, frames)
    return slots


def no_failure():
    """The `failure` of `Samples` before the first step."""
    return tf.constant([-1.0, 0.0])


def first_failure(failure, x, step, t):
    """`failure`, or (step, t) if x is not finite and nothing was wrong before; t [B]."""
    wrong = ~tf.reduce_all(tf.math.is_finite(x)) & (failure[0] < 0)
    return tf.where(wrong, tf.stack([tf.cast(step, tf.float32), t[0]]), failure)
