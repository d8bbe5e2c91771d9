"""A network as plain JSON values, and back: its class and its constructor's arguments."""

import json
import random
from typing import Any

import keras

from lcss_tf.errors import UnknownPartError, UsageError

_REMEDY = (
    "Decorate the class with @keras.saving.register_keras_serializable(package=...), write "
    "get_config() so that it returns all of the constructor's arguments, and import the module "
    "that defines it before loading."
)


def serialize(network: keras.Model) -> dict[str, Any]:
    """The network's description in plain JSON values: class, arguments, shape it is built for.

    The weights are not part of it. The description is checked by making the network again.

    Args:
      network: a keras.Model, built or not.

    Raises:
      UsageError: the class is not registered with Keras, or its `get_config` leaves out an
        argument, so that the network made again has other weights.
    """
    try:
        description = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UsageError(
            f"{type(network).__name__} cannot be described as JSON: {error}. {_REMEDY}"
        ) from error
    again = deserialize(description)
    shapes, expected = ([tuple(w.shape) for w in made.weights] for made in (again, network))
    if again.built and shapes != expected:
        raise UsageError(
            f"{type(network).__name__}, made again from its own description, has weights of other "
            f"shapes ({len(shapes)} weights, expected {len(expected)}). {_REMEDY}"
        )
    return description


def deserialize(description: dict[str, Any]) -> keras.Model:
    """The network of a `serialize`d description, with new weights; runs no code of the file.

    A network that was built is built again: under the scope of a strategy, if one is entered.

    Raises:
      UnknownPartError: the class is not known to Keras here, or takes other arguments.
    """
    state = random.getstate()  # Keras' initialisers draw their seeds from it
    try:
        return keras.saving.deserialize_keras_object(description, safe_mode=True)
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        name = description.get("registered_name") or description.get("class_name")
        raise UnknownPartError(f"No network can be made of {name!r}: {error}. {_REMEDY}") from error
    finally:
        random.setstate(state)


__all__ = ["deserialize", "serialize"]
