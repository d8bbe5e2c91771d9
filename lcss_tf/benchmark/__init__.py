"""How fast the steps are: training, forward pass, sampling; arithmetic, memory, compilation."""

from lcss_tf.benchmark.run import benchmark, first_step_seconds

__all__ = ["benchmark", "first_step_seconds"]
