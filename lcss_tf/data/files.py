"""Files under a folder, in one order on every machine, and parts of files read inside a graph."""

import os
from collections.abc import Iterator

import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.typing import Tensor

MISSING = "it is gone: there is no such file any more"
NOT_PERMITTED = "it may not be read; allow it by chmod u+r"


def walk(root: str, option: str) -> list[str]:
    """All files under `root`, sorted by path; links to folders are followed.

    Args:
      root: the folder.
      option: the argument that sets it, for messages, e.g. ``"ImageFolder.root"``.

    Raises:
      FileNotFoundError: no such folder.
      PermissionError: a folder that may not be read.
      UsageError: links to folders that form a cycle.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(f"There is no folder {root}. Set {option} to the data.")
    return sorted(_below(root, (os.path.realpath(root),)))


def _below(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    with permission(folder, "The folder", "-R u+rX"):
        entries = list(os.scandir(folder))
    for entry in entries:
        path = entry.path
        if _is_folder(entry):
            real = os.path.realpath(path)
            if real in above:
                raise UsageError(
                    f"The link {path} leads back to {real}, which contains it: the folders form a "
                    "cycle. Remove the link."
                )
            yield from _below(path, (*above, real))
        else:
            yield path


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a bad file, reported when it is read
        return False


def why_unreadable(path: str, size: int) -> str | None:
    """Why a file that could be read before cannot be read any more; None if it can.

    Args:
      path: of the file.
      size: its size at that time, in bytes.
    """
    if not os.path.isfile(path):
        return MISSING
    if not os.access(path, os.R_OK):
        return NOT_PERMITTED
    now = os.path.getsize(path)
    if now != size:
        return f"its size changed from {size:,} to {now:,} bytes since it was opened"
    return None


def read_range(path: Tensor, offset: Tensor, length: Tensor, size: Tensor) -> Tensor:
    """The bytes [offset, offset + length) of a file, a string tensor []; works in graphs.

    No Python runs and no file stays open. TensorFlow has no operation that reads part of a file,
    but a dataset of fixed-length records is one: with the rest of the file as its header and its
    footer, it holds exactly one record.

    Args:
      path: string [].
      offset, length, size: int64 [], in bytes; `size` is that of the whole file.

    Raises:
      tf.errors.OpError: no such file, or its size is not `size` any more.
    """
    offset, length, size = (tf.cast(value, tf.int64) for value in (offset, length, size))
    records = tf.raw_ops.FixedLengthRecordDatasetV2(
        filenames=path,
        header_bytes=offset,
        record_bytes=length,
        footer_bytes=size - offset - length,
        buffer_size=length,
        compression_type="",
    )
    return tf.raw_ops.DatasetToSingleElement(
        dataset=records, output_types=[tf.string], output_shapes=[()]
    )[0]


__all__ = ["MISSING", "NOT_PERMITTED", "permission", "read_range", "walk", "why_unreadable"]
