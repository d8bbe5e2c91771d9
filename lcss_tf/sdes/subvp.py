"""The sub-VP SDE (Song et al. 2021): VP's drift with less noise."""

import tensorflow as tf

from lcss_tf.ops import like
from lcss_tf.registry import SDES
from lcss_tf.sdes.vp import LinearDrift


@SDES.register
class SubVPSDE(LinearDrift):
    """dx = −½ β(t) x dt + √(β(t) (1 − α_t⁴)) dw;  σ_t = 1 − α_t²."""

    def marginal(self, t):
        log_alpha = self.log_alpha(t)
        return tf.exp(log_alpha), -tf.math.expm1(2.0 * log_alpha)

    def diffusion(self, x, t):
        damping = -tf.math.expm1(4.0 * self.log_alpha(t))
        return like(tf.sqrt(self.beta(t) * damping), x)
