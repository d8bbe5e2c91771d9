"""Whether the literals that gin binds are of the types that the parameters' hints name.

Objects, ``@metrics.KID()``, are made later, and say themselves what they are.
"""

import collections.abc
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import gin

_LITERALS = (bool, int, float, complex, str, bytes, type(None), list, tuple, dict)
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)
_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    type(None): "None",
}
_OWN = "lcss_tf"


def wrong_bindings() -> Iterator[str]:
    """A line for each literal in gin's configuration that is of another type than expected."""
    for (scope, selector), bound in gin.config._CONFIG.items():
        part = gin.config._REGISTRY.get(selector)
        hints = {} if part is None else _hints(part.wrapped)
        for name, value in bound.items():
            if name in hints and not fits(value, hints[name]):
                owner = "/".join(filter(None, [scope, selector.rpartition(".")[2]]))
                yield f"{owner}.{name} expects {in_words(hints[name])}; got {value!r}."


def _hints(configurable: Callable) -> dict[str, Any]:
    function = configurable.__init__ if inspect.isclass(configurable) else configurable  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(function)
        parameters = inspect.signature(function).parameters
        # A default of None may be bound as well.
        return {
            name: hint | None if parameters[name].default is None else hint
            for name, hint in hints.items()
            if name in parameters
        }
    except Exception:  # other people's hints may be anything, and name what cannot be found
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value may be meant where a hint stands; what is not known is let through."""
    if not isinstance(value, _LITERALS) or hint in (Any, object):
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in inner)
    if origin is typing.Annotated:
        return fits(value, inner[0])
    if origin is typing.Literal:
        return value in inner
    kind = origin or hint
    if not inspect.isclass(kind):
        return True
    if kind is collections.abc.Callable:
        return False
    if kind in _LISTS:
        return _list_fits(value, inner)
    if kind in (dict, collections.abc.Mapping):
        return isinstance(value, dict)
    if kind in _WORDS:
        return isinstance(value, (int, float) if kind is float else kind)
    if issubclass(kind, os.PathLike):
        return isinstance(value, str)
    return not kind.__module__.startswith(_OWN)  # a number or a list may stand for an array


def _list_fits(value: Any, inner: tuple) -> bool:
    if not isinstance(value, list | tuple):
        return False
    if len(inner) > 1 and ... not in inner:
        return len(value) == len(inner) and all(map(fits, value, inner))
    return not inner or all(fits(part, inner[0]) for part in value)


def in_words(hint: Any) -> str:
    """What a hint asks for, and how that is written in gin."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(in_words, inner)))
    if origin is typing.Literal:
        return " or ".join(map(repr, inner))
    kind = origin or hint
    if kind in _WORDS:
        return _WORDS[kind]
    if kind is collections.abc.Callable:
        return "what makes one, @name without brackets"
    if kind in _LISTS:
        of = f" with {', '.join(map(in_words, dict.fromkeys(i for i in inner if i is not ...)))}"
        return f"a list in brackets{of if inner else ''}"
    if kind in (dict, collections.abc.Mapping):
        return "a dict in braces"
    name = getattr(kind, "__name__", str(kind))
    return f"an object @{name}()" if getattr(kind, "__module__", "").startswith(_OWN) else name


__all__ = ["fits", "in_words", "wrong_bindings"]
