"""Arrays in WebDataset shards: tar archives of ``key.npy`` and ``key.cls``."""

import itertools
import math
import mmap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lcss_tf.archives import PICKLED, npy_header
from lcss_tf.data.arrays import KIND_OF_RANK, MEMORY_BYTES, Segment, StoredArrays
from lcss_tf.data.files import absolute, describe, expand
from lcss_tf.data.numpy_files import check_dtype
from lcss_tf.data.pipeline import progress_bar
from lcss_tf.data.webdataset import (
    Sample,
    by_shard,
    labels_of,
    log_strays,
    name_of,
    samples,
    without_strays,
)
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array, Shape

_HEAD = 2**12  # bytes in which an array's own header ends


class _Place(NamedTuple):
    """Where an array's numbers lie. path: the archive. offset: in it. dtype: of the numbers."""

    path: str
    offset: int
    dtype: np.dtype


@DATASETS.register
class WebArrays(StoredArrays):
    """Arrays of one shape in WebDataset shards; see `WebDataset` for shards, and `Arrays`.

    Arrays up to 1 GiB are held in memory; more are read from the shards by offset. Pickled objects
    are never loaded.

    Args:
      pattern: ``"train-{0000..0007}.tar"``, a path, a pattern with asterisks, or a folder.
      shape: of one example; where its last size is 1 the arrays may leave that axis out.
      field: of the arrays.
      label: the field of the class; see `WebDataset`.
      test_pattern: shards that hold the held-out examples.
      kind: how to show an example, if not as its rank says.
      stored_range: (low, high) of the numbers, mapped to [−1, 1]; None: bytes have (0, 255), others
        are standardised.
      test_every: without `test_pattern`, the first of every so many examples is held out.
      on_bad_example: ``"error"``, or ``"skip"`` examples without an array, or with NaN or infinity.

    Raises:
      UsageError: an argument out of its range.
    """

    def __init__(
        self,
        pattern: str,
        shape: Shape,
        field: str = "npy",
        label: str | None = None,
        test_pattern: str | None = None,
        kind: str | None = None,
        stored_range: tuple[float, float] | None = None,
        test_every: int = 10,
        on_bad_example: str = "error",
    ) -> None:
        if kind is None and len(shape) not in KIND_OF_RANK:
            raise UsageError(
                "WebArrays.shape has 1 to 4 axes (the last are channels), or WebArrays.kind is "
                f"given; got {tuple(shape)}."
            )
        kind = kind or KIND_OF_RANK[len(shape)]
        super().__init__(name_of(pattern), shape, kind, stored_range, test_every, on_bad_example)
        self.pattern = absolute(pattern)
        self.test_pattern = None if test_pattern is None else absolute(test_pattern)
        self._field, self._label = field.lower(), label
        self._found: dict[str, list[Sample]] = {}

    def segments(self) -> list[Segment]:
        """See `StoredArrays.segments`."""
        self._found = {"train": self._samples(self.pattern, "pattern")}
        if self.test_pattern is not None:
            self._found["test"] = self._samples(self.test_pattern, "test_pattern")
        made: list[Segment] = []
        for part in self._found.values():
            places = self._places(part)
            size = len(places) * math.prod(self.shape) * places[0].dtype.itemsize
            made += self._in_memory(places) if size <= MEMORY_BYTES else self._mapped(places)
        for segment in made:
            if segment.array.dtype != made[0].array.dtype:
                raise UsageError(
                    f"The arrays of {self.name} are of {made[0].array.dtype} and "
                    f"{segment.array.dtype}. Save them in one dtype, so that one scaling fits all."
                )
        return made

    def _samples(self, pattern: str, option: str) -> list[Sample]:
        present = samples(expand(pattern, f"WebArrays.{option}", ".tar"))
        every, strays = without_strays(present, lambda field: field == self._field)
        log_strays(self.name, strays)
        found = [sample for sample in every if self._field in sample.fields]
        if len(found) < len(every):
            first = next(sample for sample in every if self._field not in sample.fields)
            message = (
                f"{len(every) - len(found):,} of {len(every):,} examples of {self.name} have no "
                f"field {self._field!r}, the first being {first.location('*')}, which has "
                f"{', '.join(sorted(first.fields)[:8])}"
            )
            if self.on_bad_example == "error" or not found:
                raise UsageError(
                    f"{message}. Set WebArrays.field to a field of all, or "
                    'WebArrays.on_bad_example = "skip" to leave them out.'
                )
            warn("%s. They are left out, as WebArrays.on_bad_example says.", message)
        if not found:
            raise UsageError(f"The shards {pattern} hold no examples.")
        return found

    def _places(self, part: Sequence[Sample]) -> list[_Place]:
        """Where the numbers of each array lie, once its header is read."""
        places = []
        with progress_bar(len(part), "arrays", "headers") as bar:
            for shard, group in by_shard(part):
                with permission(shard), open(shard, "rb") as file:
                    for sample in group:
                        member = sample.fields[self._field]
                        file.seek(member.offset)
                        head = file.read(min(_HEAD, member.size))
                        places.append(self._place(sample, head, member.offset, member.size))
                        bar.update()
        return places

    def _place(self, sample: Sample, head: bytes, offset: int, size: int) -> _Place:
        where = sample.location(self._field)
        try:
            shape, fortran, dtype, length = npy_header(head)
        except Exception as error:  # NumPy parses it as a literal of Python: many kinds of error
            raise UsageError(
                f"{where} is no array of NumPy: it is {describe(head)}. Save it by numpy.save."
            ) from error
        if dtype.hasobject:
            raise UsageError(PICKLED.format(where))
        check_dtype(dtype, where)
        if shape != self.shape and (*shape, 1) != self.shape:
            raise UsageError(
                f"{where} is an array of shape {shape}, and WebArrays.shape = {self.shape}. Change "
                "the one or the other."
            )
        claimed = math.prod(shape) * dtype.itemsize
        if fortran and len(shape) > 1 or claimed != size - length:
            raise UsageError(
                f"{where} claims {claimed:,} bytes of numbers in C's order, and {size - length:,} "
                f"are there{', in the order of Fortran' if fortran else ''}. Save it again: "
                "numpy.save(path, numpy.ascontiguousarray(x))."
            )
        return _Place(sample.shard, offset + length, dtype)

    def _in_memory(self, places: Sequence[_Place]) -> list[Segment]:
        array = np.empty((len(places), *self.shape), places[0].dtype)
        flat = array.reshape(len(places), -1)
        for path, group in itertools.groupby(enumerate(places), lambda one: one[1].path):
            with open(path, "rb") as file:
                for k, place in group:
                    self._check_alike(place, places[0])
                    file.seek(place.offset)
                    flat[k] = np.frombuffer(file.read(flat[k].nbytes), place.dtype)
        return [Segment(array, None, 0, 0)]

    def _mapped(self, places: Sequence[_Place]) -> list[Segment]:
        """Runs of arrays at equal distances, mapped into memory."""
        made, start, maps = [], 0, dict[str, mmap.mmap]()
        while start < len(places):
            first, end = places[start], start + 1
            self._check_alike(first, places[0])
            stride = math.prod(self.shape) * first.dtype.itemsize
            if end < len(places) and places[end].path == first.path:
                stride = places[end].offset - first.offset
            while (
                end < len(places)
                and places[end][::2] == first[::2]
                and places[end].offset == first.offset + (end - start) * stride
            ):
                end += 1
            if first.path not in maps:
                with open(first.path, "rb") as file:
                    maps[first.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            inner = np.empty((1, *self.shape), first.dtype).strides[1:]
            array: Array = np.ndarray(
                (end - start, *self.shape), first.dtype, maps[first.path], first.offset,
                (stride, *inner),
            )  # fmt: skip
            made.append(Segment(array, first.path, first.offset, stride))
            start = end
        return made

    def _check_alike(self, place: _Place, first: _Place) -> None:
        if place.dtype != first.dtype:
            raise UsageError(
                f"The arrays of {self.name} are of {first.dtype} and {place.dtype}. Save them in "
                "one dtype, so that one scaling fits all."
            )

    def splits(self, segments: Sequence[Segment], good: Array) -> dict[str, Array]:
        """See `StoredArrays.splits`."""
        if "test" not in self._found:
            return super().splits(segments, good)
        kept, first = np.flatnonzero(good), len(self._found["train"])
        return {"train": kept[kept < first], "test": kept[kept >= first]}

    def all_labels(self, segments: Sequence[Segment]) -> Array | None:
        """See `StoredArrays.all_labels`."""
        del segments
        found, self._class_names = labels_of(self._found, self._label)
        parts = [part for part in found.values() if part is not None]
        return np.concatenate(parts) if parts else None

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`."""
        self._open()
        return super().class_names()


__all__ = ["WebArrays"]
