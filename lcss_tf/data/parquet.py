"""Parquet files: images, arrays or tables of numbers in their columns."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lcss_tf.data.around import Around
from lcss_tf.data.columns import Asked, Opened, dataset_of, no_column
from lcss_tf.data.files import absolute, describe, expand
from lcss_tf.data.webdataset import name_of
from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.registry import DATASETS
from lcss_tf.texts import visible
from lcss_tf.typing import Shape

_MEMORY_BYTES = 2**32  # that the columns may take in memory
# Read at a time, for it is counted afterwards: so many rows, and about so many bytes of them.
_BATCH_ROWS, _BATCH_BYTES = 256, 2**26
_DOUBTED_ROWS = 16  # where a file may unpack to much more than it claims
_TAME = ("UNCOMPRESSED", "SNAPPY")  # codecs of which no byte gives more than some twenty
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}  # bytes


@DATASETS.register
class Parquet(Around):
    """Columns of Parquet files: images, arrays, or a table. Set one of three:

    | set | what is read | from then on like |
    |---|---|---|
    | `resolution` | images in `column`: encoded, or {"bytes", "path"}, or lists | `ImageFolder` |
    | `shape` | arrays of numbers in `column`: nested lists of one shape | `Arrays` |
    | `columns` | numbers, each column standardised | `Table` |

    The columns that are asked for are held in memory, at most 4 GiB of them.

    Args:
      path: a file, a folder of ``*.parquet``, or a pattern, as ``train-{00000..00003}.parquet``.
      column: of the images or arrays.
      resolution: of the images, in pixels: (height, width), or one number for both.
      channels: of the images: 1 (grey), 3 (RGB) or 4 (RGBA).
      shape: of an array: (D,), (T, channels), (height, width, channels) and so on.
      columns: of the table, in this order.
      label_column: of the classes: integers or words. Their names are those that Hugging Face's
        datasets wrote into the file, or the words in natural order; None: no classes.
      test_path: the held-out examples, as `path`.
      test_every: without them, the first of every so many examples is held out; at least 2.
      flip, centered, fit: of images, as of `ImageFolder`.
      on_bad_example: ``"error"`` or ``"skip"``.

    Raises:
      UsageError: an argument out of its range.
    """

    def __init__(
        self,
        path: str,
        column: str = "image",
        resolution: int | Sequence[int] | None = None,
        channels: int = 3,
        shape: Shape | None = None,
        columns: Sequence[str] | None = None,
        label_column: str | None = None,
        test_path: str | None = None,
        test_every: int = 10,
        flip: bool = False,
        centered: bool = True,
        fit: str = "crop",
        on_bad_example: str = "error",
    ) -> None:
        asked = Asked(column, resolution, shape, columns, label_column, test_every, on_bad_example)
        source = _Files(absolute(path), None if test_path is None else absolute(test_path))
        super().__init__(dataset_of(source, asked, channels, flip, centered, fit))


class _Files:
    """The files of a `Parquet`, as a source of columns."""

    owner = "Parquet"

    def __init__(self, path: str, test_path: str | None) -> None:
        self._paths = {"path": path, "test_path": test_path}
        self.name = name_of(path)
        self.place = visible(path)

    def open(self, columns: Sequence[str]) -> Opened:
        """See `columns.Source`."""
        tables, places = {}, {}
        names, left = dict[str, Sequence[str]](), _MEMORY_BYTES
        for split, option in (("train", "path"), ("test", "test_path")):
            pattern = self._paths[option]
            if pattern is None:
                continue
            parts = []
            for path in expand(pattern, f"Parquet.{option}", ".parquet"):
                table, own = read_columns(path, columns, left)
                left -= table.nbytes
                names = names or dict(own)
                parts.append(table)
            places[split] = visible(pattern)
            tables[split] = _joined(parts, places[split])
        return Opened(tables, names, places)


def read_columns(
    path: str, columns: Sequence[str], most: int
) -> tuple[Any, Mapping[str, Sequence[str]]]:
    """Some columns of a file as an Arrow table, and the names of classes that it holds.

    Args:
      path: of the file.
      columns: their names.
      most: bytes that they may take.

    Raises:
      UsageError: no Parquet file, a damaged or truncated one, one without these columns or with
        two of a name, or more than `most` bytes.
      OSError: it cannot be read.
    """
    import pyarrow as pa  # slow to import, so only when used
    import pyarrow.parquet as parquet

    with permission(path), open(path, "rb") as file:
        head = file.read(512)
    if not head.startswith(b"PAR1"):
        raise UsageError(f"{visible(path)} is no Parquet file: it is {describe(head)}.")
    with _named(path), parquet.ParquetFile(path, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        for name in columns:
            if name not in schema.names:
                raise no_column("Parquet", visible(path), name, schema.names)
            if schema.names.count(name) > 1:
                raise UsageError(
                    f"{visible(path)} has {schema.names.count(name)} columns called {name!r}, and "
                    "Parquet cannot tell which is meant. Rename them (pyarrow: "
                    "table.rename_columns), or ask for another."
                )
        batches, size = [], 0
        for batch in _batches(file, columns):
            size += batch.nbytes
            if size > most:
                raise UsageError(
                    f"The columns {list(columns)} of {visible(path)} take more than the "
                    f"{_MEMORY_BYTES / 2**30:.0f} GiB that are held in memory. Read the file by "
                    "HuggingFace, which maps it, or write WebDataset shards."
                )
            batches.append(batch)
        kept = pa.schema([_bare(schema.field(name)) for name in columns])
        return pa.Table.from_batches(batches, kept), class_names(schema.metadata or {})


def _batches(file: Any, columns: Sequence[str]) -> Iterator[Any]:
    """Some columns of an open file in parts of a limited size, dictionaries replaced by values."""
    import pyarrow as pa

    for k in range(file.num_row_groups):
        rows = _rows_at_once(file, k, columns)
        for batch in file.iter_batches(rows, row_groups=[k], columns=list(columns)):
            fields = [_bare(field) for field in batch.schema]
            if fields != list(batch.schema):  # now: a few rows are counted before there are more
                arrays = [a.cast(f.type) for a, f in zip(batch.columns, fields, strict=True)]
                batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
            yield batch


def _bare(field: Any) -> Any:
    """A field of the values that a dictionary stands for; others as they are."""
    import pyarrow.types as kinds

    return field.with_type(field.type.value_type) if kinds.is_dictionary(field.type) else field


def _rows_at_once(file: Any, group: int, columns: Sequence[str]) -> int:
    """How many rows of a row group may be read at a time, by what the file claims of it.

    A row takes what rows take on average, or a value of a dictionary, of which many rows may hold
    the largest. As claims may be wrong, few rows are read where values of any length are packed
    by a codec that can give a thousand bytes for one.

    Args:
      file: an open `pyarrow.parquet.ParquetFile`.
      group: the number of the row group.
      columns: that are read.
    """
    about, rows = file.metadata.row_group(group), _BATCH_ROWS
    for k in range(min(about.num_columns, len(file.schema))):  # Arrow refuses what differs
        chunk, kind = about.column(k), file.schema.column(k)
        name = chunk.path_in_schema
        if not any(name == column or name.startswith(f"{column}.") for column in columns):
            continue
        width = _WIDTHS.get(chunk.physical_type, max(0, kind.length or 0))
        unpacked = max(chunk.total_uncompressed_size, chunk.num_values * width)
        largest = max(unpacked // max(1, about.num_rows), width)
        if not width:
            largest = max(largest, _largest_shared(chunk))
            rows = rows if chunk.compression in _TAME else min(rows, _DOUBTED_ROWS)
        rows = min(rows, _BATCH_BYTES // max(1, largest))
    return max(1, rows)


def _largest_shared(chunk: Any) -> int:
    """About the bytes of the largest value that many rows of a column's chunk may share."""
    if "DELTA_BYTE_ARRAY" in chunk.encodings:  # a value may begin as the one before it, of any size
        return chunk.total_uncompressed_size
    if not chunk.has_dictionary_page:
        return 0
    packed = max(0, chunk.data_page_offset - chunk.dictionary_page_offset)
    ratio = chunk.total_uncompressed_size / max(1, chunk.total_compressed_size)
    return min(chunk.total_uncompressed_size, int(packed * max(1.0, ratio)))


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """{column: names of its classes} that Hugging Face's datasets wrote into a file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        found = {name: feature.get("names") for name, feature in features.items()}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    words = lambda names: isinstance(names, list) and all(isinstance(n, str) for n in names)
    return {name: names for name, names in found.items() if words(names)}


def _joined(tables: Sequence[Any], place: str) -> Any:
    import pyarrow as pa

    for table in tables:
        if table.schema.types != tables[0].schema.types:
            raise UsageError(
                f"The files of {place} hold columns of different types: {tables[0].schema.types} "
                f"and {table.schema.types}. Write them with one schema."
            )
    return pa.Table.from_batches(
        [batch for table in tables for batch in table.to_batches()], tables[0].schema
    )


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Arrow's errors inside the block name the file, and the remedy."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        if isinstance(error, UsageError | PermissionError | FileNotFoundError):
            raise
        raise UsageError(
            f"{visible(path)} cannot be read as Parquet ({str(error)[:200]}): it is truncated or "
            "damaged. Write or copy it again."
        ) from error


__all__ = ["Parquet", "class_names", "read_columns"]
