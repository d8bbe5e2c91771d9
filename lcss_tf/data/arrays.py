"""Equal arrays of numbers in files: `Arrays` for what NumPy saved, and the base of such sources.

Arrays are memory-mapped for inspection and read by offset for training. A `Segment` is a run of
examples of one dtype at equal distances in one file: the first axis of a ``.npy`` file, or the
windows of a recording. A `Store` gives the examples of some segments by index, from memory if they
are small, otherwise from the files as they are needed.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.data.base import (
    OpenedDataset,
    check_both_splits,
    check_policy,
    check_test_every,
    gather_on_host,
    held_out,
)
from lcss_tf.data.class_names import check_named
from lcss_tf.data.conditions import Conditions, Opened, condition_layout
from lcss_tf.data.files import absolute, read_range, why_unreadable
from lcss_tf.data.fingerprint import array_hash, bytes_hash, spread
from lcss_tf.data.moments import RunningMoments, unresolved
from lcss_tf.data.numpy_files import (
    Stored,
    check_dtype,
    is_archive,
    member_names,
    read_member,
    read_numpy,
)
from lcss_tf.data.pipeline import progress_bar
from lcss_tf.data.scaling import Scaling, returned_dtype
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array, Shape, Tensor

MEMORY_BYTES = 2**30  # data up to this size are held in memory
CHUNK_VALUES = 2**22  # numbers read at a time where all examples are read once
KIND_OF_RANK = {1: "vector", 2: "signal", 3: "image", 4: "volume"}  # by the rank of one example
_PARALLEL = 16  # examples of one batch read at once
_LABELS = "labels"
_TINY = 1e-30  # a spread at which float32's smallest numbers, taken as 0, would show
_SAMPLE = 256  # examples on which it is checked that float32 resolves them


class Segment(NamedTuple):
    """A run of examples in one file.

    array: [n, *shape], often memory-mapped. path: the file; None: in memory only. offset: of the
    first example, in bytes. stride: bytes from one example to the next.
    """

    array: Array
    path: str | None
    offset: int
    stride: int


def scan(
    segments: Sequence[Segment], low: float = -np.inf, high: float = np.inf
) -> tuple[Array, RunningMoments]:
    """One pass over all examples.

    Args:
      segments: the examples.
      low, high: what may not be passed.

    Returns:
      A bool array [N], False where an example holds NaN, infinity or a value beyond the limits; and
      the moments of all values of the others.
    """
    good, moments = [], RunningMoments()
    for part in _parts(segments):
        finite = (np.isfinite(part) & (part >= low) & (part <= high)).all(axis=1)
        good.append(finite)
        if finite.any() and part.size:
            moments.add(part[finite])
    return np.concatenate(good) if good else np.zeros(0, bool), moments


def _parts(segments: Sequence[Segment]) -> Iterator[Array]:
    """All examples in order, float64 [n, values], some at a time."""
    count = sum(len(segment.array) for segment in segments)
    with progress_bar(count, "arrays", "examples") as bar:
        for segment in segments:
            array = segment.array
            values = int(np.prod(array.shape[1:]))
            step = max(1, CHUNK_VALUES // max(1, values))
            for start in range(0, len(array), step):
                part = np.asarray(array[start : start + step], np.float64)
                yield part.reshape(-1, values)
                bar.update(len(part))


class Store:
    """Examples by index.

    Args:
      segments: of one shape and dtype.
      chosen: which of all their examples, in this order; int [n].
      widen: hold them as float64, for TensorFlow takes float32 below 1e-38 as 0.

    Raises:
      UsageError: too many examples for memory that cannot be read from their files.
    """

    def __init__(self, segments: Sequence[Segment], chosen: Array, widen: bool = False) -> None:
        self._shape = segments[0].array.shape[1:]
        dtype = np.dtype(np.float64) if widen else segments[0].array.dtype
        self._count = len(chosen)
        self._sizes = None  # of the files, where they are read in training
        num_bytes = len(chosen) * int(np.prod(self._shape)) * dtype.itemsize
        lengths = [len(segment.array) for segment in segments]
        file = np.repeat(np.arange(len(segments)), lengths)[chosen]
        place = np.concatenate([np.arange(length) for length in lengths])[chosen]
        in_files = all(s.path is not None for s in segments) and not widen
        in_files = in_files and dtype.isnative
        self._segments, self._file, self._place = segments, file, place
        if not in_files and num_bytes > MEMORY_BYTES:
            raise UsageError(
                f"{num_bytes / 2**30:.1f} GiB are compressed, in Fortran's order, of 24 bits, of "
                "the other byte order or below 1e-30, and do not fit into memory. Save them by "
                "numpy.save in C's order, recordings as 16 bits, so that they can be mapped."
            )
        with tf.init_scope(), tf.device("CPU:0"):
            if num_bytes <= MEMORY_BYTES:
                self._from_memory(segments, file, place, dtype)
            else:
                self._from_files(segments, file, place, dtype)

    def gather(self, indices: Tensor) -> Tensor:
        """The raw examples at `indices` (int64 [B]), [B, *shape]; works in graphs."""
        if self._sizes is None:
            return gather_on_host(self._held, indices)
        return tf.map_fn(
            self._read_one,
            indices,
            parallel_iterations=_PARALLEL,
            fn_output_signature=tf.TensorSpec(self._shape, self._dtype),
        )

    def _from_memory(self, segments, file, place, dtype):
        array = np.empty((self._count, *self._shape), dtype.newbyteorder("="))
        for i, segment in enumerate(segments):
            array[file == i] = segment.array[place[file == i]]
        self._held = tf.constant(array)

    def _from_files(self, segments, file, place, dtype):
        offsets = np.array([segment.offset for segment in segments], np.int64)
        strides = np.array([segment.stride for segment in segments], np.int64)
        self._sizes = [os.path.getsize(segment.path) for segment in segments]
        self._dtype = tf.as_dtype(dtype)
        self._length = int(np.prod(self._shape)) * dtype.itemsize
        self._path_of = tf.constant([segment.path for segment in segments])
        self._size_of = tf.constant(self._sizes, tf.int64)
        self._file_of = tf.constant(file, tf.int64)
        self._offset_of = tf.constant(offsets[file] + place * strides[file], tf.int64)

    def _read_one(self, index):
        k = self._file_of[index]
        content = read_range(
            self._path_of[k], self._offset_of[index], self._length, self._size_of[k]
        )
        return tf.reshape(tf.io.decode_raw(content, self._dtype), self._shape)

    def __len__(self) -> int:
        return self._count

    def content_hash(self) -> str:
        """A hash of the examples; see `fingerprint`."""
        if self._sizes is None:
            return array_hash(self._held.numpy())
        chosen = spread(len(self), self._length)
        read = lambda i: self._segments[self._file[i]].array[self._place[i]].tobytes()
        return bytes_hash(map(read, chosen))

    def why_bad(self, index: int) -> tuple[str, str] | None:
        """(path, reason) if the file of an example cannot be read any more; otherwise None."""
        k = self._file[index]
        path = self._segments[k].path
        why = why_unreadable(path, self._sizes[k]) if self._sizes else None
        return (path, why) if why else None


class StoredArrays(OpenedDataset):
    """The base of numbers in files: a subclass defines `segments`, and where it must `splits`.

    On first use one pass over the data looks for NaN and infinity, and measures the mean and the
    standard deviation by which they are standardised. Data up to 1 GiB are then held in memory;
    larger ones are read example by example as they are needed.

    Args:
      name: of the dataset.
      shape: of one example.
      kind: one of `base.KINDS`.
      stored_range: (low, high) of the raw numbers, mapped to [−1, 1]; None: standardise by the mean
        and the standard deviation of all numbers; bytes have the range (0, 255).
      test_every: the first of every so many examples is held out.
      on_bad_example: "error", or "skip": leave out examples that are not finite, and log how many.
      class_names: of the classes, the k-th being that of label k.

    Attributes:
      last_is_test: whether the last segment holds the held-out examples, and only these; otherwise
        `test_every` chooses them.
    """

    last_is_test = False

    def __init__(
        self,
        name: str,
        shape: Shape,
        kind: str,
        stored_range: tuple[float, float] | None,
        test_every: int,
        on_bad_example: str,
        class_names: Sequence[str] = (),
    ) -> None:
        check_test_every(test_every, self.owner)
        check_policy(on_bad_example, self.owner)
        self.name = name
        self.shape = tuple(int(size) for size in shape)
        self.kind = kind
        self.on_bad_example = on_bad_example
        self._test_every = test_every
        self._range = stored_range
        self._stores: dict[str, Store] | None = None
        self._class_names = list(class_names)

    def segments(self) -> list[Segment]:
        """The `Segment`s of all files, in their fixed order.

        Raises:
          FileNotFoundError: the data are missing.
          UsageError: a file that cannot be used: its name, and the remedy.
        """
        raise NotImplementedError

    def splits(self, segments: Sequence[Segment], good: Array) -> dict[str, Array]:
        """{"train": indices, "test": indices}, among the examples that are `good` (bool [N])."""
        kept = np.flatnonzero(good)
        if self.last_is_test:
            first = len(good) - len(segments[-1].array)
            return {"train": kept[kept < first], "test": kept[kept >= first]}
        return {name: kept[part] for name, part in held_out(len(kept), self._test_every).items()}

    def all_labels(self, segments: Sequence[Segment]) -> Array | None:
        """The classes of all examples, int64 [N], or None."""
        del segments
        return None

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`."""
        return list(self._class_names)

    def _open(self) -> dict[str, Store]:
        if self._stores is not None:
            return self._stores
        segments = self.segments()
        ranged = self._ranged(segments[0].array.dtype)
        good, moments = scan(segments, *(ranged.holds() if ranged else ()))
        self._report_bad(segments, good)
        beside = self.condition_segments(segments)
        if beside:
            told = scan(beside)[0]
            self._report_bad(beside, told, "conditions")
            good &= told
        splits = self.splits(segments, good)
        check_both_splits(splits, f"The data of {self.name}")
        self._check_spread(segments[0], moments)
        self._measured = [float(f"{value:.9g}") for value in (moments.mean, moments.std)]
        dtype = segments[0].array.dtype
        scaling = ranged or Scaling.standardising(
            [moments.mean], [moments.std], returned_dtype(dtype)
        )
        labels = self.all_labels(segments)
        if labels is not None and self._class_names:
            check_named(labels, self._class_names, self.name)
        widen = dtype == np.float32 and moments.std < _TINY
        stores = {name: Store(segments, k, widen) for name, k in splits.items()}
        self._check_resolved(stores["train"], scaling, moments)
        self._labels = {name: labels if labels is None else labels[k] for name, k in splits.items()}
        self._told = {name: Store(beside, k) for name, k in splits.items()} if beside else {}
        self._scaling, self._stores = scaling, stores
        return stores

    def condition_segments(self, segments: Sequence[Segment]) -> list[Segment]:
        """The conditions beside the examples, a `Segment` for each of theirs; none by default."""
        del segments
        return []

    def _report_bad(self, segments: Sequence[Segment], good: Array, what: str = "examples") -> None:
        if good.all():
            return
        ends = np.cumsum([len(segment.array) for segment in segments])
        first = int(np.argmin(good))
        k = int(np.searchsorted(ends, first, side="right"))
        place = first - (ends[k - 1] if k else 0)
        owner, bad = self.owner, int((~good).sum())
        example = np.asarray(segments[k].array[place], np.float64)
        finite = np.isfinite(example)
        value = example[~finite][0] if not finite.all() else example.flat[np.abs(example).argmax()]
        beyond = " or values that float32 cannot hold after scaling" if self._range else ""
        message = (
            f"{bad:,} of {len(good):,} {what} of {self.name} hold NaN or infinity{beyond}; the "
            f"first is example {place:,} of {segments[k].path or self.name}, with {value:g}"
        )
        if self.on_bad_example == "error":
            raise UsageError(
                f'{message}. Correct the file, or set {owner}.on_bad_example = "skip" to leave '
                "them out."
            )
        warn("%s. They are left out, as %s.on_bad_example says.", message, owner)

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`; the moments are those of all examples, held-out ones too."""
        stores = self._open()
        labels = self._labels["train"]
        return {
            "examples": len(stores["train"]),
            "content": stores["train"].content_hash(),
            "labels": None if labels is None else array_hash(labels),
            "moments": self._measured,
        }

    def _ranged(self, dtype: np.dtype) -> Scaling | None:
        """The scaling by a range, if there is one."""
        is_bytes = dtype == np.uint8
        stored_range = self._range or ((0, 255) if is_bytes else None)
        if stored_range is None:
            return None
        low, high = map(float, stored_range)
        return Scaling(-1.0, 1.0, low, high, returned_dtype(dtype))

    def _check_spread(self, first: Segment, moments: RunningMoments) -> None:
        if not moments.constant(first.array.dtype):
            return
        alike = f"are {moments.mean:g}"
        if moments.low != moments.high:
            alike = (
                f"lie from {float(moments.low)!r} to {float(moments.high)!r} and differ by no more "
                "than rounding does"
            )
        raise UsageError(
            f"All numbers of {self.name} {alike}: there is nothing to learn. Look at "
            f"{first.path or self.name}."
        )

    def _check_resolved(self, store: Store, scaling: Scaling, moments: RunningMoments) -> None:
        values = int(np.prod(self.shape))
        count = max(1, min(len(store), _SAMPLE, CHUNK_VALUES // max(1, values)))
        some = store.gather(tf.constant(np.arange(count) * len(store) // count, tf.int64))
        lost = unresolved(np.asarray(some), scaling)
        if lost.any():
            raise UsageError(
                f"The numbers of {self.name} lie from {moments.low:g} to {moments.high:g}, and "
                f"most of feature {int(np.argmax(lost))} of {len(lost)} become one number in "
                "float32 after scaling. Remove outliers; leave out stored_range, or make it "
                "narrower; or rescale the data: by a logarithm, or features of different sizes by "
                "themselves (a Table and ScoreModel.fit(x) do so)."
            )

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The examples at `indices`; see `Dataset.examples`. The seed changes nothing."""
        del seed
        indices = tf.convert_to_tensor(indices, tf.int64)
        try:
            return self.scaling.scale(self.raw(indices, split))
        except tf.errors.OpError:
            self.check_examples(indices, split)
            raise

    def raw(self, indices: Tensor, split: str = "train") -> Tensor:
        """The examples at `indices` (int64 [B]) as they are stored; works in graphs."""
        return self._open()[split].gather(indices)

    def check_examples(self, indices: Tensor, split: str = "train") -> None:
        """See `Dataset.check_examples`: a file that is read in training may vanish meanwhile."""
        for index in np.asarray(indices):
            found = self._open()[split].why_bad(int(index))
            if found:
                path, why = found
                raise UsageError(
                    f"{path} cannot be used: {why}. Put it back as it was, and start again: "
                    "training resumes from the last checkpoint."
                )


@DATASETS.register
class Arrays(StoredArrays):
    """The first axis of a ``.npy`` file, or of one array of a ``.npz`` archive.

    The file is memory-mapped, or read example by example if it is larger than 1 GiB; an archive
    made by ``numpy.savez_compressed`` is unpacked into memory. Pickled objects are never loaded.
    An array ``labels`` of integers in the same archive holds classes.

    Args:
      path: of the file; it need not exist yet. The array is [N, *shape]; where the last size of
        `shape` is 1 the file may leave that axis out.
      shape: of one example: (T, channels) is a signal, (height, width, channels) an image,
        (depth, height, width, channels) a volume or a short video, (D,) a vector.
      key: the array's name in an archive; by default its only array beside ``labels``.
      kind: how to show an example, if not as its rank says.
      stored_range: (low, high) of the numbers, mapped to [−1, 1]; None: bytes have (0, 255), others
        are standardised.
      test_every: the first of every so many examples is held out.
      on_bad_example: ``"error"``, or ``"skip"`` examples with NaN or infinity.
      test_path: a file of the same form that holds the held-out examples, with labels if the first
        has them; all examples of the first are then for training.
      condition: what a network is told of each example (see `Conditions`): an array; or the name of
        an array in the same archive, in both if there are two; or the path of a .npy file, or of a
        .npz archive that holds one array.
      test_condition: with `test_path`, that of the held-out examples, unless it is in the archive.
      class_names: the names of the classes, the k-th being that of label k.

    Raises:
      UsageError: an argument out of its range.
    """

    def __init__(
        self,
        path: str,
        shape: Shape,
        key: str | None = None,
        kind: str | None = None,
        stored_range: tuple[float, float] | None = None,
        test_every: int = 10,
        on_bad_example: str = "error",
        test_path: str | None = None,
        condition: Any = None,
        test_condition: Any = None,
        class_names: Sequence[str] = (),
    ) -> None:
        if kind is None and len(shape) not in KIND_OF_RANK:
            raise UsageError(
                f"Arrays.shape has 1 to 4 axes (the last are channels), or Arrays.kind is given; "
                f"got {tuple(shape)}."
            )
        self.path = absolute(path)
        self.test_path = None if test_path is None else absolute(test_path)
        self.last_is_test = test_path is not None
        name = os.path.splitext(os.path.basename(self.path))[0]
        kind = kind or KIND_OF_RANK[len(shape)]
        super().__init__(name, shape, kind, stored_range, test_every, on_bad_example, class_names)
        self.key = key
        self._told_from = (condition, test_condition)
        if condition is not None:
            self.condition = Conditions(f"The condition of {self.name}", self._open_conditions)

    def _open_conditions(self) -> Opened:
        self._open()
        stores: dict[str, Any] = self._told
        raw_shape = tuple(stores["train"].gather(tf.constant([0], tf.int64)).shape[1:])
        shape, own = condition_layout(raw_shape, self.shape, f"The condition of {self.name}")
        return Opened(stores, shape, raw_shape=own)

    def condition_segments(self, segments: Sequence[Segment]) -> list[Segment]:
        """See `StoredArrays.condition_segments`."""
        condition, held_out = self._told_from
        if condition is None:
            return []
        files = self._files()
        sources = [condition, held_out][: len(files)]
        if self._in_archive():
            sources = [condition] * len(files)
        elif any(source is None for source in sources):
            raise UsageError(
                "Arrays.test_path is given, and Arrays.test_condition is not. Give the conditions "
                "of both files, or keep them in the archives, under one name."
            )
        found = [self._told_in(path, s) for path, s in zip(files, sources, strict=True)]
        for source, beside, segment in zip(sources, found, segments, strict=True):
            if beside.array.shape[:1] != (len(segment.array),):
                raise UsageError(
                    f"Arrays.condition must have one row for each of the {len(segment.array):,} "
                    f"examples; got an array of shape {beside.array.shape}"
                    f"{f' in {source}' if isinstance(source, str) else ''}."
                )
        if len({(s.array.dtype, s.array.shape[1:]) for s in found}) > 1:
            raise UsageError(
                "The conditions for training and for testing must be alike; got "
                f"{[f'{s.array.dtype} {s.array.shape[1:]}' for s in found]}."
            )
        return found

    def _in_archive(self) -> bool:
        name, files = self._told_from[0], self._files()
        return isinstance(name, str) and all(
            os.path.isfile(path) and is_archive(path) and name in member_names(path)
            for path in files
        )

    def _told_in(self, path: str, source: Any) -> Segment:
        """The conditions of the examples in a file."""
        if not isinstance(source, str | os.PathLike):
            array = np.asarray(source)
            check_dtype(array.dtype, "Arrays.condition")
            return Segment(array, None, 0, 0)
        if self._in_archive():
            return Segment(read_member(path, str(source), None, MEMORY_BYTES), None, 0, 0)
        place = absolute(os.fspath(source))
        if not os.path.isfile(place):
            raise FileNotFoundError(
                f"There is no array {source!r} in {path}, and no file {place}. Set "
                "Arrays.condition to the one or the other."
            )
        stored = read_numpy(place, None, (), "one array in it", None, MEMORY_BYTES)
        in_file = stored.offset is not None and stored.array.flags.c_contiguous
        stride = int(stored.array.strides[0]) if stored.array.ndim else 0
        return Segment(stored.array, place if in_file else None, stored.offset or 0, stride)

    def segments(self) -> list[Segment]:
        """See `StoredArrays.segments`."""
        return segments_of(self._files(), self._read, self.shape, "Arrays.shape")

    def _files(self) -> list[str]:
        return [self.path] if self.test_path is None else [self.path, self.test_path]

    def _read(self, path: str) -> Stored:
        if not os.path.isfile(path):
            is_folder = ", but a folder" if os.path.isdir(path) else ""
            option = "Arrays.path" if path == self.path else "Arrays.test_path"
            raise FileNotFoundError(
                f"There is no file {path}{is_folder}. Set {option} to a .npy or .npz file "
                "that numpy.save or numpy.savez wrote."
            )
        check = lambda shape, _: check_examples(shape, path, self.shape, "Arrays.shape")
        besides = (_LABELS, *([str(self._told_from[0])] if self._in_archive() else []))
        return read_numpy(path, self.key, besides, "Arrays.key", check, MEMORY_BYTES)

    def all_labels(self, segments: Sequence[Segment]) -> Array | None:
        """See `StoredArrays.all_labels`."""
        paths = self._files()
        counts = [len(segment.array) for segment in segments]
        found = [_labels_in(path, count) for path, count in zip(paths, counts, strict=True)]
        return joined_labels(paths, found, segments)


def _labels_in(path: str, count: int) -> Array | None:
    if not is_archive(path) or _LABELS not in member_names(path):
        return None
    check = lambda shape, dtype: check_labels(shape, dtype, path, count)  # before it is unpacked
    return read_member(path, _LABELS, check, MEMORY_BYTES)


def segments_of(
    paths: Sequence[str], read: Callable[[str], Stored], shape: Shape, option: str
) -> list[Segment]:
    """A `Segment` of each file, all of one dtype.

    Args:
      paths: of the files.
      read: path -> its array [N, *shape]; where the last size of `shape` is 1 the array may leave
        that axis out.
      shape: of one example.
      option: the argument that sets it, for messages.

    Raises:
      UsageError: no examples, examples of another shape, or files of different dtypes.
    """
    segments = [_segment(path, read(path), tuple(shape), option) for path in paths]
    for path, segment in zip(paths, segments, strict=True):
        if segment.array.dtype != segments[0].array.dtype:
            raise UsageError(
                f"{path} holds {segment.array.dtype.name} and {paths[0]} "
                f"{segments[0].array.dtype.name}. Save both in one dtype, so that one scaling "
                "fits both."
            )
    return segments


def _segment(path: str, stored: Stored, shape: tuple[int, ...], option: str) -> Segment:
    array = stored.array
    check_examples(array.shape, path, shape, option)
    if array.shape[1:] != shape:
        array = array[..., None]
    # Examples that lie one after another can be read by their offset.
    in_file = stored.offset is not None and array.flags.c_contiguous
    return Segment(array, path if in_file else None, stored.offset or 0, int(array.strides[0]))


def check_examples(found: Shape, path: str, shape: Shape, option: str) -> None:
    """Raises a UsageError unless an array of the shape `found` holds examples of `shape`.

    Where the last size of `shape` is 1 the array may leave that axis out.
    """
    found, shape = tuple(found), tuple(shape)
    if not found or not math.prod(found):
        what = f"an array of shape {found}" if found else "a single number"
        raise UsageError(f"{path} holds no examples: {what}. Save an array [examples, ...].")
    if found[1:] != shape and (found[1:], 1) != (shape[:-1], shape[-1]):
        raise UsageError(
            f"{path} holds an array of shape {found}, and {option} = {shape} asks for "
            f"(examples, *{shape}). Change the one or the other."
        )


def check_labels(shape: Shape, dtype: np.dtype, path: str, count: int) -> None:
    """Raises a UsageError unless an array holds one integer for each of `count` examples."""
    if dtype.kind not in "ui" or tuple(shape) != (count,):
        raise UsageError(
            f"The labels in {path} must be one integer for each of the {count} examples; got "
            f"{dtype.name} of shape {tuple(shape)}."
        )


def joined_labels(
    paths: Sequence[str], found: Sequence[Array | None], segments: Sequence[Segment]
) -> Array | None:
    """The classes of all examples, int64 [N], of those of each file; None where no file has some.

    Args:
      paths: where the labels of each segment are stored, for messages.
      found: the labels of each segment, or None.
      segments: the examples.

    Raises:
      UsageError: labels that are not one integer for each example, or that some files lack.
    """
    parts = []
    for path, labels, segment in zip(paths, found, segments, strict=True):
        if labels is None:
            continue
        check_labels(labels.shape, labels.dtype, path, len(segment.array))
        parts.append(labels.astype(np.int64))
    if parts and len(parts) < len(paths):
        missing = next(p for p, labels in zip(paths, found, strict=True) if labels is None)
        raise UsageError(
            f"{missing} holds no labels, and the other file does. Give both files labels, or none."
        )
    return np.concatenate(parts) if parts else None


__all__ = [
    "CHUNK_VALUES",
    "KIND_OF_RANK",
    "MEMORY_BYTES",
    "Arrays",
    "Segment",
    "Store",
    "StoredArrays",
    "joined_labels",
    "scan",
    "segments_of",
]
