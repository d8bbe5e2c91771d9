"""Samples from a state's EMA weights: on all replicas, in batches, from one seed."""

import gin
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from lcss_tf import rng, xla
from lcss_tf.samplers import EulerMaruyama
from lcss_tf.training.distribution import replica_row


@gin.configurable("sample", denylist=["state", "example_shape", "distribution"])
class Generation:
    """A compiled sampler over the EMA weights.

    Sample i is a pure function of (seed, batch_size, i): the same on any number of replicas. From
    a network with K classes it is of class i mod K, unless one class is asked for.

    Args:
      state: the `TrainState`.
      example_shape: shape of one example.
      distribution: a `Distribution`.
      sampler: an object of `SAMPLERS`.
      batch_size: samples drawn at a time, over all replicas.
      jit_compile: True: the whole loop is one XLA program; "pieces", False and None: as for
        `TrainStep`.

    Raises:
      ValueError: the SDE lacks something that the sampler needs.
    """

    def __init__(
        self, state, example_shape, distribution, sampler=None, batch_size=256, jit_compile=None
    ):
        self.sampler = sampler or EulerMaruyama()
        self.sampler.check(state.model.sde)
        self._state = state
        self._shape = tuple(example_shape)
        self._distribution = distribution
        self._batch_size = self.batch_size = batch_size
        self._rows = distribution.rows_per_replica(batch_size, "sample.batch_size")
        self._num_classes = getattr(state.network, "num_classes", None)
        jit_compile = xla.mode(jit_compile, getattr(state.network, "pieces_on_cpu", False))
        self._in_pieces = jit_compile == "pieces"
        self._run_loop = tf.function(
            self._run_loop, jit_compile=jit_compile is True or None, autograph=False
        )
        self._batch = tf.function(self._batch, autograph=False)

    def __call__(self, num_samples, seed=0, progress=True, label=None):
        """`num_samples` samples as a float32 array [N, ...], scaled like the data.

        Args:
          num_samples: N.
          seed: an int.
          progress: whether to show a bar.
          label: the class of all, of a network with classes.

        Raises:
          ValueError: num_samples < 1, or no such class.
          FloatingPointError: a sample is not finite.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1; got {num_samples}.")
        self._check_label(label)
        batches = -(-num_samples // self._batch_size)
        parts = []
        with tqdm(total=num_samples, unit=" samples", disable=not progress) as bar:
            for i in range(batches):
                labels = self._labels(i * self._batch_size, label)
                part = self._batch(rng.seed_for(seed, "sample", i), labels).numpy()
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

    def _check_label(self, label):
        if label is None:
            return
        if self._num_classes is None:
            raise ValueError(
                f"label = {label} was asked of a network without classes. Leave it out, or train "
                "one with num_classes bound."
            )
        if not 0 <= label < self._num_classes:
            raise ValueError(
                f"The classes run from 0 to {self._num_classes - 1}; got label = {label}."
            )

    def _labels(self, first, label):
        """The classes of samples first, first + 1, …, of a batch; None without classes."""
        if self._num_classes is None:
            return None
        cycle = (first + np.arange(self._batch_size)) % self._num_classes
        return tf.constant(cycle if label is None else np.full_like(cycle, label), tf.int32)

    def _batch(self, seed, labels):
        def on_replica(seed, labels):
            row = replica_row(self._rows)
            steps = rng.at_row(rng.fold_in(seed, "steps"), row)
            if labels is not None:
                labels = tf.slice(labels, [row], [self._rows])
            x_T = self._prior_rows(rng.fold_in(seed, "prior"), row)
            return self._run_loop(x_T, steps, labels)

        return self._distribution.concat(self._distribution.run(on_replica, seed, labels))

    def _prior_rows(self, seed, row):
        """This replica's rows of x_T for the whole batch.

        Authors of SDEs draw the prior as they like, so the whole batch is drawn on each
        replica, and the samples do not depend on the replicas. Not under XLA, which
        knows no Gamma draws.
        """
        x_T = self._state.model.sde.broadcast_prior_sample((self._batch_size, *self._shape), seed)
        return tf.slice(x_T, [row] + [0] * len(self._shape), [self._rows, *self._shape])

    def _run_loop(self, x_T, seed, labels):
        with xla.in_pieces(self._in_pieces):
            score_fn = self._state.model.score_fn(self._state.ema.network, labels=labels)
            return self.sampler.sample_from(score_fn, self._state.model.sde, x_T, seed).x
