"""The scale of the loss of a network that computes in float16."""

from typing import Any

import keras
import tensorflow as tf

from lcss_tf.training.distribution import Distribution
from lcss_tf.typing import Tensor

_FIRST, _LEAST, _MOST = 2.0**15, 1.0, 2.0**24
_PATIENCE = 2_000  # updates without an overflow before the scale is doubled


class LossScale:
    """s in ∇L = ∇(s L)/s, a power of two, which keeps small gradients from vanishing in float16.

    float16 holds nothing below 6e-8. Gradients with respect to activations are often smaller; s
    times the loss lifts them. Where that overflows, the step is skipped and s is halved, so that it
    settles just below the overflow: it starts at 2¹⁵, and doubles after 2,000 updates without
    one. s is a power of two, so that scaling alone changes no bit of a gradient that neither
    overflows nor vanishes. Source: Micikevicius et al. (2018), "Mixed precision training".

    Make it under the distribution's scope.

    Attributes:
      scale: s, a float32 variable.
      good_steps: updates since the scale last changed.
      overflows: steps that were skipped because of an overflow.
    """

    def __init__(self) -> None:
        self.scale = _variable(_FIRST, "float32")
        self.good_steps = _variable(0, "int32")
        self.overflows = _variable(0, "int32")

    def variables(self) -> dict[str, Any]:
        """By their names in a checkpoint, in the group of the optimiser."""
        return {f"loss_scale/{name}": variable for name, variable in vars(self).items()}

    def overflowed(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether a smaller scale may help: the loss is finite, the gradient is not.

        The scale has no part in the loss itself, and cannot fall below 1.
        """
        high = tf.convert_to_tensor(self.scale) > _LEAST
        return tf.math.is_finite(loss) & ~tf.math.is_finite(norm) & high

    def update(self, distribution: Distribution, finite: Tensor, overflowed: Tensor) -> None:
        """After a step: halves s on an overflow, doubles it after many steps without.

        In cross-replica context.

        Args:
          distribution: updates the variables on every device.
          finite: whether the step was taken, a bool scalar.
          overflowed: see above.
        """
        scale, good = self.scale.value, self.good_steps.value
        counted = tf.convert_to_tensor(good) + tf.cast(finite, tf.int32)
        doubled = counted >= _PATIENCE
        factor = tf.where(overflowed, 0.5, tf.where(doubled, 2.0, 1.0))
        new_scale = tf.clip_by_value(tf.convert_to_tensor(scale) * factor, _LEAST, _MOST)
        new_good = tf.where(overflowed | doubled, 0, counted)
        overflows = self.overflows.value
        new_overflows = tf.convert_to_tensor(overflows) + tf.cast(overflowed, tf.int32)
        for variable, value in (
            (scale, new_scale), (good, new_good), (overflows, new_overflows)
        ):  # fmt: skip
            distribution.update(variable, lambda v, new: v.assign(new), value)


def _variable(value: float, dtype: str) -> Any:
    return keras.Variable(value, trainable=False, dtype=dtype, autocast=False)


__all__ = ["LossScale"]
