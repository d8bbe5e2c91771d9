"""Samples of x given observations y = H(x) + noise, over the average's weights."""

from typing import Any

import numpy as np

from lcss_tf.control import DPS, InverseProblem, PseudoinverseGuidance, TimeTravel
from lcss_tf.errors import UsageError
from lcss_tf.inference.conditions import read_condition, require_condition
from lcss_tf.inference.sampling import Drawn, Sampling
from lcss_tf.inference.weaker import with_weaker
from lcss_tf.typing import Array, Seed


class PosteriorSampling:
    """A compiled sampler of x given y = H(x) + noise.

    Args:
      state: as of `Sampling`.
      operator: H, an object of `OPERATORS` or of one's own.
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
        self._method = method or default_method(state.sde, operator)
        self._sampling = Sampling(state, control=self._controlled, **options)
        self._controlled({}).check(state.sde)

    def __call__(
        self,
        y: Array,
        num_samples: int = 1,
        seed: Seed = 0,
        condition: Array | int | None = None,
        progress: bool = True,
    ) -> Drawn:
        """`num_samples` samples for each observation; their x is float32 [N, num_samples, ...].

        Args:
          y: observations [N, ...], scaled like the data.
          num_samples: for each.
          seed: an int.
          condition: as the network takes it: one for all [1, ...], or one for each observation
            [N, ...]; None: of classes any.
          progress: whether to show a bar.

        Raises:
          UsageError: num_samples < 1, observations of another shape, or no such condition.
          NotFiniteError: a sample is not finite.
        """
        if num_samples < 1:
            raise UsageError(f"num_samples must be at least 1; got {num_samples}.")
        y = np.asarray(y, np.float32)
        self._operator.check(y, self._state.shape)
        observed = np.repeat(y, num_samples, axis=0)
        if np.ndim(condition) and len(condition) == len(y):  # type: ignore[arg-type]
            condition = np.repeat(condition, num_samples, axis=0)  # type: ignore[arg-type]
        drawn = self._sampling(
            len(observed), seed, condition, progress=progress, given={"observed": observed}
        )
        return drawn._replace(x=drawn.x.reshape(len(y), num_samples, *self._state.shape))

    def _controlled(self, inputs: dict) -> Any:
        problem = InverseProblem(self._operator, inputs.get("observed"), self._noise_std)
        return self._method.control(self._sampler(), problem)

    def _sampler(self) -> Any:
        return self._sampling.sampler


class Posterior:
    """The distribution of x given y = H(x) + noise, under a model; made by `ScoreModel.posterior`.

    Args:
      model: a `ScoreModel`.
      y, operator, noise_std, method: as for `ScoreModel.posterior`.
      options: of `Sampling`.
    """

    def __init__(
        self, model: Any, y: Any, operator: Any, noise_std: float, method: Any, options: dict
    ) -> None:
        self._model = model
        y = np.asarray(y)
        rank = len(operator.observed_shape(model.state.shape)) + 1
        y = y[..., None] if y.ndim == rank - 1 else y  # grey, without a channel axis
        if operator.keeps_units:
            self._y = model.info.scaling.scale_finite(y, "The observations")
        elif np.isfinite(y).all():
            self._y = y.astype(np.float32)
        else:
            raise UsageError("The observations hold NaN or infinity. Remove or fill them.")
        self._guidance = with_weaker(options.get("guidance", 1.0), model.load, model.info)
        options = options | {"guidance": self._guidance}
        self._sampling = PosteriorSampling(model.state, operator, noise_std, method, **options)
        operator.check(self._y, model.state.shape)

    def draw(
        self,
        num_samples: int = 1,
        seed: int = 0,
        label: int | str | None = None,
        condition: Any = None,
    ) -> Drawn:
        """As `sample`, normalised, with the NFE."""
        model = self._model
        if label is None and self._guidance.needs_condition:
            require_condition(model.state.network, model.info, condition)
        told = read_condition(model.state.network, model.info, condition, label, len(self._y))
        return self._sampling(self._y, num_samples, seed, told, progress=False)

    def sample(
        self,
        num_samples: int = 1,
        seed: int = 0,
        label: int | str | None = None,
        condition: Any = None,
    ) -> Array:
        """`num_samples` samples for each observation: [N, num_samples, ...] in the data's units.

        `label` is the class of all, its number or its name; None: any class. `condition` is as for
        `ScoreModel.sample`: one for all, or one for each observation.

        Raises:
          UsageError: num_samples < 1, or no such class or condition.
          NotFiniteError: a sample is not finite.
        """
        x = self.draw(num_samples, seed, label, condition).x
        flat = self._model.denormalise(x.reshape(-1, *x.shape[2:]))
        return flat.reshape(*x.shape[:2], *flat.shape[1:])


def default_method(sde: Any, operator: Any = None) -> Any:
    """The best on the digits (docs/control.md), what works on every SDE, or on every operator."""
    if operator is not None and not operator.is_linear:
        return DPS()
    return PseudoinverseGuidance() if sde.has_marginal else TimeTravel()


__all__ = ["Posterior", "PosteriorSampling", "default_method"]
