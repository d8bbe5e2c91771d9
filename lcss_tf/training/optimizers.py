"""The optimiser: Keras' own, with a warm-up."""

import gin
import keras

for _name in ("SGD", "Adam", "AdamW", "Lion", "RMSprop"):
    gin.external_configurable(getattr(keras.optimizers, _name), module="keras.optimizers")


@keras.saving.register_keras_serializable("lcss_tf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """learning_rate · min(step/warmup_steps, 1), step counting from 0."""

    def __init__(self, learning_rate, warmup_steps):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        fraction = keras.ops.cast(step, "float32") / max(self.warmup_steps, 1)
        fraction = keras.ops.minimum(fraction, 1.0) if self.warmup_steps else 1.0
        return self.learning_rate * fraction

    def get_config(self):
        return {"learning_rate": self.learning_rate, "warmup_steps": self.warmup_steps}


@gin.configurable("optimizer")
def make_optimizer(learning_rate=2e-4, warmup_steps=5_000, factory=keras.optimizers.Adam):
    """A Keras optimiser with a linear warm-up.

    Args:
      learning_rate: after the warm-up.
      warmup_steps: steps over which it rises from 0.
      factory: called with learning_rate=schedule, e.g. ``@keras.optimizers.AdamW``.

    Adam's betas are Keras' (0.9, 0.999); its epsilon is 1e-8 as in the reference where
    the factory is left alone. Clipping belongs to the train step: an optimiser's own
    would clip before the sum over replicas.
    """
    options = {"epsilon": 1e-8} if factory is keras.optimizers.Adam else {}
    optimizer = factory(learning_rate=WarmUp(learning_rate, warmup_steps), **options)
    # The train step sums the gradients over the replicas, since it clips the sum. Keras
    # would sum once more; without this hook the replicas' gradients would be added twice,
    # and the test of one replica against two would fail.
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
    return optimizer
