"""The sampler contract: the base owns the loop, a subclass one step."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import rng


class Samples(NamedTuple):
    """x: samples [B, ...]; evaluations: network evaluations spent per sample, an int."""

    x: tf.Tensor
    evaluations: int


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

    The number of steps and their spacing are the sampler's, never the training's.

    Args:
      num_steps: steps.
      t_end: time of the last state; by default the SDE's `sampling_t_min`.
      denoise: return the last step's mean, without its noise.

    Raises:
      ValueError: num_steps < 1.
    """

    def __init__(self, num_steps=1000, t_end=None, denoise=True):
        if num_steps < 1:
            raise ValueError(f"{type(self).__name__} expects num_steps >= 1; got {num_steps}.")
        self.num_steps = num_steps
        self.t_end = t_end
        self.denoise = denoise

    def check(self, sde):
        """Raises ValueError if the SDE lacks something that this sampler needs."""

    def step(self, reverse, x, t, s, seed):
        """One step from time t down to s, both [B]: a `Step`."""
        raise NotImplementedError(
            f"{type(self).__name__} must define step(reverse, x, t, s, seed)."
        )

    def evaluations_per_step(self):
        """Network evaluations of one step."""
        return 1

    def times(self, sde):
        """The num_steps + 1 times of the states, from T down to t_end: equal steps by default."""
        return np.linspace(sde.T, self.end(sde), self.num_steps + 1)

    def end(self, sde):
        """`t_end`, or the SDE's own."""
        return sde.sampling_t_min if self.t_end is None else self.t_end

    def sample(self, score_fn, sde, shape, seed):
        """Samples of `shape` [B, ...]: draws x_T from the prior and runs the loop.

        A pure function of its seed (see `lcss_tf.rng`). Plain TensorFlow: wrap it in
        ``tf.function(jit_compile=True)`` at the edge.
        """
        x_T = sde.broadcast_prior_sample(shape, rng.fold_in(seed, "prior"))
        return self.sample_from(score_fn, sde, x_T, rng.fold_in(seed, "steps"))

    def sample_from(self, score_fn, sde, x_T, seed):
        """Runs the loop from given states x_T [B, ...] at time T."""
        self.check(sde)
        times = self.times(sde)
        ones = tf.ones([x_T.shape[0]])
        from_times = tf.constant(times[:-1], tf.float32)
        to_times = tf.constant(times[1:], tf.float32)
        reverse = Reverse(score_fn, sde, self.num_steps)

        def body(i, x, mean):
            t, s = from_times[i] * ones, to_times[i] * ones
            step = self.step(reverse, x, t, s, rng.fold_in(seed, i))
            return i + 1, step.x, step.mean

        _, x, mean = tf.while_loop(
            lambda i, *_: i < self.num_steps,
            body,
            (tf.constant(0), x_T, x_T),
            maximum_iterations=self.num_steps,
        )
        evaluations = self.num_steps * self.evaluations_per_step()
        return Samples(mean if self.denoise else x, evaluations)
