"""The default optimiser; a warm-up and a decay of the learning rate for any."""

import functools
import inspect
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.typing import Tensor

_LEARNING_RATE, _WARMUP_SHARE, _MOST_WARMUP_STEPS = 2e-4, 0.1, 5_000
_LARGE, _MOST = 6e7, 2e-3  # parameters of score_sde's networks; rate of small ones
_DECAYS = (None, "cosine", "inverse_root")


@keras.saving.register_keras_serializable("lcss_tf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """η_k = η · min(k/W, 1) · d(k), where k counts the steps from 0.

    ======================  ======================================================
    `decay`                 d(k)
    ======================  ======================================================
    None                    1
    ``"cosine"``            ½ (1 + cos(π (k − W)/(N − W))) from W on, up to N
                            (Loshchilov and Hutter, 2017)
    ``"inverse_root"``      1/√max(k/K, 1) (Karras et al., 2024: EDM2)
    ======================  ======================================================

    ::

        model.fit(x, optimizer=keras.optimizers.AdamW(WarmUp(1e-3, decay="cosine")))

    What is None of `warmup_steps`, `reference_steps` and `steps`, `fit` takes from the length of
    the run. A run that is resumed with more steps then has another schedule: give the numbers to
    keep it.

    Args:
      learning_rate: η; a number, or a Keras schedule that continues from there.
      warmup_steps: W, over which the rate rises from 0; by default a tenth of the run, 5,000 steps
        at most.
      decay: None, ``"cosine"`` or ``"inverse_root"``.
      reference_steps: K, from which the inverse root falls; by default a tenth of the run.
      steps: N, at which the cosine has come to 0; by default the steps of the run.

    Raises:
      UsageError: a negative number of steps, or another decay.
    """

    def __init__(
        self,
        learning_rate: Any = _LEARNING_RATE,
        warmup_steps: int | None = None,
        decay: str | None = None,
        reference_steps: int | None = None,
        steps: int | None = None,
    ) -> None:
        if decay not in _DECAYS:
            raise UsageError(
                f"WarmUp.decay must be None, 'cosine' or 'inverse_root'; got {decay!r}."
            )
        if (warmup_steps or 0) < 0:
            raise UsageError(f"WarmUp.warmup_steps must not be negative; got {warmup_steps}.")
        for name, value in (("reference_steps", reference_steps), ("steps", steps)):
            if value is not None and value < 1:
                raise UsageError(f"WarmUp.{name} must be at least 1; got {value}.")
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.decay = decay
        self.reference_steps = reference_steps
        self.steps = steps

    def over(self, steps: int) -> "WarmUp":
        """The schedule of a run of so many steps: with the numbers that were left open."""
        warmup_steps = self.warmup_steps
        if warmup_steps is None:
            warmup_steps = min(_MOST_WARMUP_STEPS, int(_WARMUP_SHARE * steps))
        reference = self.reference_steps or max(1, int(_WARMUP_SHARE * steps))
        return WarmUp(self.learning_rate, warmup_steps, self.decay, reference, self.steps or steps)

    def __call__(self, step: Any) -> Any:
        if self.warmup_steps is None or (self.decay and None in (self.reference_steps, self.steps)):
            raise UsageError(
                "This WarmUp does not know how long the run is. Pass it in an optimiser to fit, "
                "which tells it, or take WarmUp(…).over(steps)."
            )
        fraction = keras.ops.cast(step, "float32") / max(self.warmup_steps, 1)
        fraction = keras.ops.minimum(fraction, 1.0) if self.warmup_steps else 1.0
        rate = self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate
        return rate * fraction if self.decay is None else rate * fraction * self._decayed(step)

    def _decayed(self, step: Any) -> Any:
        """d(k)."""
        k = keras.ops.cast(step, "float32")
        if self.decay == "inverse_root":
            return keras.ops.rsqrt(keras.ops.maximum(k / self.reference_steps, 1.0))
        start, end = self.warmup_steps or 0, self.steps or 1
        done = keras.ops.clip((k - start) / max(end - start, 1), 0.0, 1.0)
        return 0.5 * (1.0 + keras.ops.cos(math.pi * done))

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
            "reference_steps": self.reference_steps,
            "steps": self.steps,
        }

    @classmethod
    def from_config(cls, config: dict) -> "WarmUp":
        """The schedule of `get_config`; Keras leaves the schedule inside as a description."""
        rate = config["learning_rate"]
        if isinstance(rate, dict):
            rate = keras.saving.deserialize_keras_object(rate, safe_mode=True)
        return cls(**{**config, "learning_rate": rate})


def default_learning_rate(parameters: int) -> float:
    """Adam's rate for a network of P trainable numbers: 2e-4 (6e7/P)^(1/3), in [2e-4, 2e-3].

    2e-4 is score_sde's rate, whose networks have some 60 million. Small networks bear more: the
    rates that this package's recipes were measured with, 1e-3 to 2e-3 at .1 to .7 million, are met
    by the cube root to a factor of two.
    """
    rate = _LEARNING_RATE * (_LARGE / max(parameters, 1)) ** (1 / 3)
    return min(max(rate, _LEARNING_RATE), _MOST)


def default_optimizer(
    steps: int,
    learning_rate: float | None = None,
    decay: str | None = None,
    warmup_share: float | None = None,
    parameters: int | None = None,
) -> keras.optimizers.Optimizer:
    """Adam with epsilon 1e-8, as in score_sde, after a warm-up over a tenth of the run.

    score_sde warms up over 5,000 steps, of 1.3 million: that is the most by default.

    Args:
      steps: of the run.
      learning_rate: after the warm-up; None: `default_learning_rate` of the network.
      decay: as of `WarmUp`: None, ``"cosine"`` or ``"inverse_root"``.
      warmup_share: share of the steps over which the rate rises, in [0, 1); None: as above.
      parameters: trainable numbers of the network; None: those of a large one.

    Raises:
      UsageError: a share outside [0, 1), or another decay.
    """
    if warmup_share is not None and not 0 <= warmup_share < 1:
        raise UsageError(
            "default_optimizer.warmup_share is a share of the steps, from 0 to below 1; got "
            f"{warmup_share}."
        )
    if learning_rate is None:
        learning_rate = _LEARNING_RATE if parameters is None else default_learning_rate(parameters)
    warmup_steps = None if warmup_share is None else int(warmup_share * steps)
    schedule = WarmUp(learning_rate, warmup_steps, decay).over(steps)
    return keras.optimizers.Adam(schedule, epsilon=1e-8)


def for_run(
    optimizer: Any, steps: int, parameters: int | None = None
) -> keras.optimizers.Optimizer:
    """The optimiser of a run of so many steps.

    Args:
      optimizer: a Keras optimiser, whose `WarmUp` is told the steps; a function of the steps that
        makes one, and is told `parameters` too if it has an argument of that name; None:
        `default_optimizer`. The caller's object is left as it is.
      steps: of the run.
      parameters: trainable numbers of the network; None: not known.

    Raises:
      UsageError: an optimiser that scales the loss, which the training step does by itself.
    """
    optimizer = default_optimizer if optimizer is None else optimizer
    if not isinstance(optimizer, keras.optimizers.Optimizer) and callable(optimizer):
        told = "parameters" in inspect.signature(optimizer).parameters
        optimizer = optimizer(steps, **({"parameters": parameters} if told else {}))
    if hasattr(optimizer, "inner_optimizer"):
        raise UsageError(
            f"fit.optimizer is a {type(optimizer).__name__}. The training step scales the loss of "
            "a float16 network by itself: pass the optimiser inside."
        )
    rate: Any = getattr(optimizer, "_learning_rate", None)
    if hasattr(rate, "over"):
        schedule = keras.optimizers.schedules.serialize(rate.over(steps))
        config = optimizer.get_config() | {"learning_rate": schedule}
        optimizer = type(optimizer).from_config(config)
    return optimizer


def has_kernel(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether `use_kernel` knows an operation for the optimiser: Adam and those with its step."""
    own_step = type(optimizer).update_step is keras.optimizers.Adam.update_step
    return own_step and not optimizer.amsgrad


def use_kernel(optimizer: keras.optimizers.Optimizer) -> None:
    """Lets an optimiser move each variable by one operation, in place of Keras' forty.

    A training starts sooner, and what XLA does not compile launches fewer kernels. The values are
    the same up to rounding. Nothing is changed where `has_kernel` says no.
    """
    if not has_kernel(optimizer) or "_backend_update_step" in vars(optimizer):  # in use already
        return
    update_all = optimizer._backend_update_step

    @functools.wraps(update_all)
    def update(gradients: Any, variables: Any, learning_rate: Any) -> None:
        # What all variables share is computed once: a graph of some hundred variables would have
        # thousands of operations on single numbers.
        shared = functools.cache(functools.partial(_adam_numbers, optimizer, learning_rate))
        optimizer.update_step = functools.partial(_adam_step, optimizer, shared)
        update_all(gradients, variables, learning_rate)

    optimizer._backend_update_step = update


def _adam_numbers(optimizer: Any, learning_rate: Any, dtype: Any) -> dict[str, Tensor]:
    """What the kernel is told of a step besides the variable and its gradient."""
    number = lambda value: tf.cast(value, dtype)
    step = number(optimizer.iterations + 1)
    return {
        "beta1_power": number(optimizer.beta_1) ** step,
        "beta2_power": number(optimizer.beta_2) ** step,
        "lr": number(learning_rate),
        "beta1": number(optimizer.beta_1),
        "beta2": number(optimizer.beta_2),
        "epsilon": number(optimizer.epsilon),
    }


def _adam_step(
    optimizer: Any, shared: Any, gradient: Any, variable: Any, learning_rate: Any
) -> None:
    """`keras.optimizers.Adam.update_step` by TensorFlow's kernel, whose formula is the same."""
    del learning_rate  # `shared` knows it
    index = optimizer._get_variable_index(variable)
    m, v = (slots[index].value for slots in (optimizer._momentums, optimizer._velocities))
    dtype = tf.as_dtype(variable.dtype)
    gradient = tf.cast(tf.convert_to_tensor(gradient), dtype)  # of an embedding it is sparse
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle, m=m.handle, v=v.handle, grad=gradient, **shared(dtype)
    )


def doubts(optimizer: keras.optimizers.Optimizer, first: int, steps: int) -> list[str]:
    """Sentences on a learning rate by which a run from step `first` to `steps` learns nothing.

    Also on a warm-up that does not end before the run does. Empty where there is nothing to say.
    """
    rate: Any = getattr(optimizer, "_learning_rate", None)
    found = []
    if hasattr(rate, "over"):
        rate = rate.over(steps)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        at = np.unique(np.linspace(first, steps - 1, 17).astype(int))
        rates = [float(rate(step)) for step in at]
    else:
        rates = [float(optimizer.get_config()["learning_rate"])]
    if not any(value > 0 for value in rates):
        found.append(
            f"The learning rate is {max(rates):g} over all steps from {first:,} to {steps:,}: the "
            "weights will not be trained. Set a larger learning_rate (fit.optimizer)."
        )
    while rate is not None:  # schedules stand in one another
        warmup_steps = getattr(rate, "warmup_steps", None) or 0
        if warmup_steps >= steps:
            name = type(rate).__name__
            found.append(
                f"{name}.warmup_steps = {warmup_steps:,}, and the run has fit.steps = {steps:,}: "
                "it ends before the learning rate has risen to its value. Lower the former, to a "
                f"tenth of the steps, say ({max(1, steps // 10):,})."
            )
        rate = getattr(rate, "learning_rate", None)
    return found


__all__ = [
    "WarmUp",
    "default_learning_rate",
    "default_optimizer",
    "doubts",
    "for_run",
    "has_kernel",
    "use_kernel",
]
