"""How fast the steps are: training, forward pass, sampling; arithmetic, memory, compilation."""

from lcss_tf.benchmark.run import benchmark, first_step_seconds
from lcss_tf.benchmark.scaling import scaling
from lcss_tf.benchmark.soak import soak

__all__ = ["benchmark", "first_step_seconds", "scaling", "soak"]
