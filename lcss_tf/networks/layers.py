"""The layers that the networks share: dense, convolution, embeddings, dropout, stacked copies.

They take 1, 2 or 3 spatial axes, channels last. Each is a pure function of its arguments and
weights: randomness comes in as a seed.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras
import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.errors import UsageError
from lcss_tf.typing import OpenShape, Seed, Tensor

PACKAGE = "lcss_tf"  # the name under which Keras saves and finds our classes

_Class = TypeVar("_Class", bound=type)

_OF_A_MODEL = ("name", "dtype", "trainable")  # what every Keras model takes


def register(cls: _Class) -> _Class:
    """Makes a layer or model known to Keras' saving, under the package's name."""
    return keras.saving.register_keras_serializable(package=PACKAGE)(cls)


def feature_shape(like: OpenShape, channels: int) -> tuple:
    """The shape [None, ..., None, channels], of the rank of the shape `like`."""
    return (None,) * (len(like) - 1) + (channels,)


def one_of(name: str, value: Any, choices: Sequence) -> Any:
    """Returns `value` if it is among `choices`.

    Raises:
      UsageError: it is not.
    """
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")
    return value


def residual_sum(x: Tensor, h: Tensor, rescale: bool) -> Tensor:
    """x + h, divided by √2 if `rescale`: two unit variances then add up to a unit variance."""
    total = x + h
    return total * tf.constant(0.5**0.5, total.dtype) if rescale else total


def model_options(network: type, given: dict[str, Any]) -> dict[str, Any]:
    """The options that a network's constructor hands on to ``keras.Model``, as they are.

    Args:
      network: the class.
      given: what its own arguments did not take.

    Raises:
      UsageError: one that neither knows; names the nearest that is known.
    """
    own = [name for name in inspect.signature(network).parameters if name not in ("kwargs",)]
    for name in given.keys() - set(_OF_A_MODEL):
        close = difflib.get_close_matches(name, [*own, *_OF_A_MODEL], n=1, cutoff=0.6)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UsageError(
            f"{network.__name__} has no argument {name!r}.{hint} Its arguments: "
            f"{', '.join([*own, *_OF_A_MODEL])}."
        )
    return given


class Block(keras.layers.Layer):
    """A layer made of layers.

    It makes and builds its sublayers in `build`, where the channel counts are known. They inherit
    its dtype policy.

    It does not autocast. In Keras an autocasting layer casts the variables of every layer inside
    it too, which would take the float32 parts (norms, the output) down to bfloat16. The
    convolutions and dense layers cast for themselves.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self._hyperparameters: dict[str, Any] = {}

    def keep(self, **hyperparameters: Any) -> None:
        """Sets the constructor's arguments as attributes and enters them in the config."""
        for name, value in hyperparameters.items():
            setattr(self, name, value)
        self._hyperparameters = hyperparameters

    def get_config(self) -> dict:
        return {**super().get_config(), **self._hyperparameters}

    def add(self, make: Callable, shapes: Sequence, *args: Any, **kwargs: Any) -> Any:
        """The sublayer ``make(*args, **kwargs)``, of the same dtype policy, built on `shapes`."""
        kwargs.setdefault("dtype", self.dtype_policy)
        layer = make(*args, **kwargs)
        layer.build(*shapes)
        return layer


# Dense layers and convolutions, with the initialisation of NCSN++.


def fan_average(scale: float = 1.0) -> keras.initializers.Initializer:
    """The initialiser of NCSN++: uniform with variance scale / fan_avg.

    A scale of 0 means 1e-10 (Ho et al. 2020; Song et al. 2021).
    """
    return keras.initializers.VarianceScaling(scale or 1e-10, "fan_avg", "uniform")


@register
class Dense(keras.layers.Layer):
    """y = x W + b along the channels, at every place: [N, ..., C] -> [N, ..., features].

    Args:
      features: output channels.
      scale: of the initialisation, see `fan_average`. Biases start at 0.
    """

    def __init__(self, features: int, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.features = features
        self.scale = scale

    def build(self, x_shape: OpenShape) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(x_shape[-1], self.features),
            initializer=fan_average(self.scale),
        )
        self.bias = self.add_weight(name="bias", shape=(self.features,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        flat = tf.reshape(x, [-1, x.shape[-1]])
        y = tf.matmul(flat, tf.convert_to_tensor(self.kernel))
        y = tf.nn.bias_add(y, tf.convert_to_tensor(self.bias))
        return tf.reshape(y, [-1, *x.shape[1:-1], self.features])

    def get_config(self) -> dict:
        return {**super().get_config(), "features": self.features, "scale": self.scale}


@register
class Conv(keras.layers.Layer):
    """A convolution over the spatial axes, of which its input has 1, 2 or 3.

    [N, ..., C] -> [N, ..., features], channels last.

    Args:
      features: output channels.
      kernel_size: taps along every axis.
      strides: the stride along every axis.
      padding: ``"same"`` or ``"valid"``.
      scale: of the initialisation, see `fan_average`. Biases start at 0.
    """

    def __init__(
        self,
        features: int,
        *,
        kernel_size: int = 3,
        strides: int = 1,
        padding: str = "same",
        scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.features = features
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.scale = scale

    def build(self, x_shape: OpenShape) -> None:
        rank = len(x_shape) - 2
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size,) * rank + (x_shape[-1], self.features),
            initializer=fan_average(self.scale),
        )
        self.bias = self.add_weight(name="bias", shape=(self.features,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        y = tf.nn.convolution(
            x,
            tf.convert_to_tensor(self.kernel),
            strides=self.strides,
            padding=self.padding.upper(),
            # Conv3D's gradient fails outside tf.function unless this is spelled out.
            data_format={3: "NWC", 4: "NHWC", 5: "NDHWC"}[x.shape.rank],
        )
        return tf.nn.bias_add(y, tf.convert_to_tensor(self.bias))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "features": self.features,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "scale": self.scale,
        }


# Embeddings of the noise label: a scalar per example becomes a vector.


@register
class GaussianFourier(keras.layers.Layer):
    """[sin(2π W u), cos(2π W u)], W ~ N(0, scale²) frozen (Tancik et al. 2020).

    u [N] -> [N, 2·frequencies], in float32. W is a weight that is not trained. It is saved and
    loaded with the others.

    Args:
      frequencies: length of W.
      scale: standard deviation of W.
    """

    def __init__(self, frequencies: int, *, scale: float = 16.0, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.frequencies = frequencies
        self.scale = scale

    def build(self, u_shape: OpenShape) -> None:
        self.w = self.add_weight(
            name="w",
            shape=(self.frequencies,),
            initializer=keras.initializers.RandomNormal(0.0, self.scale),
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def call(self, u: Tensor) -> Tensor:
        angle = u[:, None] * (2.0 * math.pi * tf.convert_to_tensor(self.w))
        return tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "frequencies": self.frequencies,
            "scale": self.scale,
        }


def positional(u: Tensor, features: int, endpoint: bool = True) -> Tensor:
    """[sin(ω_i u), cos(ω_i u)], ω_i = 10000^{−i/n}, i = 0 .. features/2 − 1 (Vaswani et al. 2017).

    Args:
      u: [N], of a range like [0, 1000].
      features: width of the result [N, features]; an odd width ends in a zero.
      endpoint: whether the last frequency is 1/10000, so that n = features/2 − 1, as in NCSN++;
        else n = features/2, as in Vaswani et al.
    """
    half = features // 2
    exponent = tf.range(half, dtype=tf.float32) / max(half - endpoint, 1)
    angle = u[:, None] * tf.exp(-math.log(10_000.0) * exponent)
    return tf.concat([tf.sin(angle), tf.cos(angle), tf.zeros_like(u[:, None])], -1)[:, :features]


@register
class NoiseEmbedding(Block):
    """The noise label through an embedding e and two dense layers.

    cond [N] -> silu(W silu(V e(cond) + v) + w + added) [N, units]. It computes in float32 under
    every policy, as bfloat16 cannot represent 999·t. The last SiLU stands here, once, rather than
    in each of the blocks that use the result.

    Args:
      features: nf: the positional embedding's width, or the number of frequencies.
      units: width of the dense layers; None means 4·features.
      kind: ``"positional"`` (cond is like 999·t) or ``"fourier"`` (cond is σ > 0,
        embedded through log σ).
      fourier_scale: standard deviation of the Fourier frequencies.
    """

    def __init__(
        self,
        features: int,
        *,
        units: int | None = None,
        kind: str = "positional",
        fourier_scale: float = 16.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.keep(
            features=features,
            units=units or 4 * features,
            kind=one_of("embedding", kind, ("positional", "fourier")),
            fourier_scale=fourier_scale,
        )

    def build(self, cond_shape: OpenShape) -> None:
        width = self.features
        self.fourier = None
        if self.kind == "fourier":
            width = 2 * self.features
            self.fourier = self.add(
                GaussianFourier,
                [cond_shape],
                self.features,
                scale=self.fourier_scale,
                name="fourier",
            )
        self.build_dense(width)

    def build_dense(self, width: int) -> None:
        """Makes what follows the embedding [N, width]."""
        self.dense_0 = self.add(Dense, [(None, width)], self.units, name="dense_0")
        self.dense_1 = self.add(Dense, [(None, self.units)], self.units, name="dense_1")

    def call(self, cond: Tensor, added: Tensor | None = None) -> Tensor:
        h = self.dense_1(tf.nn.silu(self.dense_0(self.embedded(cond))))
        return tf.nn.silu(h if added is None else h + added)

    def embedded(self, cond: Tensor) -> Tensor:
        """e(cond): [N] -> [N, width], sines and cosines."""
        cond = tf.cast(cond, tf.float32)
        if self.fourier is None:
            return positional(cond, self.features)
        return self.fourier(tf.math.log(cond))


# Stacked copies of a batch: losses ask for the score at several points of the same times. What
# depends on the times alone is computed for the first copy and repeated.


def first_copy(values: Tensor, copies: int) -> Tensor:
    """The first of `copies` equal parts [N/copies, ...] of values [N, ...]."""
    return values if copies == 1 else tf.split(values, copies)[0]


def repeat_copies(values: Tensor, copies: int) -> Tensor:
    """Values [N/copies, ...] for all copies: [N, ...]."""
    return values if copies == 1 else tf.tile(values, [copies] + [1] * (len(values.shape) - 1))


def dropout(x: Tensor, rate: float, seed: Seed | None = None, copies: int = 1) -> Tensor:
    """Zeroes each entry of x with probability `rate`, and divides the rest by 1 − rate.

    The same seed gives the same mask, with and without XLA and on any number of replicas (see
    `lcss_tf.random`).

    Args:
      x: [N, ...].
      rate: in [0, 1).
      seed: an int or an int32 seed of shape [2] or [3]; None means no dropout.
      copies: how many stacked copies of one batch x holds. They share their masks, so that a loss
        which compares the network at x and at x' compares one and the same function.

    Raises:
      UsageError: N is not a multiple of `copies`.
    """
    if seed is None or rate == 0.0:
        return x
    batch = x.shape[0]
    if batch is None:
        batch = tf.shape(x)[0]
    elif batch % copies:
        raise UsageError(
            f"A batch of {batch} does not hold copies={copies} of one batch: stack whole copies."
        )
    mask = tf.cast(_mask(random.as_seed(seed), rate, (batch // copies, *x.shape[1:])), x.dtype)
    return x * tf.tile(mask, [copies] + [1] * (x.shape.rank - 1))


@xla.piece
def _mask(seed: Tensor, rate: float, shape: tuple[int, ...]) -> Tensor:
    return tf.where(random.uniform(seed, shape) >= rate, 1.0 / (1.0 - rate), 0.0)


__all__ = [
    "Block",
    "Conv",
    "Dense",
    "GaussianFourier",
    "NoiseEmbedding",
    "dropout",
    "fan_average",
    "feature_shape",
    "first_copy",
    "one_of",
    "positional",
    "register",
    "repeat_copies",
    "residual_sum",
]
