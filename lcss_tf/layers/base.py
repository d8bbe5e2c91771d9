"""What the layers share: kept hyperparameters, and precision under mixed policies."""

import keras
import tensorflow as tf

from lcss_tf.errors import UsageError


def register(cls):
    """Makes a layer or model known to Keras' saving, under the package's name."""
    return keras.saving.register_keras_serializable(package="lcss_tf")(cls)


def feature_shape(like, channels):
    """The shape [None, ..., None, channels], of the rank of the shape `like`."""
    return (None,) * (len(like) - 1) + (channels,)


def one_of(name, value, choices):
    """Returns `value` if it is among `choices`.

    Raises:
      ValueError: it is not.
    """
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")
    return value


class Block(keras.layers.Layer):
    """A layer made of layers.

    Its sublayers are made and built in `build`, where the channel counts are
    known, and inherit its dtype policy.

    It does not autocast: in Keras the variables of every layer inside an
    autocasting one are cast too, which would take the float32 parts (norms, the
    output) down to bfloat16. The convolutions and dense layers cast for themselves.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self._hyperparameters = {}

    def keep(self, **hyperparameters):
        """Sets the constructor's arguments as attributes and enters them in the config."""
        for name, value in hyperparameters.items():
            setattr(self, name, value)
        self._hyperparameters = hyperparameters

    def get_config(self):
        return {**super().get_config(), **self._hyperparameters}

    def add(self, make, shapes, *args, **kwargs):
        """The sublayer ``make(*args, **kwargs)``, of the same dtype policy, built on `shapes`."""
        kwargs.setdefault("dtype", self.dtype_policy)
        layer = make(*args, **kwargs)
        layer.build(*shapes)
        return layer


def residual_sum(x, h, rescale):
    """x + h, divided by √2 if `rescale` (then unit variances stay unit variances)."""
    total = x + h
    return total * tf.constant(0.5**0.5, total.dtype) if rescale else total
