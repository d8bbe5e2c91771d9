"""What a user says of a condition, checked and as the network takes it."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from lcss_tf.conditioning import ConditionSpec, spec_of
from lcss_tf.control.guidance import warn_of_untrained_null
from lcss_tf.data.base import DataInfo
from lcss_tf.errors import UsageError
from lcss_tf.plots import Given
from lcss_tf.typing import Array, Network

NULL = "null"  # the word for the null condition, "of any condition"


def read_condition(
    network: Network,
    info: DataInfo,
    condition: Any = None,
    label: int | str | None = None,
    count: int | None = None,
    may_be_null: bool = False,
) -> Array | None:
    """A condition in the data's units as the network takes it: int32 or float32 [1 or N, ...].

    Args:
      network: for which it is.
      info: of the data that the network was trained on.
      condition: one for all, or one for each of `count` examples:

        of classes, a number or a name, or integers [N];
        of vectors, numbers [K] or [N, K], or a dict of numbers, or of arrays [N], by the names of
        the columns;
        of images, an array [..., C'] or [N, ..., C'] of the sides of the examples, where a channel
        axis of 1 may be left out;
        ``"null"``: any condition.
      label: the class of all, its number or its name; of a network with classes.
      count: N; None: any number of rows.
      may_be_null: whether the number of classes may stand for any class.

    Returns:
      None if neither is given.

    Raises:
      UsageError: a condition for a network without one; both; another shape, kind or number of
        rows; a class out of range; NaN or infinity.
    """
    spec = spec_of(network)
    if condition is None and label is None:
        return None
    if condition is not None and label is not None:
        raise UsageError(
            f"A label is a condition; got label = {label!r} and a condition. Leave one out."
        )
    if spec is None:
        refuse_condition("a condition" if label is None else f"label = {label}")
    if isinstance(condition, str) and condition == NULL and NULL not in info.classes:
        warn_of_untrained_null(network)
        return spec.nulls(1, info.shape)
    if spec.is_class:
        given = condition if label is None else label
        return _classes(spec, info, given, count, label is None, spec.size + may_be_null)
    if label is not None:
        raise UsageError(
            f"label = {label} was asked of a network without classes ({spec}). Pass condition=… "
            f"(--condition), {expected(spec, info)}."
        )
    if info.condition is None:
        raise UsageError(
            f"The model does not know how the conditions of {info.name} are scaled: its data were "
            "described without them. Fit it, or load a run."
        )
    return _numbers(spec, info, info.condition, condition, count)


def refuse_condition(given: str) -> NoReturn:
    """Raises the UsageError of a network that takes none: what was given, and the remedy."""
    raise UsageError(
        f"{given} was asked of a network without classes or another condition. Leave it out, or "
        "train one with num_classes, condition_size or condition_channels."
    )


def require_condition(network: Network, info: DataInfo, condition: Any) -> None:
    """Raises UsageError if a network takes numbers or images, and is told none."""
    spec = spec_of(network)
    if condition is None and spec is not None and not spec.is_class:
        raise UsageError(
            f"The network takes a condition ({spec}), and none was given. Pass condition=… "
            f'(--condition), {expected(spec, info)}; or condition="{NULL}" for any condition.'
        )


def conditions_of(network: Network, data: Any, count: int) -> Array | None:
    """Conditions by which samples show or measure a network as its data would have them.

    Args:
      network: for which they are.
      data: a `Dataset`.
      count: of examples, spread over the test split or, where there is none, the training split.

    Returns:
      As the network takes them, [at most count, ...]; None where it takes none, or classes, which
      samples take in turn.
    """
    spec = spec_of(network)
    if spec is None or spec.is_class:
        return None
    return np.asarray(data.some_conditions(spec, count, _split(data)))


def given_of(network: Network, data: Any, count: int, shown: int | None = None) -> Given | None:
    """`conditions_of` in their own units, with the examples that have them; None where it is None.

    Of `shown` samples only as many rows are needed, and read.
    """
    spec = spec_of(network)
    if spec is None or spec.is_class or data.info().condition is None:
        return None
    split = _split(data)
    return given_at(spec, data, data.spread_indices(count, split)[:shown], split)


def given_at(spec: ConditionSpec, data: Any, indices: Array, split: str) -> Given:
    """The conditions at indices of a split in their own units, with the examples that have them."""
    info = data.info()
    told = info.condition.unscale(data.conditions(spec, split)(indices))
    return Given(np.asarray(told), np.asarray(info.unscale(data.examples(indices, split))))


def _split(data: Any) -> str:
    """The test split, or the training split of data that have no other."""
    try:
        data.require("test")
    except (UsageError, FileNotFoundError):
        return "train"
    return "test"


def expected(spec: ConditionSpec, info: DataInfo) -> str:
    """What a condition looks like, in words."""
    if spec.is_class:
        return f"a class from 0 to {spec.size - 1}, or [N] of them"
    names = info.condition.columns if info.condition is not None else ()
    shape = ", ".join(map(str, spec.shape(info.shape)))
    named = f" ({', '.join(names)})" if names else ""
    return f"numbers [{shape}] or [N, {shape}] in the data's units{named}"


def _classes(
    spec: ConditionSpec,
    info: DataInfo,
    given: Any,
    count: int | None,
    several: bool,
    below: int,
) -> Array:
    if isinstance(given, str):
        given = info.class_number(given)
    values = np.asarray(given)
    if several and values.ndim == 1 and values.dtype.kind in "US":
        values = np.array([info.class_number(str(name)) for name in values])
    if values.ndim > 1 or values.dtype.kind not in "ui":
        raise UsageError(
            f"The network takes classes, integers from 0 to {spec.size - 1}; got "
            f"{values.dtype} of shape {values.shape}. Pass {expected(spec, info)}."
        )
    for label in values.reshape(-1):
        if not 0 <= label < below:
            raise UsageError(
                f"The classes run from 0 to {spec.size - 1}; got label = {label}. Ask for one of "
                'these, or for condition="null", any class.'
            )
    return _counted(values.reshape(-1).astype(np.int32), count, values.ndim == 0)


def _numbers(
    spec: ConditionSpec, info: DataInfo, beside: DataInfo, given: Any, count: int | None
) -> Array:
    if isinstance(given, Mapping):
        given = _by_name(given, beside.columns, spec)
    try:
        values = np.asarray(given)
        numeric = values.dtype.kind in "uif"
    except ValueError:
        values, numeric = np.zeros(0), False
    if not numeric:
        raise UsageError(
            f"A condition is numbers; got {str(given)[:80]!r}. Pass {expected(spec, info)}."
        )
    shape = spec.shape(info.shape)
    single, rows = _rows(values, shape, count)
    if rows is None:
        raise UsageError(
            f"The network takes conditions of shape {shape} ({spec}); got an array of shape "
            f"{np.shape(given)}. Pass {expected(spec, info)}."
        )
    finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
    if not finite.all():
        raise UsageError(
            f"A condition is finite numbers; got NaN or infinity, the first in row "
            f'{int(np.argmin(finite)):,} of {len(rows):,}. Fill them, or pass "null" for any '
            "condition."
        )
    return _counted(beside.scaling.scale_finite(rows, "The conditions"), count, single)


def _rows(values: Array, shape: tuple[int, ...], count: int | None) -> tuple[bool, Array | None]:
    """(whether it is one condition, [N, *shape]); None where the shape is another."""
    if values.shape == shape and not (shape == (1,) and count == 1):
        return True, values[None]
    if values.shape[1:] == shape and values.ndim:
        return False, values
    if shape[-1] == 1:  # the last axis may be left out
        if values.shape == shape[:-1]:
            return True, values[None, ..., None]
        if values.ndim and values.shape[1:] == shape[:-1]:
            return False, values[..., None]
    return False, None


def _by_name(given: Mapping[str, Any], columns: Sequence[str], spec: ConditionSpec) -> Array:
    if not columns:
        raise UsageError(
            f"The condition has no names; got {', '.join(map(repr, given))}. Pass its "
            f"{spec.size} numbers in their order."
        )
    if set(given) != set(columns):
        raise UsageError(
            f"The condition is the columns {', '.join(columns)}; got {', '.join(given)}. Give each "
            "of them once."
        )
    values = [np.asarray(given[name]) for name in columns]
    try:
        return np.stack(np.broadcast_arrays(*values), axis=-1)
    except ValueError as error:
        raise UsageError(
            "The columns of a condition must be equally long; got the shapes "
            f"{[value.shape for value in values]}. Give one number each, or arrays [N]."
        ) from error


def _counted(values: Array, count: int | None, single: bool) -> Array:
    if count is not None and not single and len(values) not in (1, count):
        raise UsageError(
            f"Give one condition for all, or one for each; got {len(values):,} conditions for "
            f"{count:,}."
        )
    return values


__all__ = [
    "NULL",
    "conditions_of",
    "expected",
    "given_at",
    "given_of",
    "read_condition",
    "refuse_condition",
    "require_condition",
]
