"""What `ScoreModel.fit` takes: arrays and ``tf.data.Dataset``s, made into `Dataset`s."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data.arrays import CHUNK_VALUES, KIND_OF_RANK
from lcss_tf.data.base import (
    RANKS,
    Dataset,
    check_both_splits,
    check_test_every,
    gather_on_host,
    held_out,
)
from lcss_tf.data.class_names import check_named
from lcss_tf.data.conditions import Conditions, Held, Opened, condition_layout
from lcss_tf.data.fingerprint import array_hash
from lcss_tf.data.moments import RunningMoments, root_mean_square, unresolved
from lcss_tf.data.numpy_files import check_dtype
from lcss_tf.data.pipeline import Shards, shard_size
from lcss_tf.data.scaling import Scaling, returned_dtype
from lcss_tf.errors import UsageError
from lcss_tf.typing import Array, Shape, Tensor

BUFFER_EXAMPLES = 4_096  # of a tf.data.Dataset that are held, at most
_BUFFER_VALUES = 2**26  # numbers that are held, unless of two examples
_GREY_RANK = 2  # of a uint8 example (H, W) without a channel axis


def from_user(
    data: Any,
    labels: Any = None,
    test_every: int | None = None,
    validation: Any = None,
    condition: Any = None,
) -> Dataset:
    """A `Dataset` of whatever a user passes as data.

    Args:
      data: one of these.

        - An object of `lcss_tf.data`, which is returned as it is.
        - An array [N, *shape], or anything that ``np.asarray`` takes, see `InMemory`.
        - A pair (a tuple) of such an array and integer labels [N].
        - A ``tf.data.Dataset`` of examples x, or of pairs (x, label) or (x, condition), see
        `FromTFData`.
      labels: classes 0, 1, … of the examples, integers [N], if they are not part of `data`.
      test_every: of an array: hold out the first of every so many examples as the test split.
      validation: held-out examples in the units of `data`, for the test split: an array or a pair
        (x, labels); with a condition a pair (x, condition).
      condition: what a network is told of the examples, if it is not part of `data`: integers [N]
        are labels; floats [N] or numbers [N, K] are vectors; [N, ..., C'] of the sides of the
        examples are images.

    Raises:
      UsageError: data that cannot be used; says what was received, and the remedy.
    """
    if hasattr(data, "examples") and hasattr(data, "pipeline"):
        given = {"labels": labels, "test_every": test_every, "condition": condition}
        for name, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{data.name} is a dataset already, which has its own labels, conditions and "
                    f"splits; got {name} as well. Leave {name} out, or set it where the dataset is "
                    "made."
                )
        if validation is not None:
            raise UsageError(
                f"{data.name} is a dataset already, with a test split of its own; got validation "
                "as well. Leave it out."
            )
        return data
    if isinstance(data, tf.data.Dataset):
        if any(value is not None for value in (labels, test_every, condition)):
            raise UsageError(
                "The labels of a tf.data.Dataset are part of it, as pairs (x, label), and so are "
                "conditions, as pairs (x, condition); its held-out examples are passed by "
                "validation; got labels, condition or test_every. Use "
                "tf.data.Dataset.zip((x, labels)), or pass arrays."
            )
        return FromTFData(data, validation=validation)
    x, labels = _pair(data, labels, "data")
    labels, condition = labels_and_condition(labels, condition)
    return InMemory(x, labels, test_every=test_every, validation=validation, condition=condition)


def labels_and_condition(labels: Any, condition: Any) -> tuple[Any, Any]:
    """(labels, condition) of what a user passes: integers [N] as a condition are labels.

    Raises:
      UsageError: both labels and a condition that is classes.
    """
    if condition is None:
        return labels, None
    values = np.asarray(condition)
    if values.ndim != 1 or values.dtype.kind not in "ui":
        return labels, condition
    if labels is not None:
        raise UsageError(
            "A condition of integers [N] is the classes of the examples, and so are labels; got "
            "both. Leave one out, or pass numbers as floats: condition.astype(float)."
        )
    return values, None


def _pair(data: Any, labels: Any, what: str) -> tuple[Any, Any]:
    """(x, labels) of an array or a pair; a tuple is a pair."""
    if not isinstance(data, tuple):
        return data, labels
    if len(data) != 2:
        raise UsageError(
            f"A tuple of {what} is a pair (x, labels); got {len(data)} entries. Stack "
            "examples into one array: numpy.stack(examples)."
        )
    if labels is not None:
        raise UsageError(f"The pair (x, labels) has labels; got labels beside {what} as well.")
    return data


class InMemory(Dataset):
    """An array of examples, held in memory; samples come back in its units, shape and dtype.

    | x | kind | scaled by | comes back as |
    |---|---|---|---|
    | uint8 [N, H, W, C], or grey [N, H, W] | image | 0..255 → [−1, 1] | uint8, of the same shape |
    | other uint8 | by rank | 0..255 → [−1, 1] | uint8 |
    | float [N, D] | vector | mean and standard deviation of each feature | its own dtype |
    | float [N] | vector | mean and standard deviation | [N], its own dtype |
    | float [N, T, C] | signal | one mean and standard deviation for all values | its own dtype |
    | float [N, H, W, C] | image | as signals | its own dtype |
    | float [N, D, H, W, C] | volume | as signals | its own dtype |

    "Float" means float16, float32 and float64. Other integers are treated as floats and come back
    as NumPy promotes them with float32: 8 and 16 bits as float32, 32 and 64 bits as float64.

    Moments and differences from the mean are taken in float64 before anything becomes float32, so
    large offsets, such as times in seconds since 1970, cost no digits. A feature that never changes
    is scaled by the root mean square of the other features' standard deviations.

    Args:
      x: [N, *shape], N at least 2; the moments are those of the training examples.
      labels: classes 0, 1, … of the examples, integers [N]; None: none.
      kind: one of `KINDS`, if not as the table says. Where it has one axis more than an example, as
        ``kind="image"`` for float [N, H, W], a channel axis is added, and removed from samples.
      test_every: hold out the first of every so many examples as the test split; None: none.
      validation: in place of it the held-out examples, an array or a pair (x, labels); with a
        condition a pair (x, condition).
      name: for titles and messages.
      condition: what a network is told of each example: numbers [N] or [N, K], or images of the
        sides of the examples, [N, ..., C'] or [N, ...]. See `Conditions`.
      class_names: the names of the classes, the k-th being that of label k.

    Raises:
      UsageError: x is no array of numbers, is empty, constant, or holds NaN, infinity or values
        beyond the range of float32 after scaling; labels that are not one integer for each example;
        a condition of other shape, or with NaN or infinity.
    """

    def __init__(
        self,
        x: Any,
        labels: Any = None,
        kind: str | None = None,
        test_every: int | None = None,
        validation: Any = None,
        name: str = "array",
        condition: Any = None,
        class_names: Sequence[str] = (),
    ) -> None:
        if test_every is not None and validation is not None:
            raise UsageError(
                "Held-out examples are chosen by test_every or passed as validation; got both. "
                "Leave one out."
            )
        self.name = name
        x = _as_array(x, "x")
        if len(x) < 2:
            raise UsageError(f"x must hold at least 2 examples; got an array of shape {x.shape}.")
        self.kind, self.shape, self.raw_shape = _layout(x.shape[1:], x.dtype, kind)
        splits = {"train": x, "test": x[:0]}
        told = None if condition is None else self._told(condition, len(x), "condition")
        beside = {} if told is None else {"train": told, "test": told[:0]}
        classes = _as_labels(labels, len(x), "labels")
        self._labels: dict[str, Array | None] = {"train": classes, "test": None}
        if test_every is not None:
            check_test_every(test_every, type(self).__name__)
            chosen = held_out(len(x), test_every)
            check_both_splits(chosen, "The examples of x")
            splits = {split: x[k] for split, k in chosen.items()}
            if classes is not None:
                self._labels = {split: classes[k] for split, k in chosen.items()}
            if told is not None:
                beside = {split: told[k] for split, k in chosen.items()}
        elif validation is not None:
            splits["test"], second = self._validation(validation, x)
            if told is None:
                count = len(splits["test"])
                self._labels["test"] = _as_labels(second, count, "the labels of validation")
            else:
                beside["test"] = self._held_out_condition(second, len(splits["test"]), told)
        self._class_names = list(class_names)
        for part in self._labels.values():
            if part is not None and class_names:
                check_named(part, self._class_names, name)
        if told is not None:
            self.condition = self._conditions(beside)
        self.scaling = _measured(splits["train"], self.kind)
        self._hash = array_hash(splits["train"], self._labels["train"])
        self._scaled = {split: self._held(part, split) for split, part in splits.items()}

    def _told(self, condition: Any, count: int, what: str) -> Array:
        told = _as_array(condition, what)
        if len(told) != count:
            raise UsageError(
                f"{what} must have one row for each of the {count:,} examples; got an array of "
                f"shape {told.shape}."
            )
        return told

    def _held_out_condition(self, second: Any, count: int, told: Array) -> Array:
        if second is None:
            raise UsageError(
                "The data have a condition, and validation has none. Pass the pair "
                "validation=(x, condition)."
            )
        held = self._told(second, count, "the condition of validation")
        if held.shape[1:] != told.shape[1:]:
            raise UsageError(
                f"The condition of validation must look like condition: [N, "
                f"{', '.join(map(str, told.shape[1:]))}]; got the shape {held.shape}."
            )
        return held.astype(told.dtype)

    def _conditions(self, beside: dict[str, Array]) -> Conditions:
        what = f"The condition of {self.name}"
        shape, raw_shape = condition_layout(beside["train"].shape[1:], self.shape, what)
        raw = {split: Held(values) for split, values in beside.items()}
        made = Conditions(what, lambda: Opened(raw, shape, raw_shape=raw_shape))
        made.info()  # measured now, so that what cannot be used is told at once
        return made

    def _validation(self, validation: Any, x: Array) -> tuple[Array, Any]:
        held, second = _pair(validation, None, "validation")
        held = _as_array(held, "validation")
        if held.shape[1:] != x.shape[1:] or (held.dtype == np.uint8) != (x.dtype == np.uint8):
            raise UsageError(
                f"validation must look like x: {x.dtype} [N, {', '.join(map(str, x.shape[1:]))}]; "
                f"got {held.dtype} of shape {held.shape}."
            )
        return held, second

    def _held(self, raw: Array, split: str) -> Tensor:
        """The tensor that is kept: bytes as they are, other numbers scaled."""
        raw = raw.reshape(len(raw), *self.shape)
        with tf.init_scope(), tf.device("CPU:0"):
            if raw.dtype == np.uint8:
                return tf.constant(raw)
            scaled = np.empty(raw.shape, np.float32)
            what = "The examples of x" if split == "train" else "The held-out examples"
            for part in _chunks(raw):
                name = lambda i, first=part.start: f"example {first + i:,}"
                scaled[part] = self.scaling.scale_finite(raw[part].astype(np.float64), what, name)
            return tf.constant(scaled)

    def size(self, split: str = "train") -> int | None:
        """The number of examples of a split; 0 of a test split that was not asked for."""
        return self._num_held(split)

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`."""
        return {"examples": self.size("train"), "content": self._hash}

    def _num_held(self, split: str) -> int:
        Dataset.require(self, split)
        return int(self._scaled[split].shape[0])

    def require(self, split: str = "train") -> None:
        """See `Dataset.require`.

        Raises:
          UsageError: there are no held-out examples; says how to get some.
        """
        super().require(split)
        if not self._num_held(split):
            raise UsageError(
                f"{self.name} has no held-out examples. Pass test_every=10, say, to hold out every "
                "tenth, or validation=x_held_out."
            )

    def labels(self, split: str = "train") -> Array | None:
        """The classes of a split, int64 [size], or None."""
        Dataset.require(self, split)
        return self._labels[split]

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`."""
        return list(self._class_names)

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The examples at `indices`; see `Dataset.examples`. The seed changes nothing."""
        del seed
        Dataset.require(self, split)
        some = gather_on_host(self._scaled[split], tf.cast(indices, tf.int64))
        return some if some.dtype == tf.float32 else self.scaling.scale(some)


class FromTFData(InMemory):
    """A ``tf.data.Dataset`` of examples x, or of pairs, finite or endless.

    **Pairs** are (x, label), a label an integer; or (x, condition), a condition floats [K] or an
    image [..., C'] of the sides of x.

    **Order.** The order is that of the dataset, which is repeated when it ends. Nothing is shuffled
    here: call its ``shuffle`` before. Resuming at step n reads n batches and drops them, which
    costs the time to read them. Resumed training sees the same examples, and several workers share
    a global batch, only if every iteration over the dataset yields the same order: give
    ``shuffle`` a seed and ``reshuffle_each_iteration=False``.

    **Batches.** A dataset whose examples have an unknown leading size (as ``batch`` makes) is
    unbatched; so is one of pairs where x and label have the same known leading size. Any other
    element is one example. If it is batched with ``drop_remainder=True``, call ``unbatch`` first.

    **Random access.** There is none. The first 4,096 examples (fewer if large) are held in memory:
    the kind and the scaling are measured on them, as `InMemory` does, and `examples(indices)` and
    `labels` know only these. The size of a longer dataset is None, as if it were endless.

    Args:
      dataset: its x are numbers of one known shape, its labels integers.
      kind, validation, name: see `InMemory`.

    Raises:
      UsageError: other elements, fewer than two examples; see also `InMemory`.
    """

    random_access = False

    def __init__(
        self,
        dataset: tf.data.Dataset,
        kind: str | None = None,
        validation: Any = None,
        name: str = "tf.data",
    ) -> None:
        dataset, self._paired = _single_examples(dataset)
        spec = tf.nest.flatten(dataset.element_spec)[0]
        values = max(1, spec.shape.num_elements())
        most = max(2, min(BUFFER_EXAMPLES, _BUFFER_VALUES // values))
        buffered = list(itertools.islice(dataset.as_numpy_iterator(), most + 1))
        if len(buffered) < 2:
            raise UsageError(
                f"A tf.data.Dataset to train on must yield at least 2 examples; got "
                f"{len(buffered)}. Check its filters."
            )
        self._is_whole = len(buffered) <= most
        examples: Sequence[Any] = buffered[:most]
        labels = condition = None
        if self._paired:
            examples, second = zip(*examples, strict=True)
            told = np.stack(second)
            labels, condition = (told, None) if told.dtype.kind in "ui" and told.ndim == 1 else (
                None, told
            )  # fmt: skip
        if isinstance(validation, tf.data.Dataset):
            validation = _all_of(validation)
        super().__init__(
            np.stack(examples), labels, kind, None, validation, name, condition=condition
        )
        self._dataset = dataset

    def size(self, split: str = "train") -> int | None:
        """The number of examples; None for a dataset that is longer than what is held."""
        size = self._num_held(split)
        return size if split == "test" or self._is_whole else None

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`; of data in any order, so that only their number counts."""
        return {"examples": self.size("train")}

    def spread_indices(self, count: int, split: str = "train") -> Array:
        """See `Dataset.spread_indices`; of a long dataset, among the examples that are held."""
        held = self._num_held(split)
        return super().spread_indices(min(count, held) if held else count, split)

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The examples at `indices`, which must be held; see `Dataset.examples`.

        Raises:
          UsageError: an index beyond the examples that are held.
        """
        indices = tf.convert_to_tensor(indices)
        if tf.executing_eagerly():
            self.check_examples(indices, split)
        return super().examples(indices, split, seed)

    def check_examples(self, indices: Tensor, split: str = "train") -> None:
        """See `Dataset.check_examples`: raises a UsageError for an index beyond those held."""
        held = self._num_held(split)
        beyond = np.asarray(indices)[np.asarray(indices) >= held]
        if beyond.size:
            raise UsageError(
                f"A tf.data.Dataset has no random access: the first {held:,} examples of the split "
                f"{split!r} are held in memory; got the index {beyond[0]:,}. Ask for lower "
                "indices, or pass the data as an array."
            )

    def training_pipeline(
        self,
        global_batch: int,
        seed: int,
        start_step: int = 0,
        shards: Shards | None = None,
        condition: ConditionSpec | None = None,
    ) -> tf.data.Dataset:
        """See `Dataset.training_pipeline`. The seed changes nothing: the order is the dataset's."""
        del seed
        shards = ((0, global_batch),) if shards is None else tuple(shards)
        self.check_condition(condition)
        first_of, size_of = (tf.constant(part, tf.int64) for part in zip(*shards, strict=True))
        static = shard_size(shards)

        def split(x: Tensor, told: Tensor = None) -> tf.data.Dataset:
            def shard(k: Tensor) -> Any:
                part = slice(first_of[k], first_of[k] + size_of[k])
                raw = tf.reshape(x[part], [-1, *self.shape])
                examples = self.scaling.scale(raw)
                examples = tf.ensure_shape(examples, [static, *self.shape])
                if condition is None:
                    return examples
                given = self._class_of if condition.is_class else self._condition_of
                return examples, given(told[part], static, condition.size)

            return tf.data.Dataset.range(len(shards)).map(shard)

        batches = self._dataset.repeat().batch(global_batch, drop_remainder=True)
        return batches.skip(start_step).flat_map(tf.autograph.experimental.do_not_convert(split))

    def _class_of(self, labels: Tensor, count: int | None, num_classes: int) -> Tensor:
        some = tf.ensure_shape(tf.cast(labels, tf.int32), [count])
        known = tf.reduce_all((some >= 0) & (some < num_classes))
        check = tf.debugging.Assert(known, ["labels out of 0 .. num_classes - 1:", some])
        with tf.control_dependencies([check]):
            return tf.identity(some)

    def _condition_of(self, raw: Tensor, count: int | None, size: int) -> Tensor:
        del size
        beside: Any = self.condition
        scaled = beside.scaling.scale(tf.reshape(raw, [-1, *beside.shape]))
        scaled = tf.ensure_shape(scaled, [count, *beside.shape])
        finite = tf.reduce_all(tf.math.is_finite(scaled))
        check = tf.debugging.Assert(finite, ["a condition holds NaN or infinity"])
        with tf.control_dependencies([check]):
            return tf.identity(scaled)


def _single_examples(dataset: tf.data.Dataset) -> tuple[tf.data.Dataset, bool]:
    """The dataset unbatched, and whether it yields pairs with labels or conditions."""
    spec = dataset.element_spec
    parts: tuple[Any, ...] = spec if isinstance(spec, tuple) else (spec,)
    if len(parts) not in (1, 2) or not all(isinstance(part, tf.TensorSpec) for part in parts):
        raise UsageError(
            "A tf.data.Dataset to train on yields examples x or pairs (x, label) or (x, "
            f"condition); got {spec}. "
            "Choose them by dataset.map(lambda element: (element['image'], element['label']))."
        )
    if any(part.shape.rank is None for part in parts):
        raise UsageError(
            f"The examples of a tf.data.Dataset need a known rank; got {spec}. Set it in a map by "
            "tf.ensure_shape(x, shape)."
        )
    paired = len(parts) == 2
    x = parts[0]
    batched = x.shape.rank > 0 and x.shape[0] is None
    # Whole numbers are labels, one an example; floats, and images of bytes, are conditions.
    rank = parts[1].shape.rank - batched if paired else 0
    told = paired and rank >= 1 and (parts[1].dtype.is_floating or rank > 1)
    labelled = paired and not told
    if x.dtype.is_bool or not (x.dtype.is_integer or x.dtype.is_floating):
        raise UsageError(
            f"The examples of a tf.data.Dataset must be numbers; got {x.dtype.name}. Convert "
            "them in a map by tf.cast, or decode them."
        )
    if labelled and not (parts[1].dtype.is_integer and parts[1].shape.rank <= 1):
        raise UsageError(
            "The labels of a tf.data.Dataset must be one integer for each example; got "
            f"{parts[1].dtype.name} of shape {parts[1].shape}. Of one-hot labels take tf.argmax."
        )
    if told and parts[1].dtype.is_bool:
        raise UsageError(
            "The conditions of a tf.data.Dataset must be numbers; got bool. Convert them in a map "
            "by tf.cast."
        )
    if labelled and parts[1].shape.rank == 1:
        batched = True
        if x.shape.rank < 1 or x.shape[0] != parts[1].shape[0]:
            raise UsageError(
                "The labels of a tf.data.Dataset must be one integer for each example; got labels "
                f"of shape {parts[1].shape} for x of shape {x.shape}."
            )
    if not (x.shape[1:] if batched else x.shape).is_fully_defined():
        raise UsageError(
            f"The examples of a tf.data.Dataset need one known shape; got {x.shape}. Resize them, "
            "and set the shape in a map by tf.ensure_shape(x, shape)."
        )
    if len(parts) == 1 and isinstance(spec, tuple):
        dataset = dataset.map(lambda x: x)
    return (dataset.unbatch() if batched else dataset), paired


def _all_of(dataset: tf.data.Dataset) -> Any:
    """The first `BUFFER_EXAMPLES` examples of a dataset: an array, or a pair."""
    dataset, paired = _single_examples(dataset)
    held = list(itertools.islice(dataset.as_numpy_iterator(), BUFFER_EXAMPLES))
    if not held:
        raise UsageError("The validation data are empty. Pass at least one example.")
    return tuple(map(np.stack, zip(*held, strict=True))) if paired else np.stack(held)


def _as_array(x: Any, what: str) -> Array:
    hidden = int(np.ma.getmaskarray(x).sum()) if np.ma.isMaskedArray(x) else 0
    if hidden:
        raise UsageError(
            f"{what} is a masked array, and {hidden:,} of its numbers are hidden. Fill "
            "them, x.filled(0), or leave out their examples."
        )
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise UsageError(
            f"{what} must be an array of equal examples [N, ...]; NumPy cannot make one ({error}). "
            "Resize or pad the examples to one shape."
        ) from error
    check_dtype(array.dtype, what)
    if array.ndim < 1 or 0 in array.shape:
        raise UsageError(
            f"{what} must hold examples [N, ...]; got an array of shape {array.shape}."
        )
    for part in _chunks(array):
        finite = np.isfinite(array[part].reshape(len(array[part]), -1)).all(axis=1)
        if not finite.all():
            bad = part.start + int(np.argmin(finite))
            raise UsageError(
                f"{what} holds NaN or infinity; the first is in example {bad:,} of {len(array):,}. "
                "Remove such examples: x[numpy.isfinite(x.reshape(len(x), -1)).all(axis=1)]."
            )
    return array


def _as_labels(labels: Any, count: int, what: str) -> Array | None:
    if labels is None:
        return None
    labels = np.asarray(labels)
    whole = labels.dtype.kind in "ui" or (
        labels.dtype.kind == "f" and np.isfinite(labels).all() and np.all(labels % 1 == 0)
    )
    if not whole or labels.shape != (count,):
        raise UsageError(
            f"{what} must be one integer for each of the {count:,} examples; got {labels.dtype} of "
            f"shape {labels.shape}. Of one-hot labels take labels.argmax(axis=1)."
        )
    return labels.astype(np.int64)


def _layout(
    raw_shape: Shape, dtype: np.dtype, kind: str | None
) -> tuple[str, tuple[int, ...], tuple[int, ...] | None]:
    """(kind, shape, raw_shape): what an example is; raw_shape None where it has all axes."""
    raw_shape = tuple(raw_shape)
    rank = len(raw_shape)
    if kind is None:
        grey = dtype == np.uint8 and rank == _GREY_RANK
        kind = "image" if grey else KIND_OF_RANK.get(max(rank, 1))
    if kind not in RANKS:
        raise UsageError(
            f"Examples have 0 to 4 axes (the last are channels), or a kind of {tuple(RANKS)}; got "
            f"examples of shape {raw_shape} and the kind {kind!r}. Reshape x, or pass "
            'kind="vector".'
        )
    wanted = max(rank, 1) if RANKS[kind] is None else RANKS[kind]
    if wanted == rank:
        return kind, raw_shape, None
    if wanted == rank + 1:
        return kind, (*raw_shape, 1), raw_shape
    raise UsageError(
        f"Examples of the kind {kind!r} have {wanted} axes, the last of which may be left out; got "
        f"the shape {raw_shape}. Reshape x, or choose another kind."
    )


def _measured(x: Array, kind: str) -> Scaling:
    """The scaling of training examples: bytes by their range, others by their moments."""
    by_feature = kind in ("vector", "table") and x.ndim <= 2
    moments = RunningMoments(axis=0 if by_feature else None)
    for part in _chunks(x):
        moments.add(x[part].astype(np.float64))
    constant = np.atleast_1d(moments.constant(x.dtype))
    low, high = float(np.min(moments.low)), float(np.max(moments.high))
    if constant.all():
        raise UsageError(
            f"{_all_alike(low, high, by_feature)}: there is nothing to learn. Check how x was made."
        )
    if x.dtype == np.uint8:
        return Scaling.for_images()
    means, stds = np.atleast_1d(moments.mean), np.atleast_1d(moments.std)
    stds = np.where(constant, root_mean_square(stds[~constant]), stds)
    scaling = Scaling.standardising(means, stds, returned_dtype(x.dtype))
    some = x[:: -(-len(x) // BUFFER_EXAMPLES)]
    lost = unresolved(some, scaling) & ~(constant if by_feature else False)
    if lost.any():
        k = int(np.argmax(lost))
        feature = x[..., k] if x.ndim > 1 else x
        raise UsageError(
            f"Feature {k} of x has values from {feature.min():g} to {feature.max():g}, and x from "
            f"{low:g} to {high:g}: most of them become one number in float32 after scaling. Remove "
            "outliers, or rescale x: by a logarithm, or features of different sizes by themselves."
        )
    return scaling


def _all_alike(low: float, high: float, by_feature: bool) -> str:
    if low == high:
        return f"All numbers of x are {low:g}"
    each = "each feature of x holds one number" if by_feature else "they are one number"
    return (
        f"The numbers of x, from {low!r} to {high!r}, differ by no more than rounding does: {each}"
    )


def _chunks(x: Array) -> list[slice]:
    """Slices of the first axis, of some million numbers each."""
    step = max(1, CHUNK_VALUES * len(x) // max(1, x.size))
    return [slice(start, start + step) for start in range(0, len(x), step)]


__all__ = ["FromTFData", "InMemory", "from_user", "labels_and_condition"]
