"""The default optimiser, and a warm-up for any."""

from typing import Any

import keras
import numpy as np

from lcss_tf.errors import UsageError

_LEARNING_RATE, _WARMUP_SHARE, _MOST_WARMUP_STEPS = 2e-4, 0.1, 5_000


@keras.saving.register_keras_serializable("lcss_tf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """learning_rate · min(step/warmup_steps, 1), step counting from 0.

    Args:
      learning_rate: after the warm-up; a number, or a Keras schedule that goes on from there.
      warmup_steps: steps over which it rises from 0.
    """

    def __init__(self, learning_rate: Any = _LEARNING_RATE, warmup_steps: int = 5_000) -> None:
        if warmup_steps < 0:
            raise UsageError(f"WarmUp.warmup_steps must not be negative; got {warmup_steps}.")
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        fraction = keras.ops.cast(step, "float32") / max(self.warmup_steps, 1)
        fraction = keras.ops.minimum(fraction, 1.0) if self.warmup_steps else 1.0
        rate = self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate
        return rate * fraction

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {"learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps}


def default_optimizer(steps: int) -> keras.optimizers.Optimizer:
    """Adam at 2e-4 with epsilon 1e-8, as in score_sde, after a warm-up over a tenth of the run.

    score_sde warms up over 5,000 steps, of 1.3 million: that is the most.
    """
    warmup_steps = min(_MOST_WARMUP_STEPS, int(_WARMUP_SHARE * steps))
    return keras.optimizers.Adam(WarmUp(_LEARNING_RATE, warmup_steps), epsilon=1e-8)


def doubts(optimizer: keras.optimizers.Optimizer, first: int, steps: int) -> list[str]:
    """Sentences on a learning rate by which a run from step `first` to `steps` learns nothing.

    Also on a warm-up that does not end before the run does. Empty where there is nothing to say.
    """
    rate, found = getattr(optimizer, "_learning_rate", None), []
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


__all__ = ["WarmUp", "default_optimizer", "doubts"]
