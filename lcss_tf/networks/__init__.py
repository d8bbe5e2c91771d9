"""The networks: Keras models with ``network(x, cond, seed=None, copies=1)``."""

from lcss_tf.networks.mlp import MLP
from lcss_tf.networks.ncsnpp import NCSNpp

__all__ = ["MLP", "NCSNpp"]
