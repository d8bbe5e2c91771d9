"""Group normalisation, optionally followed by SiLU, in float32 under every policy.

With the group's mean m and r = (variance + ε)^{−1/2}:  x̂ = (x − m) r,  u = γ x̂ + β,  y = silu(u).

Under partial compilation (see `lcss_tf.xla`) the gradient of the norm and its activation is
written out as one cluster. It keeps x alone and makes a few passes over it
(docs/results/performance.md). The casts from and to bfloat16 lie inside the clusters, so that what
is kept, read and written has 16 bits.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from lcss_tf import xla
from lcss_tf.networks.layers import register
from lcss_tf.typing import OpenShape, Tensor


def num_groups(channels: int) -> int:
    """min(C // 4, 32) groups, or the next smaller number that divides C.

    The first is NCSN++'s rule, which fails where it does not divide C. The second takes any
    channel count, and agrees wherever the first works.
    """
    most = max(1, min(channels // 4, 32))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


@register
class GroupNorm(keras.layers.Layer):
    """u = γ (x − mean)/√(variance + ε) + β, per example and group of channels; optionally silu(u).

    Wu and He (2018). [N, ..., C] -> the same shape, with 1, 2 or 3 spatial axes.

    Args:
      silu: whether SiLU follows.
      epsilon: ε; NCSN++ uses 1e-6 (Keras' own default is 1e-3).
    """

    def __init__(self, *, silu: bool = False, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.silu = silu
        self.epsilon = epsilon

    def build(self, x_shape: OpenShape) -> None:
        channels = x_shape[-1]
        self.groups = num_groups(channels)
        # autocast=False: a bfloat16 policy must not round them.
        options = {"shape": (channels,), "dtype": "float32", "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)

    def call(self, x: Tensor) -> Tensor:
        gamma, beta = (tf.convert_to_tensor(v) for v in (self.gamma, self.beta))
        options = (self.groups, self.epsilon, self.silu, self.compute_dtype)
        return normalised(x, gamma, beta, *options)

    def get_config(self) -> dict:
        return {**super().get_config(), "silu": self.silu, "epsilon": self.epsilon}


def normalised(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    groups: int,
    epsilon: float,
    silu: bool,
    dtype: str = "float32",
) -> Tensor:
    """The layer's formula, in float32: x [N, ..., C], gamma and beta [C] -> y in `dtype`."""
    if not xla.is_in_pieces():
        return _formula(x, gamma, beta, groups, epsilon, silu, dtype)[0]

    @tf.custom_gradient
    def norm(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Any, Callable[..., Any]]:
        # m and r are results too, with gradients of their own: so that the second derivative,
        # which differentiates the gradient below, knows that they depend on x.
        y, m, r = _forward(x, gamma, beta, groups, epsilon, silu, dtype)

        def gradient(dy: Tensor, dm: Tensor, dr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return _backward(x, gamma, beta, m, r, dy, dm, dr, silu)

        return (y, m, r), gradient

    return norm(x, gamma, beta)[0]


def _formula(x, gamma, beta, groups, epsilon, silu, dtype):
    """(y, m, r), the last two [N, G] and float32."""
    x = tf.cast(x, tf.float32)
    m = _group_mean(x, groups)
    x = x - _at_places(m, x)
    r = tf.math.rsqrt(_group_mean(tf.square(x), groups) + epsilon)
    u = x * (_at_places(r, x) * gamma) + beta
    return tf.cast(tf.nn.silu(u) if silu else u, dtype), m, r


_forward = xla.piece(_formula)


def _group_mean(x: Tensor, groups: int) -> Tensor:
    """The mean over all places and the channels of each group: [N, G].

    Reduced per channel first and over the group's channels after: neither needs a reshape of x,
    which XLA's CPU loops fuse badly.
    """
    means = tf.reduce_mean(x, axis=list(range(1, x.shape.rank - 1)))
    return tf.reduce_mean(tf.reshape(means, [-1, groups, x.shape[-1] // groups]), axis=2)


def _at_places(values: Tensor, x: Tensor) -> Tensor:
    """[N, G] for every channel of the group and every place: broadcastable to x."""
    channels = tf.repeat(values, x.shape[-1] // values.shape[1], axis=1)
    return tf.reshape(channels, [-1, *[1] * (x.shape.rank - 2), x.shape[-1]])


@xla.piece
def _backward(x, gamma, beta, m, r, dy, dm, dr, silu):
    """The gradients of x, in its dtype, and of gamma and beta.

    With du = dy silu'(u), n numbers in a group, and sums over the group:
    dx = r (γ du − Σγ du/n − x̂ Σγ du x̂/n) + dm/n − dr r² x̂/n.
    """
    groups, n = r.shape[1], x.shape[1:].num_elements() // r.shape[1]
    dtype, x, dy = x.dtype, tf.cast(x, tf.float32), tf.cast(dy, tf.float32)
    r_x = _at_places(r, x)
    x_hat = (x - _at_places(m, x)) * r_x
    du = dy
    if silu:
        u = x_hat * gamma + beta
        gate = tf.sigmoid(u)
        du = dy * (gate * (1 + u * (1 - gate)))
    sums, products = _sum_over_places(du), _sum_over_places(du * x_hat)

    def over_group(values: Tensor) -> Tensor:
        values = tf.reshape(values * gamma, [-1, groups, gamma.shape[0] // groups])
        return tf.reduce_sum(values, axis=2)

    constant = (dm - r * over_group(sums)) / n
    slope = -(r * over_group(products) + dr * r**2) / n
    dx = r_x * gamma * du + _at_places(constant, x) + x_hat * _at_places(slope, x)
    return tf.cast(dx, dtype), tf.reduce_sum(products, axis=0), tf.reduce_sum(sums, axis=0)


def _sum_over_places(x: Tensor) -> Tensor:
    """[N, ..., C] -> [N, C], as a product with a row of ones.

    XLA fuses a plain reduction with all that leads up to it, and on CPUs then computes that
    one number at a time.
    """
    flat = tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]])
    return tf.matmul(tf.ones([tf.shape(flat)[0], 1, tf.shape(flat)[1]], x.dtype), flat)[:, 0]


__all__ = ["GroupNorm", "normalised", "num_groups"]
