"""Examples in columns of Arrow tables, as Parquet and Hugging Face's datasets hold them.

A column of encoded images, of arrays of one shape, or several columns of numbers: `ColumnImages`,
`ColumnArrays` and `ColumnTable` are the same as their siblings `ImageFolder`, `Arrays` and `Table`
from then on. PyArrow comes with TensorFlow Datasets; it is imported when it is used.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from lcss_tf.data.arrays import KIND_OF_RANK, Segment, StoredArrays
from lcss_tf.data.base import SPLITS, Dataset, check_test_every, held_out
from lcss_tf.data.by_pillow import BadImageError
from lcss_tf.data.class_names import numbered
from lcss_tf.data.fingerprint import array_hash
from lcss_tf.data.images import CACHE_MIB, EncodedImages, sides_of
from lcss_tf.data.numpy_files import check_dtype
from lcss_tf.data.table import Table
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.texts import visible
from lcss_tf.typing import Array, Shape, Tensor

_FEW = 12  # columns that a message lists
_MOST_NAMED = 5  # bad rows named in a message


class Opened(NamedTuple):
    """What a source of columns holds.

    tables: the Arrow table of each split; no "test" where none is held out by the source itself.
    names: the names of the classes, by columns that have them. places: where each table lies, for
    messages.
    """

    tables: dict[str, Any]
    names: Mapping[str, Sequence[str]]
    places: Mapping[str, str]


class Source(Protocol):
    """Where columns come from.

    owner: the class that the user named. name: of the dataset. place: of the data, for messages.
    """

    owner: str
    name: str
    place: str

    def open(self, columns: Sequence[str]) -> Opened:
        """Reads the columns; raises FileNotFoundError or UsageError, with the remedy."""


class Asked(NamedTuple):
    """What the examples are: exactly one of resolution, shape and columns is given.

    column: of images or arrays. resolution: of images. shape: of arrays. columns: of a table's
    numbers. label: the column of classes, or None. test_every, on_bad_example: as everywhere.
    """

    column: str
    resolution: int | Sequence[int] | None
    shape: Shape | None
    columns: Sequence[str] | None
    label: str | None
    test_every: int
    on_bad_example: str


def dataset_of(
    source: Source, asked: Asked, channels: int, flip: bool, centered: bool, fit: str
) -> Dataset:
    """The dataset of a source's images, arrays or rows; nothing is read.

    Raises:
      UsageError: not one of the three is asked for, or an argument out of its range.
    """
    given = [
        name for name in ("resolution", "shape", "columns") if getattr(asked, name) is not None
    ]
    if len(given) != 1:
        raise UsageError(
            f"{source.owner} reads images (resolution), arrays (shape) or the rows of a table "
            f"(columns): set one of the three; got {' and '.join(given) or 'none'}."
        )
    check_test_every(asked.test_every, source.owner)
    if asked.resolution is not None:
        return ColumnImages(source, asked, channels, flip, centered, fit)
    return ColumnArrays(source, asked) if asked.shape is not None else ColumnTable(source, asked)


# Columns of one split.


def picked(source: Source, opened: Opened, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{split: {column: a chunked array}}, of plain types.

    Raises:
      UsageError: there is no such column.
    """
    found: dict[str, dict[str, Any]] = {}
    for split, table in opened.tables.items():
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise no_column(source.owner, source.place, missing[0], table.column_names)
        found[split] = {name: _plain(table.column(name)) for name in columns}
    return found


def no_column(owner: str, place: str, name: str, known: Sequence[str]) -> UsageError:
    """The error that there is no column of that name."""
    some = ", ".join(repr(visible(other)) for other in known[:_FEW])
    return UsageError(
        f"{place} has no column {name!r}; it has {some or 'none'}"
        f"{', …' if len(known) > _FEW else ''}. Set the columns of {owner} to some of these."
    )


def _plain(column: Any) -> Any:
    """A column without extension types and dictionaries, which stand for their values."""
    import pyarrow as pa  # slow to import, so only when used

    while isinstance(column.type, pa.BaseExtensionType):
        storage = column.type.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], storage)
    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    return column


def labels_of(
    source: Source, opened: Opened, columns: Mapping[str, Any], label: str
) -> tuple[dict[str, Array | None], list[str]]:
    """The classes of each split, int64 [size], and their names.

    Args:
      source, opened: where they come from.
      columns: of the labels, by split.
      label: the column's name.

    Raises:
      UsageError: neither integers nor words, or one is missing.
    """
    import pyarrow.types as kinds

    given: dict[str, list[Any]] = {}
    for split, column in columns.items():
        kind = column.type
        words = kinds.is_string(kind) or kinds.is_large_string(kind)
        if not (words or kinds.is_integer(kind) or kinds.is_boolean(kind)):
            raise UsageError(
                f"The column {label!r} of {source.place} holds {kind}; labels are integers or "
                "words. Choose another, or convert it."
            )
        values = column.to_pylist()
        if None in values:
            raise UsageError(
                f"Row {values.index(None):,} of {source.place} has no {label!r}. Give each "
                "example a class, or leave the row out."
            )
        given[split] = [value if words else int(value) for value in values]
    return numbered(given, opened.names.get(label, ()), source.place)


def splits_of(tables: Mapping[str, Any], count: int, test_every: int) -> dict[str, Array]:
    """The rows of each split among all rows, those of the test table last: {split: int64 [n]}."""
    if "test" not in tables:
        return held_out(count, test_every)
    first = len(tables["train"])
    return {"train": np.arange(first), "test": np.arange(first, first + len(tables["test"]))}


# Images.


class ColumnImages(EncodedImages):
    """Images in a column: encoded ones, or arrays of bytes [height, width(, channels)].

    They are taken from the column one by one, by a function of Python, and decoded in the graph.

    Args:
      source, asked: where they come from, and what they are.
      channels, flip, centered, fit: as of `ImageFolder`.
    """

    def __init__(
        self, source: Source, asked: Asked, channels: int, flip: bool, centered: bool, fit: str
    ) -> None:
        self._source, self._asked = source, asked
        if channels not in (1, 3, 4):
            raise UsageError(f"{source.owner}.channels is 1, 3 or 4; got {channels}.")
        shape = (*sides_of(asked.resolution or 0, source.owner), channels)
        super().__init__(source.name, shape, flip, centered, asked.on_bad_example, CACHE_MIB, fit)
        self._columns: dict[str, Any] | None = None

    @property
    def owner(self) -> str:
        """See `Dataset.owner`."""
        return self._source.owner

    def _open(self, split: str) -> dict[str, Any]:
        super()._open(split)
        if self._columns is None:
            label, name = self._asked.label, self._asked.column
            wanted = [name] if label in (None, name) else [name, label]
            opened = self._source.open(wanted)
            found = picked(self._source, opened, wanted)
            columns = {key: _encoded(part[name], name, self._source) for key, part in found.items()}
            self._rows = splits_of(columns, sum(map(len, columns.values())), self._asked.test_every)
            for key in SPLITS:
                if not len(self._rows[key]):
                    raise UsageError(
                        f"{self._source.place} leaves no image for the split {key!r}. At least "
                        "two are needed."
                    )
            self._labels: dict[str, Array | None] = dict.fromkeys(SPLITS)
            self._names: list[str] = []
            if label is not None:
                labels = {key: part[label] for key, part in found.items()}
                given, self._names = labels_of(self._source, opened, labels, label)
                every = np.concatenate([given[key] for key in columns])  # type: ignore[list-item]
                self._labels = {key: every[rows] for key, rows in self._rows.items()}
            self._first, self._at = len(columns["train"]), opened.places
            with tf.init_scope(), tf.device("CPU:0"):
                self._places = {k: tf.constant(rows, tf.int64) for k, rows in self._rows.items()}
            self._columns = columns
        return self._columns

    def _value(self, row: int) -> Any:
        columns: Any = self._columns
        if row < self._first:
            return columns["train"][row]
        return columns["test"][row - self._first]

    def size(self, split: str = "train") -> int:
        """The number of images of a split."""
        self._open(split)
        return len(self._rows[split])

    def content(self, index: Tensor, split: str) -> Tensor:
        """See `EncodedImages.content`; arrays are encoded as PNG."""
        columns = self._open(split)
        row = self._places[split][index]
        if _is_binary(columns["train"].type):
            content = tf.numpy_function(self._bytes, [row], tf.string, stateful=False)
            return tf.ensure_shape(content, [])
        pixels = tf.numpy_function(self._pixels, [row], tf.uint8, stateful=False)
        return tf.io.encode_png(tf.ensure_shape(pixels, [None, None, None]))

    def _bytes(self, row: Any) -> bytes:
        value = self._value(int(row)).as_py()
        if value is None:
            raise BadImageError(
                "it holds no bytes: null, or the path of a file alone; embed the files' bytes, or "
                "read the files by ImageFolder"
            )
        return value

    def _pixels(self, row: Any) -> Array:
        value = self._value(int(row)).as_py()
        try:
            pixels = np.array(value, np.uint8)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadImageError(f"it is no array of bytes ({error})") from error
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
            raise BadImageError(
                f"it is an array of shape {pixels.shape}; expected [height, width] or [height, "
                "width, channels], channels 1, 3 or 4"
            )
        return pixels

    def sizes(self, split: str) -> Array:
        """See `EncodedImages.sizes`; of lists of bytes their mean, as Arrow holds them."""
        import pyarrow.compute as compute

        parts = []
        for column in self._open(split).values():
            if _is_binary(column.type):
                lengths = compute.fill_null(compute.binary_length(column), 0)
                parts.append(lengths.to_numpy().astype(np.int64))
            else:
                parts.append(np.full(len(column), column.nbytes // max(1, len(column)), np.int64))
        return np.concatenate(parts)[self._rows[split]]

    def location(self, index: int, split: str) -> str:
        """See `EncodedImages.location`."""
        self._open(split)
        row, first = int(self._rows[split][index]), self._first
        if row < first:
            return f"Row {row:,} of {self._at['train']}"
        return f"Row {row - first:,} of {self._at['test']}"

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`."""
        self._open("train")
        return list(self._names)

    def labels(self, split: str = "train") -> Array | None:
        """The classes of a split, int64 [size], or None."""
        self._open(split)
        return self._labels[split]

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`; the labels count as well."""
        labels = self.labels("train")
        return super().fingerprint() | {"labels": None if labels is None else array_hash(labels)}


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as kinds

    return kinds.is_binary(kind) or kinds.is_large_binary(kind)


def _encoded(column: Any, name: str, source: Source) -> Any:
    """A column of bytes, or of lists of bytes; of {"bytes", "path"} the bytes.

    Raises:
      UsageError: it holds something else.
    """
    import pyarrow.compute as compute
    import pyarrow.types as kinds

    if kinds.is_struct(column.type) and "bytes" in [field.name for field in column.type]:
        column = compute.struct_field(column, "bytes")
    value, depth = column.type, 0
    while _is_list(value):
        value, depth = value.value_type, depth + 1
    if not (_is_binary(value) and not depth) and not (kinds.is_integer(value) and depth in (2, 3)):
        raise UsageError(
            f"The column {name!r} of {source.place} holds {column.type}; images are bytes, "
            "{'bytes', 'path'} as Hugging Face's datasets have them, or lists [height, width, "
            "channels] of integers from 0 to 255. Arrays are read with shape in place of "
            "resolution."
        )
    return column


def _is_list(kind: Any) -> bool:
    import pyarrow.types as kinds

    return kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)


# Arrays.


class ColumnArrays(StoredArrays):
    """Arrays of one shape in a column of numbers, or of nested lists of them; held in memory.

    Args:
      source, asked: where they come from, and what they are.
    """

    def __init__(self, source: Source, asked: Asked) -> None:
        self._source, self._asked = source, asked
        shape = tuple(asked.shape or ())
        if len(shape) not in KIND_OF_RANK:
            raise UsageError(
                f"{source.owner}.shape has 1 to 4 axes, the last being channels; got {shape}."
            )
        kind, every = KIND_OF_RANK[len(shape)], asked.test_every
        super().__init__(source.name, shape, kind, None, every, asked.on_bad_example)

    @property
    def owner(self) -> str:
        """See `Dataset.owner`."""
        return self._source.owner

    def segments(self) -> list[Segment]:
        """See `StoredArrays.segments`."""
        label, name = self._asked.label, self._asked.column
        wanted = [name] if label in (None, name) else [name, label]
        opened = self._source.open(wanted)
        found = picked(self._source, opened, wanted)
        self.last_is_test = "test" in found
        made, kept = [], {}
        for split in (split for split in SPLITS if split in found):
            column = found[split][name]
            whole = column.is_valid().combine_chunks().to_numpy(zero_copy_only=False)
            if not whole.any():
                raise UsageError(f"{opened.places[split]} holds no {name!r} in any row.")
            self._report_missing(whole)
            array = stacked(column.filter(whole) if not whole.all() else column, self.shape)
            if array is None:
                raise UsageError(
                    f"The column {name!r} of {self._source.place} holds {column.type}, and "
                    f"{self.owner}.shape = {self.shape} asks for as many numbers in each row. "
                    "Change the shape, or make the rows alike."
                )
            check_dtype(array.dtype, f"The column {name!r} of {self._source.place}")
            made.append(Segment(array, None, 0, 0))
            if array.dtype != made[0].array.dtype:
                raise UsageError(
                    f"{opened.places['test']} holds {array.dtype} and {opened.places['train']} "
                    f"{made[0].array.dtype}. Save both in one dtype, so that one scaling fits both."
                )
            if label is not None:
                column = found[split][label]
                kept[split] = column if whole.all() else column.filter(whole)
        self._given: Any = None
        if label is not None:
            given, self._class_names = labels_of(self._source, opened, kept, label)
            self._given = np.concatenate([given[split] for split in kept])  # type: ignore[list-item]
        return made

    def _report_missing(self, whole: Array) -> None:
        if whole.all():
            return
        rows = np.flatnonzero(~whole)
        message = (
            f"{len(rows):,} of {len(whole):,} rows of {self._source.place} have no "
            f"{self._asked.column!r}; the first is row {rows[0]:,}"
        )
        if self.on_bad_example == "error":
            raise UsageError(
                f'{message}. Correct it, or set {self.owner}.on_bad_example = "skip" to leave them '
                "out."
            )
        warn("%s. They are left out, as %s.on_bad_example says.", message, self.owner)

    def all_labels(self, segments: Sequence[Segment]) -> Array | None:
        """See `StoredArrays.all_labels`."""
        del segments
        return self._given

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`."""
        self._open()
        return super().class_names()


def stacked(column: Any, shape: Shape) -> Array | None:
    """A column without nulls as one array [N, *shape]; None if its rows do not have this shape.

    N is at least 1. Where the last size of `shape` is 1 the rows may leave that axis out.
    """
    import pyarrow.compute as compute
    import pyarrow.types as kinds

    shape, parts = tuple(shape), []
    for chunk in filter(len, column.chunks):
        sizes: list[int] = []
        while _is_list(chunk.type):
            lengths = compute.unique(compute.list_value_length(chunk)).to_pylist()
            if len(lengths) > 1 or None in lengths:
                return None
            sizes += lengths
            chunk = chunk.flatten()
        number = kinds.is_integer(chunk.type) or kinds.is_floating(chunk.type)
        left_out = shape[-1] == 1 and tuple(sizes) == shape[:-1]
        if not number or not (tuple(sizes) == shape or left_out):
            return None
        values = chunk.to_numpy(zero_copy_only=False)
        parts.append(values.reshape(-1, *shape))
    return np.concatenate(parts)


# Tables.


class ColumnTable(Table):
    """The rows of numbers in some columns, each standardised; see `Table`.

    Args:
      source, asked: where they come from, and what they are.
    """

    _label_option = "label_column"

    def __init__(self, source: Source, asked: Asked) -> None:
        self._source = source
        super().__init__(
            source.place,
            asked.columns or (),
            asked.label,
            asked.test_every,
            on_bad_example=asked.on_bad_example,
        )
        self.path, self.name = source.place, source.name
        self._splits: dict[str, Array] = {}

    @property
    def owner(self) -> str:
        """See `Dataset.owner`."""
        return self._source.owner

    def rows(self) -> tuple[Array, Array, Array]:
        """See `Table.rows`."""
        wanted = [*self.columns, *([self._label] if self._label else [])]
        opened = self._source.open(wanted)
        found = picked(self._source, opened, wanted)
        self._dtypes = [_dtype_of(found["train"][name].type) for name in self.columns]
        tables = {split: next(iter(part.values())) for split, part in found.items()}
        order = [split for split in SPLITS if split in found]
        values = np.concatenate([self._values(found[split]) for split in order])
        whole = np.isfinite(values).all(axis=1)
        bad = []
        for row in np.flatnonzero(~whole)[: _MOST_NAMED + 1]:
            k = int(np.argmin(np.isfinite(values[row])))
            what = "nothing" if np.isnan(values[row, k]) else f"{values[row, k]:g}"
            bad.append(f"row {row:,}, column {self.columns[k]!r}: {what}")
        bad += ["…"] * (int((~whole).sum()) - len(bad))
        self.report_bad(bad, len(values), ["fill in or leave out such rows"])
        self._kept = np.flatnonzero(whole).tolist()
        labels = np.zeros(len(values), np.int64)
        if self._label:
            columns = {split: found[split][self._label] for split in order}
            given, self._class_names = labels_of(self._source, opened, columns, self._label)
            labels = np.concatenate([given[split] for split in order])  # type: ignore[list-item]
        if "test" in tables:
            held = np.arange(len(values))[whole] >= len(tables["train"])
            self._splits = {"train": np.flatnonzero(~held), "test": np.flatnonzero(held)}
        return values[whole], np.zeros((int(whole.sum()), 0)), labels[whole]

    def _values(self, columns: Mapping[str, Any]) -> Array:
        """float64 [N, columns]; NaN where there is nothing."""
        import pyarrow as pa
        import pyarrow.types as kinds

        parts = []
        for name in self.columns:
            column, kind = columns[name], columns[name].type
            numeric = kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)
            if not (numeric or kinds.is_boolean(kind)):
                raise UsageError(
                    f"The column {name!r} of {self.path} holds {kind}, and a table is made of "
                    f"numbers. Convert it, or leave it out of {self.owner}.columns."
                )
            if kinds.is_boolean(kind):
                column = column.cast(pa.int8())
            whole = column.cast(pa.float64(), safe=False)
            parts.append(whole.to_numpy(zero_copy_only=False).astype(np.float64))
        return np.stack(parts, axis=1)

    def divided(self, count: int) -> dict[str, Array]:
        """See `Table.divided`."""
        return self._splits or super().divided(count)

    def row_name(self, index: int) -> str:
        """See `Table.row_name`."""
        return f"row {self._kept[index]:,}"


def _dtype_of(kind: Any) -> np.dtype:
    """The dtype whose rounding a column's numbers have; of what is no float, float64."""
    import pyarrow.types as kinds

    return np.dtype(kind.to_pandas_dtype() if kinds.is_floating(kind) else np.float64)


__all__ = ["Asked", "ColumnArrays", "ColumnImages", "ColumnTable", "Opened", "Source",
           "dataset_of", "no_column"]  # fmt: skip
