"""Samples from the average of the weights: on all replicas, in batches, from one seed."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.conditioning import spec_of
from lcss_tf.control.guidance import (
    Guidance,
    as_guidance,
    autoguided_score,
    check_guidance,
    guided_score,
)
from lcss_tf.display import Bar
from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.inference.conditions import refuse_condition
from lcss_tf.inference.runner import Runner
from lcss_tf.inference.weaker import weaker_state
from lcss_tf.samplers import EulerMaruyama
from lcss_tf.typing import Array, ScoreFn, Seed, Tensor


class Drawn(NamedTuple):
    """What `Sampling` returns.

    x: samples, float32 [N, ...], scaled like the data. nfe: network evaluations spent per sample,
    the mean over batches. trajectory: states on the way [S + 1, N, ...], from x_T to x; None if
    none were asked for.
    """

    x: Array
    nfe: float
    trajectory: Array | None


class Sampling:
    """A compiled sampler over the average's weights.

    Sample i is a pure function of (seed, batch_size, i): the same on any number of replicas. From
    a network with K classes it is of class i mod K, unless conditions are given.

    Args:
      state: what is sampled from: `score`, `average` (a network), `sde`, `shape` and
        `distribution`, as of a `TrainState`.
      sampler: an object of `SAMPLERS`; by default Euler–Maruyama.
      batch_size: samples drawn at a time, over all replicas.
      guidance: a scale w, of a network that takes a condition, or a `Guidance`; 1: none.
      jit_compile: True: the whole loop is one XLA program; "pieces", False and None: as for
        `TrainStep`.
      control: inputs -> a sampler: what else the samples are drawn given; see `Posterior`.

    Raises:
      UsageError: the SDE lacks something that the sampler needs, guidance without a condition, or
        a weaker model of another kind.
    """

    def __init__(
        self,
        state: Any,
        sampler: Any = None,
        batch_size: int = 256,
        guidance: float | Guidance = 1.0,
        jit_compile: bool | str | None = None,
        control: Callable | None = None,
    ) -> None:
        self.sampler = sampler or EulerMaruyama()
        self.sampler.check(state.sde)
        self._guidance = as_guidance(guidance)
        check_guidance(self._guidance, state.average, state.sde)
        self._state, self._spec = state, spec_of(state.average)
        self._weaker = weaker_state(self._guidance, state)
        self._control = control or (lambda inputs: self.sampler)
        self._options = (batch_size, jit_compile)
        self._runners: dict[int, Runner] = {}  # by the number of states kept on the way
        self._runner(0)

    @property
    def batch_size(self) -> int:
        """Samples drawn at a time."""
        return self._options[0]

    def __call__(
        self,
        num_samples: int,
        seed: Seed = 0,
        condition: Array | int | None = None,
        trajectory_steps: int = 0,
        progress: bool | Bar = True,
        given: dict[str, Array] | None = None,
    ) -> Drawn:
        """Draws `num_samples` samples.

        Args:
          num_samples: N.
          seed: an int.
          condition: as the network takes it (see `read_condition`): [M, ...], of which sample i is
            drawn given row i mod M; or a class, that of all. None: of classes each in turn; with
            guidance 0 none is needed.
          trajectory_steps: steps of the trajectory to keep beside the samples; 0: none.
          progress: whether to show a bar; or the bar of a longer work, which counts samples.
          given: what sample i is drawn given, arrays of N rows by name, for `control`.

        Raises:
          UsageError: num_samples < 1, trajectory_steps < 0, no condition where the network takes
            one, or one that it does not take.
          NotFiniteError: a sample is not finite; says at which step that began.
        """
        if num_samples < 1:
            raise UsageError(f"num_samples must be at least 1; got {num_samples}.")
        if trajectory_steps < 0:
            raise UsageError(f"trajectory_steps must not be negative; got {trajectory_steps}.")
        runner = self._runner(trajectory_steps)
        conditions = self._conditions(condition, given)
        parts, trajectories, nfe = [], [], []
        with (
            Bar(num_samples, "sampling", "samples", shown=progress)
            if isinstance(progress, bool)
            else contextlib.nullcontext(progress)
        ) as bar:
            for i, part in enumerate(runner.parts(num_samples)):
                count, seeds = part.stop - part.start, random.seed_for(seed, "sample", i)
                inputs = {"x_T": self._prior(random.fold_in(seeds, "prior"))}
                if conditions is not None:
                    inputs["condition"] = _cycled(conditions, part.start, self.batch_size)
                for name, value in (given or {}).items():
                    inputs[name] = _cycled(value, part.start, self.batch_size)
                x, failure, evaluations, states = runner(inputs, random.fold_in(seeds, "steps"))
                self._check_finite(x[:count], failure)
                parts.append(x[:count])
                nfe.append(float(np.mean(evaluations)))
                trajectories.append(states[:count])
                bar.update(count)
        trajectory = np.moveaxis(np.concatenate(trajectories), 1, 0) if trajectory_steps else None
        return Drawn(np.concatenate(parts), float(np.mean(nfe)), trajectory)

    def traced(self, inputs: dict, seed: Seed) -> tuple[Tensor, Tensor]:
        """The sampler's operations, for a function that somebody else compiles.

        Args:
          inputs: ``x_T`` [B, ...], and ``condition`` [B, ...] of a network that takes one.
          seed: [3], with the index of the first sample.

        Returns:
          (samples [B, ...], NFE).
        """
        x, _, nfe, _ = self._run(inputs, seed, 0)
        return x, nfe[0]

    def more_variables(self) -> dict[str, Any]:
        """{"weaker/<name>": variable}: what `traced` reads beside the variables of the state."""
        found = {} if self._weaker is None else self._weaker.variables_by_name()
        return {f"weaker/{name}": variable for name, variable in found.items()}

    def _runner(self, trajectory_steps: int) -> Runner:
        if trajectory_steps not in self._runners:
            batch_size, jit_compile = self._options
            self._runners[trajectory_steps] = Runner(
                lambda inputs, seed: self._run(inputs, seed, trajectory_steps),
                self._state.average,
                self._state.distribution,
                batch_size,
                jit_compile,
                "sample.batch_size",
            )
        return self._runners[trajectory_steps]

    def _run(self, inputs: dict, seed: Seed, trajectory_steps: int) -> tuple:
        """(x [B, ...], failure [1, 2], NFE [1], trajectory [B, S + 1, ...]) of a replica's rows.

        Without a trajectory its place is empty: [B, 0, ...].
        """
        samples = self._control(inputs).sample_from(
            self._score_fn(inputs.get("condition")),
            self._state.sde,
            inputs["x_T"],
            seed,
            trajectory_steps,
        )
        sde = self._state.sde
        states: Any = samples.trajectory if trajectory_steps else samples.x[None][:0]
        states = sde.from_state(states)
        states = tf.transpose(states, [1, 0, *range(2, len(states.shape))])
        nfe = tf.cast(samples.nfe, tf.float32)
        return sde.from_state(samples.x), samples.failure[None], nfe[None], states

    def _score_fn(self, condition: Any) -> ScoreFn:
        spec = self._spec
        told = condition if spec is not None else None
        if self._weaker is not None:
            told_too = told if self._weaker.condition is not None else None
            scores = _score_of(self._state, told), _score_of(self._weaker, told_too)
            return autoguided_score(*scores, self._guidance, self._state.sde)
        if spec is None or told is None:
            return _score_of(self._state, None)
        for_condition = functools.partial(_score_of, self._state)
        return guided_score(for_condition, told, spec.null, self._guidance, self._state.sde)

    def _prior(self, seed: Seed) -> Any:
        """x_T of the whole batch.

        Authors of SDEs draw the prior as they like, so the whole batch is drawn at once, and the
        samples do not depend on the replicas. Not under XLA, which does not know all draws.
        """
        sde = self._state.sde
        return sde.broadcast_prior_sample(
            (self.batch_size, *sde.state_shape(self._state.shape)), seed
        )

    def _conditions(self, condition: Any, given: dict | None) -> Array | None:
        """The conditions of the samples, which take them in turn; None for a network without."""
        spec, shape = self._spec, tuple(self._state.shape)
        if spec is None:
            if condition is None:
                return None
            refuse_condition(f"label = {condition}" if np.ndim(condition) == 0 else "a condition")
        if condition is None:
            if spec.is_class and not given:
                return np.arange(spec.size, dtype=np.int32)
            if not spec.is_class and self._guidance.needs_condition:
                raise UsageError(
                    f"The network takes a condition ({spec}), and none was given. Pass one, or set "
                    "the guidance to 0 for samples of any condition."
                )
            return spec.nulls(1, shape)  # with something given, of any class, not of each in turn
        values = np.asarray(condition, spec.dtype.as_numpy_dtype)
        values = values[None] if values.shape == spec.shape(shape) else values
        if values.shape[1:] != spec.shape(shape) or not len(values):
            raise UsageError(
                f"The network takes conditions [N, *{spec.shape(shape)}] ({spec}); got an array "
                f"of shape {np.shape(condition)}."
            )
        highest = spec.size - (np.ndim(condition) == 0)  # rows may be null, a class may not
        for label in values if spec.is_class else ():
            if not 0 <= label <= highest:
                raise UsageError(f"The classes run from 0 to {spec.size - 1}; got label = {label}.")
        return values

    def _check_finite(self, x: Array, failures: Array) -> None:
        """failures: (step, t) of every replica [R, 2]; see `Samples`."""
        bad = int((~np.isfinite(x.reshape(len(x), -1))).any(axis=1).sum())
        if not bad:
            return
        failure = min(failure for failure in failures.tolist() if failure[0] >= 0)
        raise NotFiniteError(
            f"{type(self.sampler).__name__}: {bad} of {len(x)} samples are not finite; "
            f"{self.sampler.explain(failure)} Or take an earlier checkpoint."
        )


def _score_of(state: Any, condition: Tensor | None) -> ScoreFn:
    """The score of the average of a model's weights, given a condition if there is one."""
    if condition is None:
        return state.score.score_fn(state.average)
    return state.score.score_fn(state.average, condition=condition)


def _cycled(values: Array, first: int, count: int) -> Array:
    """Rows first, first + 1, … of values that begin again at their end."""
    return values[(first + np.arange(count)) % len(values)]


__all__ = ["Drawn", "Sampling"]
