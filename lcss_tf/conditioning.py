"""What a network is told beside x and t: a class, numbers, or an image; and how none is told.

A condition travels as one tensor, a row for each example. The **null condition**, "of any
condition", is a value of that tensor, so that a batch can hold both: the label `num_classes` of
classes, NaN of numbers. NaN never comes from data, which are refused if they hold it.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.typing import Network, Tensor

# The arguments of a network's constructor by which it takes a class, numbers or an image.
_OPTIONS = ("num_classes", "condition_size", "condition_channels")


@dataclasses.dataclass(frozen=True)
class ConditionSpec:
    """What condition a network takes.

    Attributes:
      option: the argument of the network's constructor: ``"num_classes"``, ``"condition_size"`` or
        ``"condition_channels"``.
      size: its value: classes, numbers of a vector, channels of an image.
    """

    option: str
    size: int

    @property
    def is_class(self) -> bool:
        """Whether it is a class, an integer from 0 on."""
        return self.option == "num_classes"

    @property
    def dtype(self) -> tf.DType:
        """Of the tensor: int32 of classes, else float32."""
        return tf.int32 if self.is_class else tf.float32

    @property
    def null(self) -> float:
        """The number that means "of any condition": the number of classes, or NaN."""
        return self.size if self.is_class else math.nan

    @property
    def name(self) -> str:
        """What one is called where arrays and arguments have names: "labels" or "condition"."""
        return "labels" if self.is_class else "condition"

    def shape(self, example: Sequence[int]) -> tuple[int, ...]:
        """The shape of one condition, for examples of a shape: (), (K,) or (*spatial, C')."""
        if self.option == "condition_channels":
            return (*tuple(example)[:-1], self.size)
        return () if self.is_class else (self.size,)

    def nulls(self, count: int, example: Sequence[int]) -> np.ndarray:
        """`count` null conditions, for examples of a shape."""
        return np.full((count, *self.shape(example)), self.null, self.dtype.as_numpy_dtype)

    def dropped(self, condition: Tensor, where: Tensor) -> Tensor:
        """The conditions [B, ...], null where `where`, bool [B], is true."""
        null = tf.constant(self.null, condition.dtype)
        where = tf.reshape(where, [-1] + [1] * (len(condition.shape) - 1))
        return tf.where(where, null, condition)

    def __str__(self) -> str:
        return f"{self.option} = {self.size}"


def spec_of(network: Network) -> ConditionSpec | None:
    """What condition a network takes, by its attributes; None where it takes none.

    A network of a user's own says so by an attribute of the same name as ours have.
    """
    for option in _OPTIONS:
        size = getattr(network, option, None)
        if size is not None:
            return ConditionSpec(option, int(size))
    return None


def augmentation_size_of(network: Network) -> int | None:
    """How many numbers tell a network how an example was augmented; None: it is not told."""
    return getattr(network, "augmentation_size", None)


def check_augmentation(network: Network, data: Any) -> None:
    """Raises UsageError if examples come with augmentation labels that a network does not take.

    The other way round is no error: of examples as they are, a network is told the label 0.
    """
    given, size = getattr(data, "augmentation_size", None), augmentation_size_of(network)
    if given is not None and given != size:
        raise UsageError(
            f"{data.name} is augmented, with labels of {given} numbers, and the network has "
            f"augmentation_size = {size}: not told how its examples were changed, it would draw "
            f"changed samples. Make it with augmentation_size = {given}."
        )


def check_options(**options: Any) -> None:
    """Raises UsageError if several of a network's condition arguments are given, or one below 1."""
    given = {name: size for name, size in options.items() if size is not None}
    if len(given) > 1:
        text = ", ".join(f"{name} = {size}" for name, size in given.items())
        raise UsageError(
            f"A network takes one kind of condition; got {text}. Give one of "
            f"{', '.join(_OPTIONS)}. A class beside numbers is numbers too: one column for each "
            "class, 0 or 1."
        )
    for name, size in given.items():
        if size < 1:
            raise UsageError(f"{name} must be at least 1, or None; got {size}.")


__all__ = [
    "ConditionSpec",
    "augmentation_size_of",
    "check_augmentation",
    "check_options",
    "spec_of",
]
