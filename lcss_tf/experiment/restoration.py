"""Draws examples given linear observations of them: `Generation` under control."""

import gin
import numpy as np
import tensorflow as tf

from lcss_tf.control import InverseProblem, PseudoinverseGuidance, TimeTravel
from lcss_tf.errors import UsageError
from lcss_tf.experiment.generation import Generation


@gin.configurable("restore", denylist=["state", "example_shape", "distribution", "problem"])
class Restoration(Generation):
    """A compiled sampler of x given y = A x + noise, over the EMA weights.

    The sampler, its batches and the guidance are those of `sample`.

    Args:
      state, example_shape, distribution: as for `Generation`.
      problem: an `InverseProblem`; its y is not used.
      method: an object of `METHODS`; None: `default_method`.

    Raises:
      ValueError: operator, data, method, sampler and SDE do not go together.
    """

    def __init__(self, state, example_shape, distribution, problem, method=None):
        super().__init__(state, example_shape, distribution)
        problem.operator.observed_shape(self._shape)
        self._method = method or default_method(state.model.sde)
        self._problem = problem
        self._observed = None
        self._sampler_of({}).check(state.model.sde)

    def reconstruct(self, y, num_samples=1, seed=0, progress=True, label=None):
        """`num_samples` reconstructions for each observation, float32 [N, num_samples, ...].

        Args:
          y: observations [N, ...], scaled like the data.
          num_samples: for each.
          seed: an int.
          progress: whether to show a bar.
          label: the class of all; None: any class.

        Raises:
          ValueError: num_samples < 1, observations of another shape, or no such class.
          FloatingPointError: a reconstruction is not finite.
        """
        if num_samples < 1:
            raise UsageError(f"num_samples must be at least 1; got {num_samples}.")
        y = np.asarray(y, np.float32)
        self._problem.operator.check(y, self._shape)
        self._observed = np.repeat(y, num_samples, axis=0)
        x = self(len(self._observed), seed, progress, label)
        return x.reshape(len(y), num_samples, *self._shape)

    def _given(self, first, label):
        given = super()._given(first, label)
        if "labels" in given and label is None:  # of any class, not of each in turn
            given["labels"] = tf.fill([self._batch_size], self._num_classes)
        places = (first + np.arange(self._batch_size)) % len(self._observed)
        return {**given, "observed": tf.constant(self._observed[places])}

    def _sampler_of(self, given):
        problem = InverseProblem(
            self._problem.operator, given.get("observed"), self._problem.noise_std
        )
        return self._method.control(self.sampler, problem)


def default_method(sde):
    """The best on the digits (docs/control.md), or what works on every SDE."""
    return PseudoinverseGuidance() if sde.has_marginal else TimeTravel()
