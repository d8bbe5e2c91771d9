"""Samples of x given linear observations y = A x + noise, over the average's weights."""

from typing import Any

import numpy as np

from lcss_tf.control import InverseProblem, PseudoinverseGuidance, TimeTravel
from lcss_tf.errors import UsageError
from lcss_tf.inference.sampling import Drawn, Sampling
from lcss_tf.typing import Array, Seed


class PosteriorSampling:
    """A compiled sampler of x given y = A x + noise.

    Args:
      state: as of `Sampling`.
      operator: A, an object of `OPERATORS`.
      noise_std: of the noise, in the units of the scaled data.
      method: an object of `METHODS`; None: `default_method`.
      options: of `Sampling`: sampler, batch_size, guidance, jit_compile.

    Raises:
      UsageError: operator, data, method, sampler and SDE do not go together.
    """

    def __init__(
        self,
        state: Any,
        operator: Any,
        noise_std: float = 0.0,
        method: Any = None,
        **options: Any,
    ) -> None:
        operator.observed_shape(state.shape)
        self._state, self._operator, self._noise_std = state, operator, noise_std
        self._method = method or default_method(state.sde)
        self._sampling = Sampling(state, control=self._controlled, **options)
        self._controlled({}).check(state.sde)

    def __call__(
        self,
        y: Array,
        num_samples: int = 1,
        seed: Seed = 0,
        label: int | None = None,
        progress: bool = True,
    ) -> Drawn:
        """`num_samples` samples for each observation; their x is float32 [N, num_samples, ...].

        Args:
          y: observations [N, ...], scaled like the data.
          num_samples: for each.
          seed: an int.
          label: the class of all; None: any class.
          progress: whether to show a bar.

        Raises:
          UsageError: num_samples < 1, observations of another shape, or no such class.
          NotFiniteError: a sample is not finite.
        """
        if num_samples < 1:
            raise UsageError(f"num_samples must be at least 1; got {num_samples}.")
        y = np.asarray(y, np.float32)
        self._operator.check(y, self._state.shape)
        observed = np.repeat(y, num_samples, axis=0)
        drawn = self._sampling(
            len(observed), seed, label, progress=progress, given={"observed": observed}
        )
        return drawn._replace(x=drawn.x.reshape(len(y), num_samples, *self._state.shape))

    def _controlled(self, inputs: dict) -> Any:
        problem = InverseProblem(self._operator, inputs.get("observed"), self._noise_std)
        return self._method.control(self._sampler(), problem)

    def _sampler(self) -> Any:
        return self._sampling.sampler


def default_method(sde: Any) -> Any:
    """The best on the digits (docs/control.md), or what works on every SDE."""
    return PseudoinverseGuidance() if sde.has_marginal else TimeTravel()


__all__ = ["PosteriorSampling", "default_method"]
