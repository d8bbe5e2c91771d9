"""Convolutions and dense layers with the initialisation of NCSN++.

Weights are uniform with variance scale / fan_avg, biases zero; "zero" initialisation
is a scale of 1e-10 (Ho et al., 2020; Song et al., 2021).
"""

import keras
import tensorflow as tf

from lcss_tf.layers.base import register


def fan_average(scale=1.0):
    """The initialiser: uniform, variance scale / fan_avg; a scale of 0 means 1e-10."""
    return keras.initializers.VarianceScaling(scale or 1e-10, "fan_avg", "uniform")


@register
class Dense(keras.layers.Layer):
    """y = x W + b along the channels, at every place: [N, ..., C] -> [N, ..., features].

    Args:
      features: output channels.
      scale: the initialisation's scale; 0 means 1e-10.
    """

    def __init__(self, features, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.features = features
        self.scale = scale

    def build(self, x_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(x_shape[-1], self.features),
            initializer=fan_average(self.scale),
        )
        self.bias = self.add_weight(name="bias", shape=(self.features,), initializer="zeros")

    def call(self, x):
        flat = tf.reshape(x, [-1, x.shape[-1]])
        y = tf.matmul(flat, tf.convert_to_tensor(self.kernel))
        y = tf.nn.bias_add(y, tf.convert_to_tensor(self.bias))
        return tf.reshape(y, [-1, *x.shape[1:-1], self.features])

    def get_config(self):
        return {**super().get_config(), "features": self.features, "scale": self.scale}


@register
class Conv(keras.layers.Layer):
    """A convolution over 1, 2 or 3 spatial axes, as many as its input has.

    [N, ..., C] -> [N, ..., features], the channels last.

    Args:
      features: output channels.
      kernel_size: taps along every axis.
      strides: the stride along every axis.
      padding: ``"same"`` or ``"valid"``.
      scale: the initialisation's scale; 0 means 1e-10.
    """

    def __init__(self, features, *, kernel_size=3, strides=1, padding="same", scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.features = features
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.scale = scale

    def build(self, x_shape):
        rank = len(x_shape) - 2
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size,) * rank + (x_shape[-1], self.features),
            initializer=fan_average(self.scale),
        )
        self.bias = self.add_weight(name="bias", shape=(self.features,), initializer="zeros")

    def call(self, x):
        y = tf.nn.convolution(
            x,
            tf.convert_to_tensor(self.kernel),
            strides=self.strides,
            padding=self.padding.upper(),
            # Conv3D's gradient fails outside tf.function unless this is spelled out.
            data_format={3: "NWC", 4: "NHWC", 5: "NDHWC"}[x.shape.rank],
        )
        return tf.nn.bias_add(y, tf.convert_to_tensor(self.bias))

    def get_config(self):
        return {
            **super().get_config(),
            "features": self.features,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "scale": self.scale,
        }
