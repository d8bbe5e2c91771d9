"""Samples from the average of the weights: on all replicas, in batches, from one seed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.control.guidance import check_guidance, guided_score
from lcss_tf.display import Bar
from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.inference.runner import Runner
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
    a network with K classes it is of class i mod K, unless one class is asked for.

    Args:
      state: what is sampled from: `score`, `average` (a network), `sde`, `shape`, `num_classes`
        and `distribution`, as of a `TrainState`.
      sampler: an object of `SAMPLERS`; by default Euler–Maruyama.
      batch_size: samples drawn at a time, over all replicas.
      guidance: of a network with classes: the scale w of `guided_score`; 1: none.
      jit_compile: True: the whole loop is one XLA program; "pieces", False and None: as for
        `TrainStep`.
      control: inputs -> a sampler: what else the samples are drawn given; see `Posterior`.

    Raises:
      UsageError: the SDE lacks something that the sampler needs, or guidance without classes.
    """

    def __init__(
        self,
        state: Any,
        sampler: Any = None,
        batch_size: int = 256,
        guidance: float = 1.0,
        jit_compile: bool | str | None = None,
        control: Callable | None = None,
    ) -> None:
        self.sampler = sampler or EulerMaruyama()
        self.sampler.check(state.sde)
        check_guidance(guidance, state.average)
        self._state, self._guidance = state, guidance
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
        label: int | None = None,
        trajectory_steps: int = 0,
        progress: bool = True,
        given: dict[str, Array] | None = None,
    ) -> Drawn:
        """Draws `num_samples` samples.

        Args:
          num_samples: N.
          seed: an int.
          label: the class of all, of a network with classes.
          trajectory_steps: steps of the trajectory to keep beside the samples; 0: none.
          progress: whether to show a bar.
          given: what sample i is drawn given, arrays of N rows by name, for `control`.

        Raises:
          UsageError: num_samples < 1, trajectory_steps < 0, or no such class.
          NotFiniteError: a sample is not finite; says at which step that began.
        """
        if num_samples < 1:
            raise UsageError(f"num_samples must be at least 1; got {num_samples}.")
        if trajectory_steps < 0:
            raise UsageError(f"trajectory_steps must not be negative; got {trajectory_steps}.")
        runner, labels = self._runner(trajectory_steps), self._labels(num_samples, label, given)
        parts, trajectories, nfe = [], [], []
        with Bar(num_samples, "sampling", "samples", shown=progress) as bar:
            for i, part in enumerate(runner.parts(num_samples)):
                count, seeds = part.stop - part.start, random.seed_for(seed, "sample", i)
                inputs = {"x_T": self._prior(random.fold_in(seeds, "prior"))}
                if labels is not None:
                    inputs["labels"] = _cycled(labels, part.start, self.batch_size)
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
          inputs: ``x_T`` [B, ...], and ``labels`` [B] of a network with classes.
          seed: [3], with the index of the first sample.

        Returns:
          (samples [B, ...], NFE).
        """
        x, _, nfe, _ = self._run(inputs, seed, 0)
        return x, nfe[0]

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
            self._score_fn(inputs.get("labels")),
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

    def _score_fn(self, labels: Any) -> ScoreFn:
        score, network = self._state.score, self._state.average
        if labels is None:
            return score.score_fn(network)
        return guided_score(
            lambda labels: score.score_fn(network, labels=labels),
            labels,
            self._state.num_classes,
            self._guidance,
        )

    def _prior(self, seed: Seed) -> Any:
        """x_T of the whole batch.

        Authors of SDEs draw the prior as they like, so the whole batch is drawn at once, and the
        samples do not depend on the replicas. Not under XLA, which does not know all draws.
        """
        sde = self._state.sde
        return sde.broadcast_prior_sample(
            (self.batch_size, *sde.state_shape(self._state.shape)), seed
        )

    def _labels(self, count: int, label: int | None, given: dict | None) -> Array | None:
        """The classes of the samples; None for a network without."""
        classes = self._state.num_classes
        if label is None:
            if classes is None:
                return None
            # With something given, of any class, not of each in turn.
            return (
                np.full(count, classes, np.int32) if given else np.arange(classes, dtype=np.int32)
            )
        if classes is None:
            raise UsageError(
                f"label = {label} was asked of a network without classes. Leave it out, or train "
                "one with num_classes bound."
            )
        if not 0 <= label < classes:
            raise UsageError(f"The classes run from 0 to {classes - 1}; got label = {label}.")
        return np.full(count, label, np.int32)

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


def _cycled(values: Array, first: int, count: int) -> Array:
    """Rows first, first + 1, … of values that begin again at their end."""
    return values[(first + np.arange(count)) % len(values)]


__all__ = ["Drawn", "Sampling"]
