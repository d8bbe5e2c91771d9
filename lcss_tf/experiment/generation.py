"""Samples from a state's EMA weights: on all replicas, in batches, from one seed."""

import gin
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from lcss_tf import rng
from lcss_tf.samplers import EulerMaruyama
from lcss_tf.training.distribution import replica_row


@gin.configurable("sample", denylist=["state", "example_shape", "distribution"])
class Generation:
    """A compiled sampler over the EMA weights.

    Sample i is a pure function of (seed, batch_size, i): the same on any number of replicas.

    Args:
      state: the `TrainState`.
      example_shape: shape of one example.
      distribution: a `Distribution`.
      sampler: an object of `SAMPLERS`.
      batch_size: samples drawn at a time, over all replicas.
      jit_compile: compile the whole loop with XLA.

    Raises:
      ValueError: the SDE lacks something that the sampler needs.
    """

    def __init__(
        self, state, example_shape, distribution, sampler=None, batch_size=256, jit_compile=True
    ):
        self.sampler = sampler or EulerMaruyama()
        self.sampler.check(state.model.sde)
        self._state = state
        self._shape = tuple(example_shape)
        self._distribution = distribution
        self._batch_size = batch_size
        self._rows = distribution.rows_per_replica(batch_size, "sample.batch_size")
        self._run_loop = tf.function(self._run_loop, jit_compile=jit_compile, autograph=False)
        self._batch = tf.function(self._batch, autograph=False)

    def __call__(self, num_samples, seed=0, progress=True):
        """`num_samples` samples as a float32 array [N, ...], scaled like the data.

        Raises:
          ValueError: num_samples < 1.
          FloatingPointError: a sample is not finite.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1; got {num_samples}.")
        batches = -(-num_samples // self._batch_size)
        parts = []
        with tqdm(total=num_samples, unit=" samples", disable=not progress) as bar:
            for i in range(batches):
                part = self._batch(rng.seed_for(seed, "sample", i)).numpy()
                parts.append(part)
                bar.update(min(len(part), num_samples - bar.n))
        samples = np.concatenate(parts)[:num_samples]
        bad = int((~np.isfinite(samples.reshape(num_samples, -1))).any(axis=1).sum())
        if bad:
            raise FloatingPointError(
                f"{bad} of {num_samples} samples are not finite. Try more steps "
                f"({type(self.sampler).__name__}.num_steps = {self.sampler.num_steps}), or an "
                "earlier checkpoint."
            )
        return samples

    def _batch(self, seed):
        def on_replica(seed):
            row = replica_row(self._rows)
            steps = rng.at_row(rng.fold_in(seed, "steps"), row)
            return self._run_loop(self._prior_rows(rng.fold_in(seed, "prior"), row), steps)

        return self._distribution.concat(self._distribution.run(on_replica, seed))

    def _prior_rows(self, seed, row):
        """This replica's rows of x_T for the whole batch.

        Authors of SDEs draw the prior as they like, so the whole batch is drawn on each
        replica, and the samples do not depend on the replicas. Not under XLA, which
        knows no Gamma draws.
        """
        x_T = self._state.model.sde.broadcast_prior_sample((self._batch_size, *self._shape), seed)
        return tf.slice(x_T, [row] + [0] * len(self._shape), [self._rows, *self._shape])

    def _run_loop(self, x_T, seed):
        score_fn = self._state.model.score_fn(self._state.ema.network)
        return self.sampler.sample_from(score_fn, self._state.model.sde, x_T, seed).x
