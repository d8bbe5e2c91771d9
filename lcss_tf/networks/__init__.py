"""Networks: Keras models ``network(x, cond, seed=None, copies=1, condition=None)``.

`MLP` for vectors; `NCSNpp` (NCSN++ and DDPM++) and `DiT` for signals, images and volumes. Their
layers are in `layers`, `normalization`, `resample` and `blocks`.
"""

from lcss_tf.networks.default import default_network, network_for
from lcss_tf.networks.dit import DiT
from lcss_tf.networks.mlp import MLP
from lcss_tf.networks.ncsnpp import NCSNpp
from lcss_tf.networks.saving import deserialize, serialize

__all__ = ["MLP", "DiT", "NCSNpp", "default_network", "deserialize", "network_for", "serialize"]
