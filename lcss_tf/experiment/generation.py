"""Samples from a state's EMA weights: on all replicas, in batches, from one seed."""

import gin
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from lcss_tf import random, xla
from lcss_tf.control import check_guidance, guided_score
from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.samplers import EulerMaruyama
from lcss_tf.training.distribution import replica_row


@gin.configurable("sample", denylist=["state", "example_shape", "distribution"])
class Generation:
    """A compiled sampler over the EMA weights.

    Sample i is a pure function of (seed, batch_size, i): the same on any number of replicas. From
    a network with K classes it is of class i mod K, unless one class is asked for.

    Attributes, of the last call:
      evaluations: network evaluations spent per sample, the mean over batches.
      film: states on the way, float32 [frames + 1, N, ...]; None if no frames were asked for.

    Args:
      state: the `TrainState`.
      example_shape: shape of one example.
      distribution: a `Distribution`.
      sampler: an object of `SAMPLERS`.
      batch_size: samples drawn at a time, over all replicas.
      jit_compile: True: the whole loop is one XLA program; "pieces", False and None: as for
        `TrainStep`.
      guidance: of a network with classes: the scale w of `guided_score`; 1: none.

    Raises:
      ValueError: the SDE lacks something that the sampler needs, or guidance without classes.
    """

    def __init__(
        self, state, example_shape, distribution, sampler=None, batch_size=256, jit_compile=None,
        guidance=1.0,
    ):  # fmt: skip
        self.sampler = sampler or EulerMaruyama()
        self.evaluations, self.film = None, None
        self.sampler.check(state.model.sde)
        self._state = state
        self._shape = tuple(example_shape)
        self._distribution = distribution
        self._batch_size = self.batch_size = batch_size
        self._rows = distribution.rows_per_replica(batch_size, "sample.batch_size")
        self._num_classes = getattr(state.network, "num_classes", None)
        self._guidance = guidance
        check_guidance(guidance, state.ema.network)
        jit_compile = xla.mode(jit_compile, getattr(state.network, "pieces_on_cpu", False))
        self._in_pieces = jit_compile == "pieces"
        self._run_loop = tf.function(
            self._run_loop, jit_compile=jit_compile is True or None, autograph=False
        )
        self._batch = tf.function(self._batch, autograph=False)

    def __call__(self, num_samples, seed=0, progress=True, label=None, frames=0):
        """`num_samples` samples as a float32 array [N, ...], scaled like the data.

        Args:
          num_samples: N.
          seed: an int.
          progress: whether to show a bar.
          label: the class of all, of a network with classes.
          frames: states to keep in `film` beside the samples; 0: none.

        Raises:
          ValueError: num_samples < 1, frames < 0, or no such class.
          FloatingPointError: a sample is not finite; says at which step that began.
        """
        if num_samples < 1:
            raise UsageError(f"num_samples must be at least 1; got {num_samples}.")
        if frames < 0:
            raise UsageError(f"frames must not be negative; got {frames}.")
        self._check_label(label)
        batches = -(-num_samples // self._batch_size)
        parts, films, evaluations = [], [], []
        with tqdm(total=num_samples, unit=" samples", disable=not progress) as bar:
            for i in range(batches):
                given = self._given(i * self._batch_size, label)
                seeds = random.seed_for(seed, "sample", i)
                batch = [value.numpy() for value in self._batch(seeds, given, frames)]
                count = min(self._batch_size, num_samples - i * self._batch_size)
                parts.append(batch[0][:count])
                self._check_finite(parts[-1], batch[1])
                evaluations.append(batch[2])
                films.append(batch[3][:count])
                bar.update(count)
        self.evaluations = float(np.mean(evaluations))
        self.film = np.moveaxis(np.concatenate(films), 1, 0) if frames else None
        return np.concatenate(parts)

    def _check_finite(self, samples, failures):
        """failures: (step, t) of every replica [R, 2]; see `Samples`."""
        bad = int((~np.isfinite(samples.reshape(len(samples), -1))).any(axis=1).sum())
        if not bad:
            return
        failure = min(failure for failure in failures.tolist() if failure[0] >= 0)
        raise NotFiniteError(
            f"{type(self.sampler).__name__}: {bad} of {len(samples)} samples are not finite; "
            f"{self.sampler.explain(failure)} Or take an earlier checkpoint."
        )

    def _check_label(self, label):
        if label is None:
            return
        if self._num_classes is None:
            raise UsageError(
                f"label = {label} was asked of a network without classes. Leave it out, or train "
                "one with num_classes bound."
            )
        if not 0 <= label < self._num_classes:
            raise UsageError(
                f"The classes run from 0 to {self._num_classes - 1}; got label = {label}."
            )

    def _given(self, first, label):
        """What samples first, first + 1, … of a batch are drawn given: tensors [B, ...] by name.

        Their classes under "labels", of a network with classes.
        """
        if self._num_classes is None:
            return {}
        cycle = (first + np.arange(self._batch_size)) % self._num_classes
        labels = cycle if label is None else np.full_like(cycle, label)
        return {"labels": tf.constant(labels, tf.int32)}

    def _batch(self, seed, given, frames):
        """(x [B, ...], failures [R, 2], evaluations [R], film [B, frames + 1, ...]); R replicas.

        Without frames the film is empty: [B, 0, ...].
        """

        def on_replica(seed, given):
            row = replica_row(self._rows)
            steps = random.at_row(random.fold_in(seed, "steps"), row)
            given = {name: self._rows_of(value, row) for name, value in given.items()}
            x_T = self._prior_rows(random.fold_in(seed, "prior"), row)
            return self._run_loop(x_T, steps, given, frames)

        parts = self._distribution.run(on_replica, seed, given)
        return [self._distribution.concat(part) for part in parts]

    def _prior_rows(self, seed, row):
        """This replica's rows of x_T for the whole batch.

        Authors of SDEs draw the prior as they like, so the whole batch is drawn on each
        replica, and the samples do not depend on the replicas. Not under XLA, which
        knows no Gamma draws.
        """
        x_T = self._state.model.sde.broadcast_prior_sample((self._batch_size, *self._shape), seed)
        return self._rows_of(x_T, row)

    def _rows_of(self, value, row):
        """This replica's rows of a tensor for the whole batch."""
        rest = value.shape[1:]
        return tf.slice(value, [row] + [0] * len(rest), [self._rows, *rest])

    def _run_loop(self, x_T, seed, given, frames):
        with xla.in_pieces(self._in_pieces):
            samples = self._sampler_of(given).sample_from(
                self._score_fn(given.get("labels")), self._state.model.sde, x_T, seed, frames
            )
        film = samples.film if frames else samples.x[None][:0]
        film = tf.transpose(film, [1, 0, *range(2, len(film.shape))])
        evaluations = tf.cast(samples.evaluations, tf.float32)
        return samples.x, samples.failure[None], evaluations[None], film

    def _sampler_of(self, given):
        """The sampler of what is given beside the classes: nothing, here."""
        del given
        return self.sampler

    def _score_fn(self, labels):
        model, network = self._state.model, self._state.ema.network
        if labels is None:
            return model.score_fn(network, labels=None)
        return guided_score(
            lambda labels: model.score_fn(network, labels=labels),
            labels, self._num_classes, self._guidance,
        )  # fmt: skip
