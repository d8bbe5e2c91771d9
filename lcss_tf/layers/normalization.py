"""Group normalisation with what surrounds it, in float32 whatever the policy.

    x ← x + shift,  x̂ = (x − m) r,  u = γ x̂ + β,  y = dropout(silu(u))

m is the group's mean and r = (variance + ε)^{−1/2}. The shift before and SiLU and dropout behind
are there only if asked for. In pieces of XLA (see `lcss_tf.xla`) all of it is one program, and
the gradient, written out, another: it keeps x alone (docs/performance.md).
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from lcss_tf import xla
from lcss_tf.layers.base import register
from lcss_tf.layers.dropout import dropped
from lcss_tf.layers.places import at_places, sum_over_places


def num_groups(channels):
    """min(C // 4, 32) groups, or the next smaller number that divides C.

    The first is NCSN++'s rule, which fails where it does not divide C; the second
    lets any channel count pass, and agrees wherever the rule works.
    """
    most = max(1, min(channels // 4, 32))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


class Form(NamedTuple):
    """What does not change from call to call. dtype: of the result, by name."""

    groups: int
    epsilon: float = 1e-6
    silu: bool = False
    dropout: float = 0.0
    dtype: str = "float32"


@register
class GroupNorm(keras.layers.Layer):
    """(x − mean) / √(variance + ε), per example and group of channels, then γ·+β; then SiLU and dropout.

    Wu and He (2018). [N, ..., C] -> the same shape, with 1, 2 or 3 spatial axes.

    Args:
      silu: whether SiLU follows.
      dropout: the rate at which the result was dropped where `call` is told what was kept.
      epsilon: ε; NCSN++ uses 1e-6 (Keras' own default is 1e-3).
    """

    def __init__(self, *, silu=False, dropout=0.0, epsilon=1e-6, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.silu = silu
        self.dropout = dropout
        self.epsilon = epsilon

    def build(self, x_shape):
        channels = x_shape[-1]
        self.groups = num_groups(channels)
        # autocast=False: a bfloat16 policy must not round them.
        options = {"shape": (channels,), "dtype": "float32", "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)

    def call(self, x, shift=None, kept=None):
        """The norm of x + shift [N, C] (or x), and of the result what is kept (or all).

        kept: bool, see `lcss_tf.layers.dropout`.
        """
        gamma, beta = (tf.convert_to_tensor(v) for v in (self.gamma, self.beta))
        form = Form(self.groups, self.epsilon, self.silu, self.dropout, self.compute_dtype)
        inputs = (x, gamma, beta) if shift is None else (x, gamma, beta, shift)
        return normalised(inputs, form, kept)

    def get_config(self):
        own = {"silu": self.silu, "dropout": self.dropout, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


def normalised(inputs, form, kept=None):
    """The layer's formula.

    Args:
      inputs: x [N, ..., C], gamma and beta [C], and the shift [N, C] if there is one.
      form: a `Form`.
      kept: what dropout keeps, bool, or None.
    """
    if not xla.is_in_pieces():
        return _formula(inputs, kept, form)[0]

    @tf.custom_gradient
    def norm(*inputs):
        # m and r are results too, with gradients of their own: so that the second derivative,
        # which differentiates the gradient below, knows that they depend on x.
        y, m, r = _forward(inputs, kept, form)

        def gradient(*upstream):
            return _backward(inputs, kept, (m, r), upstream, form)

        return (y, m, r), gradient

    return norm(*inputs)[0]


def _formula(inputs, kept, form):
    """(y, m, r), the last two [N, G]."""
    x, (gamma, beta) = _shifted(inputs), inputs[1:3]
    m = _group_mean(x, form.groups)
    x = x - _of_groups(m, x)
    r = tf.math.rsqrt(_group_mean(tf.square(x), form.groups) + form.epsilon)
    u = x * (_of_groups(r, x) * gamma) + beta
    y = tf.nn.silu(u) if form.silu else u
    return tf.cast(dropped(y, form.dropout, kept), form.dtype), m, r


_forward = xla.piece(_formula)


def _shifted(inputs):
    """x + shift in float32."""
    x, *shift = (tf.cast(inputs[i], tf.float32) for i in (0, 3)[: len(inputs) - 2])
    return x + at_places(shift[0], x) if shift else x


def _group_mean(x, groups):
    """The mean over all places and the channels of each group: [N, G].

    Reduced per channel first and over the group's channels after: neither needs a reshape of x,
    which XLA's CPU loops fuse badly.
    """
    means = tf.reduce_mean(x, axis=list(range(1, x.shape.rank - 1)))
    return tf.reduce_mean(tf.reshape(means, [-1, groups, x.shape[-1] // groups]), axis=2)


def _of_groups(values, x):
    """[N, G] for every channel of the group and every place: broadcastable to x."""
    return at_places(tf.repeat(values, x.shape[-1] // values.shape[1], axis=1), x)


@xla.piece
def _backward(inputs, kept, statistics, upstream, form):
    """The gradients of the inputs.

    With du = dy silu'(u), n numbers in a group, and sums over the group:
    dx = r (γ du − Σγ du/n − x̂ Σγ du x̂/n) + dm/n − dr r² x̂/n. The shift's is its sum over places.
    """
    x, (gamma, beta) = _shifted(inputs), inputs[1:3]
    (m, r), (dy, dm, dr) = statistics, upstream
    groups, n = form.groups, x.shape[1:].num_elements() // form.groups
    r_x = _of_groups(r, x)
    x_hat = (x - _of_groups(m, x)) * r_x
    du = dropped(tf.cast(dy, tf.float32), form.dropout, kept)
    if form.silu:
        u = x_hat * gamma + beta
        gate = tf.sigmoid(u)
        du = du * (gate * (1 + u * (1 - gate)))
    sums, products = sum_over_places(du), sum_over_places(du * x_hat)

    def over_group(values):
        values = tf.reshape(values * gamma, [-1, groups, gamma.shape[0] // groups])
        return tf.reduce_sum(values, axis=2)

    constant = (dm - r * over_group(sums)) / n
    slope = -(r * over_group(products) + dr * r**2) / n
    dx = r_x * gamma * du + _of_groups(constant, x) + x_hat * _of_groups(slope, x)
    gradients = [tf.cast(dx, inputs[0].dtype), *(tf.reduce_sum(v, 0) for v in (products, sums))]
    if len(inputs) == 4:
        gradients.append(tf.cast(sum_over_places(dx), inputs[3].dtype))
    return gradients
