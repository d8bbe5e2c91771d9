"""Numbers or images that stand beside examples, by the same indices: what a network is told."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from lcss_tf.data.base import OpenedDataset, gather_on_host
from lcss_tf.data.fingerprint import array_hash
from lcss_tf.data.images import flips_at, mirrored
from lcss_tf.data.moments import RunningMoments, root_mean_square, unresolved
from lcss_tf.data.pipeline import progress_bar
from lcss_tf.data.scaling import Scaling, returned_dtype
from lcss_tf.errors import UsageError
from lcss_tf.ops import spread_indices
from lcss_tf.typing import Array, Shape, Tensor

_CHUNK_VALUES = 2**22  # numbers read at a time where they are measured
_HASHED = 64  # conditions by which those that are not in memory are known again
_RANKS = {1: "vector", 2: "signal", 3: "image", 4: "volume"}


class RawConditions(Protocol):
    """The conditions of one split, as they are stored."""

    def __len__(self) -> int:
        """How many there are."""

    def gather(self, indices: Tensor) -> Tensor:
        """Those at `indices` (int64 [B]), raw, [B, *raw_shape]; works in graphs."""


class Held:
    """Raw conditions [N, ...] in memory."""

    def __init__(self, values: Array) -> None:
        native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
        with tf.init_scope(), tf.device("CPU:0"):
            self._values = tf.constant(native)

    def __len__(self) -> int:
        return int(self._values.shape[0])

    def gather(self, indices: Tensor) -> Tensor:
        """See `RawConditions`."""
        return gather_on_host(self._values, tf.cast(indices, tf.int64))


class Opened(NamedTuple):
    """What a source of conditions finds when it is opened.

    raw: the `RawConditions` of each split; a split that is not there is empty, or None. shape: of
    one, with its channel axis. columns: the names of its numbers. raw_shape: as stored, where it
    has no channel axis.
    """

    raw: Mapping[str, RawConditions | None]
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()
    raw_shape: tuple[int, ...] | None = None


class Conditions(OpenedDataset):
    """Conditions beside a dataset's examples, by the same indices.

    Each column, or channel, has mean 0 and variance 1 over the training split. So what a network
    learns does not depend on their units: it is the same for y and for a·y + b. Moments are taken
    in float64 before anything becomes float32.

    Args:
      name: for messages: "the condition of a.csv".
      open_raw: () -> `Opened`; called on first use.
      most: training conditions that are measured, spread evenly; None: all.
      flip: whether a condition is mirrored left to right where its example is.
    """

    def __init__(
        self,
        name: str,
        open_raw: Callable[[], Opened],
        most: int | None = None,
        flip: bool = False,
    ) -> None:
        self.name = name
        self._open_raw, self._most, self._flip = open_raw, most, flip
        self._found: Opened | None = None
        self._labels = {"train": None, "test": None}

    def _description(self) -> Opened:
        if self._found is None:
            with tf.init_scope():  # outside any graph that is being traced
                found = self._open_raw()
                self._scaling = self._measured(found)
            self._found = found
        return self._found

    def _open(self) -> Mapping[str, Any]:
        return {split: () if raw is None else raw for split, raw in self._description().raw.items()}

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]  # known once they are read
        """Of one condition: (K,) or (*spatial, channels)."""
        return self._description().shape

    @property
    def kind(self) -> str:  # type: ignore[override]
        """As of a dataset."""
        return "table" if self.columns else _RANKS[len(self.shape)]

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names of a vector's numbers; may be empty."""
        return self._description().columns

    @property
    def raw_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """See `DataInfo`."""
        return self._description().raw_shape

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`; of some that are spread evenly."""
        raw: Any = self._open()["train"]
        some = np.asarray(raw.gather(tf.constant(spread_indices(_HASHED, len(raw)))))
        return {"examples": len(raw), "content": array_hash(some)}

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The conditions at `indices`, standardised; see `Dataset.examples`."""
        del seed
        return self._scaled(self._gathered(indices, split))

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """The conditions, mirrored where their examples are; see `Dataset.augmented`."""
        raw = self._gathered(indices, split)
        return self._scaled(mirrored(raw, flips_at(positions, seed)) if self._flip else raw)

    def _gathered(self, indices: Tensor, split: str) -> Tensor:
        raw: Any = self._open()[split]
        values = raw.gather(tf.convert_to_tensor(indices, tf.int64))
        return tf.reshape(values, [-1, *self.shape])

    def _scaled(self, raw: Tensor) -> Tensor:
        return tf.ensure_shape(self.scaling.scale(raw), raw.shape)

    def _measured(self, found: Opened) -> Scaling:
        raw: Any = found.raw["train"]
        chosen = spread_indices(self._most or len(raw), len(raw))
        step = max(1, _CHUNK_VALUES // max(1, math.prod(found.shape)))
        moments, dtype = RunningMoments(axis=0), np.dtype(np.float32)
        some: list[Array] = []
        with progress_bar(len(chosen), self.name, "conditions") as bar:
            for start in range(0, len(chosen), step):
                part = np.asarray(raw.gather(tf.constant(chosen[start : start + step])))
                dtype, flat = part.dtype, part.reshape(-1, found.shape[-1])
                moments.add(flat.astype(np.float64))
                some = some or [flat]
                bar.update(len(part))
        return standardising(moments, some[0], dtype, self.name, found.columns)


def standardising(
    moments: RunningMoments,
    some: Array,
    dtype: np.dtype,
    what: str,
    columns: tuple[str, ...] = (),
) -> Scaling:
    """The scaling of conditions by measured moments.

    Args:
      moments: of each column or channel.
      some: conditions [n, columns], on which it is checked that float32 resolves them.
      dtype: as they are stored.
      what: whose they are, for messages.
      columns: their names; then none of them may be constant.

    Raises:
      UsageError: nothing that varies, or columns that float32 cannot hold.
    """
    constant = np.atleast_1d(moments.constant(dtype))
    named = lambda chosen: [columns[k] if columns else int(k) for k in np.flatnonzero(chosen)]
    if constant.all() or (columns and constant.any()):
        raise UsageError(
            f"{what} holds the same number for every example in the columns {named(constant)}, so "
            "there is nothing to be told. Leave them out."
        )
    stds = np.where(constant, root_mean_square(moments.std[~constant]), moments.std)
    scaling = Scaling.standardising(moments.mean, stds, returned_dtype(dtype))
    scaling.scale_finite(np.stack([moments.low, moments.high]), what, lambda _: "an example")
    lost = unresolved(some, scaling) & ~constant
    if lost.any():
        raise UsageError(
            f"{what} holds a few numbers so far from the others, in the columns {named(lost)}, "
            "that these become one number in float32. Remove such outliers, or rescale the "
            "columns, e.g. by a logarithm."
        )
    return scaling


def condition_layout(
    raw_shape: Shape, example: Shape, what: str
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """(shape, raw_shape) of conditions beside examples; raw_shape None where it has all axes.

    Args:
      raw_shape: of one condition: () or (K,) of numbers, (*spatial) or (*spatial, C') of an image.
      example: the shape of an example, with its channel axis.
      what: whose it is, for messages.

    Raises:
      UsageError: neither; names both shapes, and the remedy.
    """
    raw_shape, spatial = tuple(raw_shape), tuple(example)[:-1]
    if not raw_shape:
        return (1,), ()
    if len(raw_shape) == 1:
        return raw_shape, None
    if raw_shape == spatial:
        return (*raw_shape, 1), raw_shape
    if spatial and raw_shape[:-1] == spatial:
        return raw_shape, None
    image = f", or an image [{', '.join(map(str, spatial))}, channels]" if spatial else ""
    raise UsageError(
        f"{what} must be numbers [K] for each example{image}; got the shape {raw_shape} for "
        f"examples of shape {tuple(example)}. Resize it to the sides of the examples, or make a "
        "vector of it: reshape(len(condition), -1)."
    )


__all__ = [
    "Conditions",
    "Held",
    "Opened",
    "RawConditions",
    "condition_layout",
    "standardising",
]
