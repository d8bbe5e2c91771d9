"""Parts as JSON and back: a registered name with the constructor's arguments.

Nothing is pickled, and nothing that is read can run code: only registered classes are built.
"""

from typing import Any

import numpy as np

from lcss_tf import forms
from lcss_tf.errors import UnknownPartError, UsageError
from lcss_tf.registry import Registry

DESCRIPTION = {"class": forms.TEXT, "module": forms.Optional(forms.TEXT), "arguments": dict}


def describe(part: Any, registry: Registry) -> dict:
    """{"class", "module", "arguments"} of an object that records its arguments.

    Raises:
      UsageError: the class is not registered, or an argument has no place in JSON.
    """
    name = registry.name_of(type(part))
    if name is None:
        raise UsageError(
            f"{type(part).__name__} is not registered, so a saved model could not find it again. "
            f"Decorate the class with @lcss_tf.{registry.decorator}."
        )
    arguments: dict[str, Any] = getattr(part, "arguments", dict)()
    return {
        "class": name,
        "module": type(part).__module__,
        "arguments": {key: _to_json(value, f"{name}({key}=…)") for key, value in arguments.items()},
    }


def restore(description: dict, registry: Registry) -> Any:
    """The object that `describe` described.

    Raises:
      UnknownPartError: the class is not registered.
      UsageError: it takes other arguments, or it is no description.
    """
    problem = forms.mismatch(description, DESCRIPTION)
    if problem:
        raise UsageError(f"The description of the {registry.kind} is damaged: {problem}.")
    cls = _known(registry, description["class"], description.get("module"))
    try:
        arguments = {key: _from_json(value) for key, value in description["arguments"].items()}
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"The arguments of {description['class']} are damaged ({error}): "
            f"{str(description['arguments'])[:200]}"
        ) from error
    try:
        return cls(**arguments)
    except (TypeError, ArithmeticError) as error:
        raise UsageError(
            f"{description['class']} cannot be built from {sorted(arguments)}: {error}. Its "
            "constructor has changed since the model was saved."
        ) from error


def _known(registry: Registry, name: str, module: str | None) -> Any:
    if name not in registry:
        raise UnknownPartError(
            f"The {registry.kind} {name} is not registered. It was defined in {module}: import "
            "that module first (on the command line --import=…)."
        )
    return registry[name]


def _to_json(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, list | tuple):
        return [_to_json(item, where) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _to_json(item, where) for key, item in value.items()}}
    raise UsageError(
        f"{where} is a {type(value).__name__}, which a saved model cannot hold. Pass numbers, "
        "texts, lists or NumPy arrays, and build what else is needed in the constructor."
    )


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if isinstance(value, dict) and "array" in value:
        return np.array(value["array"], value["dtype"])
    if isinstance(value, dict):
        return {key: _from_json(item) for key, item in value["dict"].items()}
    return value


__all__ = ["describe", "restore"]
