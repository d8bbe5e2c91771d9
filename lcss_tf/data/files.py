"""Files under a folder, in one order on every machine, and parts of files read inside a graph."""

import glob
import itertools
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.texts import visible
from lcss_tf.typing import Tensor

MISSING = "it is gone: there is no such file any more"
NOT_PERMITTED = "it may not be read; allow it by chmod u+r"


# What operating systems and programs leave beside files, compared in lower case.
_OF_A_SYSTEM = {
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin",
    "system volume information", "lost+found", "@eadir", "@__thumb", "@recycle", "#recycle",
}  # fmt: skip


class Listing(NamedTuple):
    """The files under a folder.

    paths: sorted. hidden: how many others there are that are hidden, or a system's own.
    """

    paths: list[str]
    hidden: int


def walk(root: str, option: str) -> Listing:
    """All files under `root`; links to folders are followed, what `is_hidden` is left out.

    Args:
      root: the folder; its own name may be hidden.
      option: the argument that sets it, for messages, e.g. ``"ImageFolder.root"``.

    Raises:
      FileNotFoundError: no such folder.
      PermissionError: a folder that may not be read.
      UsageError: links to folders that form a cycle.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(f"There is no folder {visible(root)}. Set {option} to the data.")
    found = list(_below(root, (os.path.realpath(root),)))
    paths = sorted(path for path in found if path is not None)
    return Listing(paths, len(found) - len(paths))


def expand(pattern: str | os.PathLike, option: str, ending: str) -> list[str]:
    """The files that a pattern names, absolute, in its order.

    ``{0000..0007}`` stands for eight numbers of four digits, ``{a,b}`` for either word; ``*``,
    ``?`` and ``[…]`` match as in a shell, in natural order. A folder stands for the files in it
    with the ending.

    Args:
      pattern: of paths; "~" is expanded.
      option: the argument that sets it, for messages.
      ending: of the files, as ``".tar"``.

    Raises:
      FileNotFoundError: a file that is named is not there, or nothing matches.
      UsageError: more than a million names.
    """
    found: list[str] = []
    for name in _braces(absolute(pattern), option):
        if os.path.isdir(name):
            name = os.path.join(glob.escape(name), f"*{ending}")
        if os.path.isfile(name):
            found.append(name)
        elif glob.has_magic(name):
            found += sorted(filter(os.path.isfile, glob.glob(name)), key=natural_key)
        else:
            raise FileNotFoundError(
                f"There is no file {visible(name)}. Set {option} to files that are there: a path, "
                f"a folder of *{ending}, or a pattern, as train-{{0000..0007}}{ending}."
            )
    if not found:
        raise FileNotFoundError(f"No file matches {visible(pattern)}. Set {option} to the data.")
    return found


_MOST_NAMES = 1_000_000  # that a pattern may stand for
# A name has at most 255 bytes on any file system; Python makes no integer of 4,300 digits.
_BRACES = re.compile(r"\{(?:(\d{1,255})\.\.(\d{1,255})|([^{}]*,[^{}]*))\}", re.ASCII)


def _braces(pattern: str, option: str) -> list[str]:
    """The names that a pattern with braces stands for."""
    parts: list[list[str]] = []
    place, count = 0, 1
    for match in _BRACES.finditer(pattern):
        if match[1] is None:
            words = match[3].split(",")
            size = len(words)
        else:
            first, last = int(match[1]), int(match[2])
            size = abs(last - first) + 1
        count *= size
        if count > _MOST_NAMES:
            raise UsageError(
                f"{option} = {visible(pattern)} stands for more than {_MOST_NAMES:,} files. Name "
                "a folder, or use an asterisk."
            )
        if match[1] is not None:
            step = 1 if last >= first else -1
            width = len(match[1]) if match[1].startswith("0") or match[2].startswith("0") else 0
            words = [f"{k:0{width}}" for k in range(first, last + step, step)]
        parts += [[pattern[place : match.start()]], words]
        place = match.end()
    return ["".join(chosen) for chosen in itertools.product(*parts, [pattern[place:]])]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is hidden, or an operating system's own."""
    return name.lower() in _OF_A_SYSTEM or (name.startswith(".") and name not in (".", ".."))


def absolute(path: str | os.PathLike) -> str:
    """The absolute path, "~" expanded, so that a later change of the folder changes nothing."""
    return os.path.abspath(os.path.expanduser(path))


def natural_key(text: str) -> list[tuple[int, int, str, str]]:
    """A key that sorts as people do: "2" before "10", "part 9" before "part 10"."""
    parts = re.split(r"([0-9]+)", text)
    key = [_number_key(part) if k % 2 else (1, 0, part, "") for k, part in enumerate(parts)]
    return [part for part in key if part != (1, 0, "", "")]


def _number_key(digits: str) -> tuple[int, int, str, str]:
    # By length, then by digits: Python makes no integer of more than 4,300 of them.
    bare = digits.lstrip("0")
    return (0, len(bare), bare, digits)


def _below(folder: str, above: tuple[str, ...]) -> Iterator[str | None]:
    """The paths of files; None for each that is hidden."""
    with permission(folder, "The folder", "-R u+rX"):
        entries = list(os.scandir(folder))
    for entry in entries:
        path = entry.path
        if is_hidden(entry.name):
            yield from [None] * _count(entry)
        elif _is_folder(entry):
            real = os.path.realpath(path)
            if real in above:
                raise UsageError(
                    f"The link {visible(path)} leads back to {visible(real)}, which contains it: "
                    "the folders form a cycle. Remove the link."
                )
            yield from _below(path, (*above, real))
        else:
            yield path


def _count(entry: os.DirEntry) -> int:
    """How many files an entry is: itself, or what lies in the folder; links are not followed."""
    if not entry.is_dir(follow_symlinks=False):
        return 1
    return sum(len(names) for _, _, names in os.walk(entry.path))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: a bad file, reported when it is read
        return False


_SIGNATURES = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself by git lfs pull"),
    (b"\x93NUMPY", "an array of NumPy (.npy)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "a ZIP archive with nothing in it"),
    (b"\x1f\x8b", "compressed by gzip: unpack it by gunzip"),
    (b"BZh", "compressed by bzip2: unpack it by bunzip2"),
    (b"\xfd7zXZ\0", "compressed by xz: unpack it by unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it by unzstd"),
    (b"\x89HDF", "an HDF5 file"),
    (b"CDF", "a NetCDF file"),
    (b"MATLAB", "a MATLAB file"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"fLaC", "a FLAC recording"),
    (b"OggS", "an Ogg recording"),
    (b"ID3", "an MP3 recording"),
    (b"\xff\xfb", "an MP3 recording"),
    (b"FORM", "an AIFF recording"),
    (b".snd", "an AU recording"),
    (b"{", "JSON"),
    (b"<?xml", "XML"),
)
_FORMS = {b"WAVE": "a WAV recording", b"AVI ": "an AVI video", b"WEBP": "a WebP image"}
_PICKLE_PROTOCOLS = range(2, 6)
_SEPARATORS = ",;\t"


def is_pickle(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a pickle of Python objects."""
    return len(head) > 1 and head[0] == 0x80 and head[1] in _PICKLE_PROTOCOLS


def describe(head: bytes) -> str:
    """What a file is that begins with these bytes, to stand after "it is" in a message.

    Args:
      head: some hundred bytes; all of them where the file is shorter.
    """
    if not head.strip(b"\0"):
        return "nothing but zeros" if head else "empty"
    for signature, words in _SIGNATURES:
        if head.startswith(signature):
            return words
    if head[:4] in (b"RIFF", b"RIFX"):
        return _FORMS.get(head[8:12], "a RIFF file")
    if head[4:8] == b"ftyp":
        return "an MP4 recording or video"
    if is_pickle(head):
        return "a pickle of Python objects, which could run any program and is never loaded"
    return _text(head) or f"of no known format: it begins with the bytes {head[:8].hex(' ')}"


def _text(head: bytes) -> str | None:
    """The same of a text; None if it is none."""
    # The last character may be cut.
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "ignore")
    control = sum(ord(c) < 32 and c not in "\t\r\n\f" for c in text)
    if control or len(text.encode()) < len(head) - 6:
        return None
    start = text.lstrip()
    if start[:14].lower().startswith(("<!doctype html", "<html")):
        return "a web page (HTML): the download was answered by another page"
    lines = start.splitlines()
    first = lines[0] if lines else ""
    if any(separator in first for separator in _SEPARATORS) and len(lines) > 1:
        return f"a text table (CSV), whose first line is {first[:60]!r}"
    return f"a text that begins with {first[:40]!r}"


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
      offset, length, size: int64 [], in bytes; `size` is that of the whole file. Of a length of 0
        nothing is read.

    Raises:
      tf.errors.OpError: no such file, or its size is not `size` any more.
    """
    offset, length, size = (tf.cast(value, tf.int64) for value in (offset, length, size))

    def read() -> Tensor:
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

    # A record of no bytes is refused by TensorFlow.
    return tf.cond(length > 0, read, lambda: tf.constant(b""))


__all__ = [
    "MISSING",
    "NOT_PERMITTED",
    "Listing",
    "absolute",
    "describe",
    "expand",
    "is_hidden",
    "is_pickle",
    "natural_key",
    "read_range",
    "walk",
    "why_unreadable",
]
