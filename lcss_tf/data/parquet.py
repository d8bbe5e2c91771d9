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
_BATCH_ROWS = 256  # read at a time, so that no more than these is read beyond the limit


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
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns)):
            size += batch.nbytes
            if size > most:
                raise UsageError(
                    f"The columns {list(columns)} of {visible(path)} take more than the "
                    f"{_MEMORY_BYTES / 2**30:.0f} GiB that are held in memory. Read the file by "
                    "HuggingFace, which maps it, or write WebDataset shards."
                )
            batches.append(batch)
        kept = pa.schema([schema.field(name) for name in columns])
        return pa.Table.from_batches(batches, kept), class_names(schema.metadata or {})


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
