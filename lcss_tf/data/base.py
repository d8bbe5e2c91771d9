"""What every dataset is: examples by index. Also `DataInfo`, and how examples are held out."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sized
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import forms
from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data.class_names import check_from_zero
from lcss_tf.data.pipeline import Shards, index_batches
from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError
from lcss_tf.ops import spread_indices
from lcss_tf.typing import Array, Tensor

SPLITS = ("train", "test")
POLICIES = ("error", "skip")  # what to do about a bad example

# The kinds of example and their rank: an image (H, W, C), any vector or array, a signal (T, C), a
# volume or a short video (D, H, W, C), a row of a table (columns,).
RANKS = {"image": 3, "vector": None, "signal": 2, "volume": 4, "table": 1}
KINDS = tuple(RANKS)
_MOST_NAMED = 20  # classes that a message lists

_INFO = {
    "name": forms.TEXT,
    "shape": [forms.COUNT],
    "kind": forms.TEXT,
    "scaling": {
        **dict.fromkeys(("low", "high", "stored_low", "stored_high"), forms.FINITE),
        "stored_dtype": forms.TEXT,
        "levels": forms.Optional(forms.INTEGER),
        "means": forms.Optional([forms.FINITE]),
        "stds": forms.Optional([forms.FINITE]),
    },
    "columns": forms.Optional([forms.TEXT]),
    "raw_shape": forms.Optional([forms.COUNT]),
    "classes": forms.Optional([forms.TEXT]),
    "condition": forms.Optional(dict),
}


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What sampling and plotting need to know, without the data; stored beside every run.

    Attributes:
      name: of the dataset, for titles and messages.
      shape: of one example as the network sees it, e.g. (8, 8, 1) or (2,).
      kind: how to show an example: ``"image"``, ``"vector"``, ``"signal"`` (T, C), ``"volume"``
        (D, H, W, C; short videos too) or ``"table"`` (columns,).
      scaling: how the data were scaled.
      columns: the names of a table's columns, or of a signal's channels; may be empty.
      raw_shape: of one raw example where it has no channel axis, such as (28, 28) of grey images
        and () of single numbers; None: the same as `shape`.
      classes: the names of the classes that a network was told, the k-th being that of label k;
        empty where there are none, or they have no names.
      condition: of the numbers or images that stand beside the examples as their conditions, what
        this is of the examples: shape, columns, and the moments by which they are standardised.
        None: there are none.

    Raises:
      UsageError: another kind, or a shape of the wrong rank, such as an image that is not
        (H, W, C).
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    scaling: Scaling
    columns: tuple[str, ...] = ()
    raw_shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    condition: "DataInfo | None" = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "columns", tuple(self.columns))
        if self.raw_shape is not None:
            object.__setattr__(self, "raw_shape", tuple(int(size) for size in self.raw_shape))
            if self.shape not in (self.raw_shape, (*self.raw_shape, 1)):
                raise UsageError(
                    f"A raw shape is the shape {self.shape}, or it without a last axis of 1; got "
                    f"{self.raw_shape}."
                )
        if self.kind not in KINDS:
            raise UsageError(f"The kind of data is one of {KINDS}; got {self.kind!r}.")
        if self.kind == "image" and len(self.shape) != 3:
            raise UsageError(f"An image has the shape (height, width, channels); got {self.shape}.")
        if RANKS[self.kind] not in (None, len(self.shape)):
            raise UsageError(
                f"Data of the kind {self.kind!r} have {RANKS[self.kind]} axes; got {self.shape}."
            )

    def unscale(self, x: Tensor) -> Array:
        """Scaled examples in the data's own units and dtype.

        Args:
          x: [..., *shape].

        Returns:
          [..., *raw_shape]: uint8 images, float vectors and so on.
        """
        raw = self.scaling.unscale(x)
        if self.raw_shape in (None, self.shape) or raw.shape[-len(self.shape) :] != self.shape:
            return raw
        return raw[..., 0]

    def scale(self, raw: Any) -> Tensor:
        """Raw examples [N, *raw_shape] as the network sees them: float32 [N, *shape].

        Raises:
          UsageError: examples of another shape, or values that float32 cannot hold after scaling.
        """
        raw = self.with_channels(raw)
        if raw.shape[1:] != self.shape:
            expected = self.raw_shape if self.raw_shape is not None else self.shape
            raise UsageError(
                f"Expected examples [N, {', '.join(map(str, expected))}] like those of "
                f"{self.name}; got an array of shape {np.shape(raw)}."
            )
        return tf.constant(self.scaling.scale_finite(raw, "The examples"))

    def with_channels(self, raw: Array) -> Array:
        """Raw examples [..., *raw_shape] as [..., *shape]: what plots and features expect."""
        raw = np.asarray(raw)
        if self.raw_shape in (None, self.shape) or raw.shape[-len(self.shape) :] == self.shape:
            return raw
        return raw[..., None]

    def class_number(self, label: int | str) -> int:
        """The number of a class.

        Args:
          label: a class's name, or its number, as a text too. Where both could be meant, as of
            folders called 1, 2 and 3, a text is the name.

        Raises:
          UsageError: a text that is neither.
        """
        if label in self.classes:
            return self.classes.index(str(label))
        try:
            return int(label)
        except ValueError:
            named = ", ".join(self.classes[:_MOST_NAMED]) or "none"
            more = " …" if len(self.classes) > _MOST_NAMED else ""
            raise UsageError(
                f"{label!r} is no class of {self.name}. Ask for a number from 0 on, or for one of "
                f"the names: {named}{more}."
            ) from None

    def class_title(self, number: int) -> str:
        """A class for people: "3: cat", or "3" where it has no name."""
        name = self.classes[number] if 0 <= number < len(self.classes) else ""
        return f"{number}: {name}" if name and name != str(number) else str(number)

    def to_dict(self) -> dict[str, Any]:
        """A dict for JSON that `from_dict` reads."""
        fields = dataclasses.asdict(self)
        if not self.classes:
            del fields["classes"]  # as descriptions were before classes had names
        if self.condition is None:
            del fields["condition"]
        else:
            fields["condition"] = self.condition.to_dict()
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "DataInfo":
        """The `DataInfo` that `to_dict` wrote.

        Raises:
          UsageError: it is no such dict.
        """
        try:
            problem = forms.mismatch(fields, _INFO)
            if problem:
                raise ValueError(problem)
            condition = fields.get("condition")
            parts = {
                "scaling": Scaling(**fields["scaling"]),
                "condition": None if condition is None else cls.from_dict(condition),
            }
            return cls(**{**fields, **parts})
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"Not a description of data as DataInfo.to_dict writes it ({error}): "
                f"{str(fields)[:200]}"
            ) from error

    def to_json(self) -> str:
        """A JSON string that `from_json` reads."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "DataInfo":
        """The `DataInfo` that `to_json` wrote.

        Raises:
          UsageError: the text is not such a string.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                "Not a description of data as DataInfo.to_json writes it: it is not JSON "
                f"({error}): {text[:200]!r}"
            ) from error
        return cls.from_dict(fields)


class Dataset:
    """A source of examples, read by random access.

    The example at an index is a pure function of (index, split, seed). So the order of training
    depends on (seed, position) alone, and resuming is a jump.

    A constructor is cheap and reads nothing: configurations are built without their data, which are
    opened on first use. A subclass sets the attributes below and defines `size` and `examples`;
    where they apply also `require`, `labels`, `augmented` and `check_examples`.

    Attributes:
      name: for titles and messages.
      shape: of one example, e.g. (8, 8, 1) or (2,); known without the data.
      kind: how to show an example: one of `KINDS`.
      scaling: the one place that scales and unscales.
      columns: names of a table's columns, or of a signal's channels; may be empty.
      raw_shape: see `DataInfo`.
      condition: a `Dataset` of the numbers or images that stand beside the examples, by the same
        indices, as their conditions; None: there are none. Classes are `labels`.
      augmentation_size: numbers of the labels that say how examples are `augmented`, which
        ``augmentations(positions, seed)`` gives; None: there are none (see `Augmented`).
      random_access: whether training reads the examples by index, in the order of `index_batches`.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    scaling: Scaling
    columns: tuple[str, ...] = ()
    raw_shape: tuple[int, ...] | None = None
    condition: "Dataset | None" = None
    augmentation_size: int | None = None
    random_access: bool = True

    @property
    def owner(self) -> str:
        """The class whose arguments messages name."""
        return type(self).__name__

    def size(self, split: str = "train") -> int | None:
        """The number of examples of a split; None for endless data.

        Raises:
          FileNotFoundError: the data are missing.
        """
        raise NotImplementedError

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The examples at `indices`, scaled, not augmented; works in ``tf.data`` maps.

        Args:
          indices: int64 [B].
          split: ``"train"`` or ``"test"``.
          seed: only generated data depend on it.

        Returns:
          float32 [B, *shape].
        """
        raise NotImplementedError

    def labels(self, split: str = "train") -> Array | None:
        """The classes of a split, int64 [size], or None if there are none."""
        del split
        return None

    def class_names(self) -> list[str]:
        """The names of the classes, the k-th being that of label k; empty if they have none."""
        return []

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """The examples as training sees them: changed at random, e.g. mirrored.

        By default the examples as they are.

        Args:
          indices, split: as for `examples`.
          positions: int64 [B], in the order of training; with `seed` they fix every draw.
          seed: of the draws.

        Returns:
          float32 [B, *shape].
        """
        del positions
        return self.examples(indices, split, seed)

    def require(self, split: str = "train") -> None:
        """Raises at once if a split cannot be read; call it before any long work.

        Raises:
          UsageError: there is no such split.
          FileNotFoundError: the data are missing.
        """
        if split not in SPLITS:
            raise UsageError(f"{self.name} has the splits {SPLITS}; got {split!r}.")

    def check_examples(self, indices: Tensor, split: str = "train") -> None:
        """Raises a UsageError that names the first bad example among `indices`.

        It is called after reading failed, so it may be slow. By default it finds nothing.
        """
        del indices, split

    def fingerprint(self) -> dict[str, Any] | None:
        """What the data are in a few words, by which a resumed run knows them again.

        A dict for JSON, such as {"examples": 1_797, "content": "0f3a…"}: how many examples training
        sees, and a hash of what they hold. It does not depend on where the data lie. None, as by
        default: the data are generated, or nothing is known of them.

        Raises:
          FileNotFoundError: the data are missing.
        """
        return None

    def class_labels(self, num_classes: int, split: str = "train") -> Array:
        """`labels`, for a network of `num_classes` classes.

        Raises:
          UsageError: there are no labels, or some lie outside 0 .. num_classes − 1; says which.
        """
        labels = self.labels(split)
        if labels is None:
            raise UsageError(
                f"The network has num_classes = {num_classes}, and {self.name} has no labels. Use "
                "data with labels, or leave num_classes out."
            )
        check_from_zero(labels, f"{self.name}, split {split!r},")
        if len(labels) and labels.max() >= num_classes:
            raise UsageError(
                f"The labels of {self.name} run from {labels.min()} to {labels.max()}, and the "
                f"network has num_classes = {num_classes}: set num_classes = {labels.max() + 1}."
            )
        return labels

    def check_condition(self, spec: ConditionSpec | None, split: str = "train") -> None:
        """Raises UsageError unless a split has the conditions that a network takes, or has none.

        Labels alone may go unused. Other conditions are not modelled, so a network that is not
        told them would miss them.

        Args:
          spec: of the network; None: it takes none.
          split: ``"train"`` or ``"test"``.
        """
        if spec is not None and spec.is_class:
            self.class_labels(spec.size, split)
        if self.condition is None:
            if spec is not None and not spec.is_class:
                raise UsageError(
                    f"The network has {spec}, and {self.name} has no condition. Give one, as "
                    f"fit(x, condition=…) or where the data are made, or leave {spec.option} out."
                )
            return
        self.condition.require(split)
        found = self.condition.shape
        expected = None if spec is None else spec.shape(self.shape)
        if found != expected:
            option = "condition_size" if len(found) == 1 else "condition_channels"
            takes = "takes no condition" if spec is None else f"has {spec}"
            raise UsageError(
                f"{self.name} has conditions of shape {found}, and the network {takes}. Make it "
                f"with {option} = {found[-1]}, or leave the condition of the data out."
            )

    def conditions(
        self, spec: ConditionSpec, split: str = "train", seed: int = 0
    ) -> Callable[..., Tensor]:
        """The conditions of a split as the network takes them, a function that works in graphs.

        Args:
          spec: of the network.
          split: ``"train"`` or ``"test"``.
          seed: as of `examples` and `augmented`.

        Returns:
          (indices, positions=None) -> int32 [B], or float32 [B, ...]; with positions, of the
          examples as they are `augmented` there.

        Raises:
          UsageError: the data have none, or others.
        """
        self.check_condition(spec, split)
        if spec.is_class:
            labels = tf.constant(self.class_labels(spec.size, split), tf.int32)
            return lambda indices, positions=None: tf.gather(labels, indices)
        beside: Any = self.condition

        def load(indices: Tensor, positions: Tensor | None = None) -> Tensor:
            if positions is None:
                return beside.examples(indices, split, seed)
            return beside.augmented(indices, positions, split, seed)

        return load

    def some_conditions(
        self, spec: ConditionSpec | None, count: int, split: str = "train", seed: int = 0
    ) -> Tensor | None:
        """The conditions of `some_examples`, as a network takes them; None where it takes none."""
        if spec is None:
            return None
        return self.conditions(spec, split, seed)(self.spread_indices(count, split))

    def spread_indices(self, count: int, split: str = "train") -> Array:
        """`count` distinct indices spread evenly over a split, in increasing order.

        A split may be sorted, by class for instance, so its first examples may all be alike. The
        result depends on count and size alone; see `ops.spread_indices`.

        Args:
          count: at least 1.
          split: ``"train"`` or ``"test"``.

        Returns:
          int64 [n], n = min(count, size); 0 .. count − 1 for endless data, which are independent.

        Raises:
          UsageError: count < 1.
        """
        if count < 1:
            raise UsageError(f"At least one example must be asked for; got count = {count}.")
        size = self.size(split)
        if size is None:
            return np.arange(count, dtype=np.int64)
        return spread_indices(count, size)

    def some_examples(self, count: int, split: str = "train", seed: int = 0) -> Tensor:
        """The examples at `spread_indices`, scaled: float32 [n, *shape]."""
        return self.examples(self.spread_indices(count, split), split, seed)

    def pipeline(
        self,
        batches: tf.data.Dataset,
        split: str = "train",
        seed: int = 0,
        condition: ConditionSpec | None = None,
    ) -> tf.data.Dataset:
        """Batches of examples from batches of indices.

        Args:
          batches: a dataset of index batches, int64 [B], or of pairs (indices, positions) as
            `index_batches` makes them; with positions the examples are `augmented`.
          split: ``"train"`` or ``"test"``.
          seed: of generated data and of augmentation.
          condition: what a network takes; the batches are then pairs with the conditions.

        Returns:
          A dataset of float32 [B, *shape], or of pairs with int32 [B] or float32 [B, ...], in the
          order of `batches`, not prefetched.
        """
        self.require(split)
        conditions = None if condition is None else self.conditions(condition, split, seed)

        @tf.autograph.experimental.do_not_convert  # plain Python: data may be opened in here
        def load(indices: Tensor, positions: Tensor | None = None) -> Any:
            if positions is None:
                examples = self.examples(indices, split, seed)
            else:
                examples = self.augmented(indices, positions, split, seed)
            return examples if conditions is None else (examples, conditions(indices, positions))

        return batches.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def training_pipeline(
        self,
        global_batch: int,
        seed: int,
        start_step: int = 0,
        shards: Shards | None = None,
        condition: ConditionSpec | None = None,
    ) -> tf.data.Dataset:
        """The endless stream of training batches; arguments as for `index_batches`, `pipeline`."""
        indices = index_batches(self.size("train"), global_batch, seed, start_step, shards)
        return self.pipeline(indices, "train", seed, condition)

    def info(self) -> DataInfo:
        """The `DataInfo` to store beside a run."""
        return DataInfo(
            self.name,
            self.shape,
            self.kind,
            self.scaling,
            self.columns,
            self.raw_shape,
            condition=None if self.condition is None else self.condition.info(),
        )


class OpenedDataset(Dataset):
    """The base of data that are read and measured on first use: a subclass defines `_open`.

    `_open` returns what holds each split, {split: examples}, and sets `_scaling` and `_labels`.
    """

    _scaling: Scaling
    _labels: dict[str, Array | None]

    def _open(self) -> Mapping[str, Sized]:
        raise NotImplementedError

    @property
    def scaling(self) -> Scaling:  # type: ignore[override]  # an attribute where nothing is measured
        """Known once the data are; see `Dataset`."""
        self._open()
        return self._scaling

    def require(self, split: str = "train") -> None:
        """See `Dataset.require`; reads the data once from end to end."""
        super().require(split)
        self._open()

    def size(self, split: str = "train") -> int:
        """The number of examples of a split."""
        super().require(split)
        return len(self._open()[split])

    def labels(self, split: str = "train") -> Array | None:
        """The classes of a split, int64 [size], or None."""
        self._open()
        return self._labels[split]


def gather_on_host(held: Tensor, indices: Tensor) -> Tensor:
    """held[indices] on the CPU, where `held` lies; works in graphs.

    Elsewhere TensorFlow would copy all of `held` to the device for each batch, and a GPU gives
    zeros for an index out of range where a CPU raises.
    """
    with tf.device("CPU:0"):
        return tf.gather(held, indices)


def held_out(count: int, test_every: int) -> dict[str, Array]:
    """{"train": indices, "test": indices} of `count` examples in their fixed order.

    The first of every `test_every` is held out; the split never changes while the examples do not.
    """
    is_test = np.arange(count) % test_every == 0
    return {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}


def check_policy(policy: str, owner: str) -> None:
    """Raises a UsageError unless `policy` says what to do about a bad example."""
    if policy not in POLICIES:
        raise UsageError(f"{owner}.on_bad_example must be one of {POLICIES}; got {policy!r}.")


def check_test_every(test_every: int, owner: str) -> None:
    """Raises a UsageError unless at least every second example is left for training."""
    if test_every < 2:
        raise UsageError(f"{owner}.test_every must be at least 2; got {test_every}.")


def check_both_splits(splits: Mapping[str, Sized], what: str) -> None:
    """Raises a UsageError if a split is empty."""
    if any(len(indices) == 0 for indices in splits.values()):
        counts = {split: len(indices) for split, indices in splits.items()}
        raise UsageError(
            f"{what} leave {counts['train']} examples for training and {counts['test']} for "
            "testing; each needs at least one. Add examples."
        )


__all__ = [
    "KINDS",
    "POLICIES",
    "RANKS",
    "SPLITS",
    "DataInfo",
    "Dataset",
    "check_both_splits",
    "check_policy",
    "check_test_every",
    "gather_on_host",
    "held_out",
]
