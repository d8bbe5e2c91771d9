"""The default optimiser, and a warm-up for any."""

from typing import Any

import keras

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


__all__ = ["WarmUp", "default_optimizer"]
