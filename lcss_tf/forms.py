"""Whether content that was read, such as JSON, has the form that its reader relies on."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

_MOST = 2**63  # whole numbers below are those of every array and every format string


class Kind(NamedTuple):
    """A simple value: what it is called in messages, and whether a value is one."""

    name: str
    accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    is_float = isinstance(value, float)
    return is_float or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST
    )


def _is_whole(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int)


INTEGER = Kind("a whole number below 2^63", _is_whole)
COUNT = Kind("a whole number from 0 up", lambda value: _is_whole(value) and value >= 0)
NUMBER = Kind("a number", _is_number)
FINITE = Kind("a finite number", lambda value: _is_number(value) and math.isfinite(value))
TEXT = Kind("a text", lambda value: isinstance(value, str))
PAIR = Kind(
    "a pair of numbers",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)),
)
ANY = Kind("anything", lambda value: True)


class Nullable(NamedTuple):
    """A value of a form, or null."""

    form: Any
    may_be_absent: bool = False


def Optional(form: Any) -> Nullable:  # it stands where a form does
    """A value of a form, or null, or a key that is left out."""
    return Nullable(form, True)


def mismatch(value: Any, form: Any) -> str | None:
    """What of a value has another form than expected, in words; None: nothing.

    Args:
      value: of JSON: dicts, lists, texts, numbers, booleans and None.
      form: a `Kind`; ``dict``, ``list``, ``int`` and other builtins; ``[form]``, a list of such;
        ``{"key": form}``, a dict with at least these keys; ``{str: form}`` in it, the form of all
        other keys; `Nullable` and `Optional` of a form.
    """
    return _mismatch(value, form, "")


def _mismatch(value: Any, form: Any, where: str) -> str | None:
    if hasattr(form, "accepts"):
        return None if form.accepts(value) else _expected(form.name, value, where)
    if hasattr(form, "form"):
        return None if value is None else _mismatch(value, form.form, where)
    if isinstance(form, list):
        if not isinstance(value, list | tuple):
            return _expected("a list", value, where)
        return _first(_mismatch(v, form[0], f"{where}[{i}]") for i, v in enumerate(value))
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return _expected("an object with keys", value, where)
        named = {key: part for key, part in form.items() if key is not str}
        others = dict.fromkeys(value.keys() - named.keys(), form[str]) if str in form else {}
        return _first(_keyed(value, k, part, where) for k, part in (named | others).items())
    return None if isinstance(value, form) else _expected(f"a {form.__name__}", value, where)


def _keyed(value: dict, key: str, form: Any, where: str) -> str | None:
    if key not in value:
        may_be_absent = getattr(form, "may_be_absent", False)
        return None if may_be_absent else f"{_key(where, key)} is missing"
    return _mismatch(value[key], form, _key(where, key))


def _key(where: str, key: str) -> str:
    return f"{where}.{key}".lstrip(".")[:80]


def _first(problems: Any) -> str | None:
    return next((problem for problem in problems if problem), None)


def _expected(what: str, value: Any, where: str) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number with thousands of digits
        text = f"a very large {type(value).__name__}"
    text = text if len(text) <= 60 else text[:57] + "…"
    return f"{where or 'it'} should be {what}; got {text}"


__all__ = [
    "ANY",
    "COUNT",
    "FINITE",
    "INTEGER",
    "NUMBER",
    "PAIR",
    "TEXT",
    "Kind",
    "Nullable",
    "Optional",
    "mismatch",
]
