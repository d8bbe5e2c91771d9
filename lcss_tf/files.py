"""Files that outlive a process: written whole or not at all, hashed, downloaded; tables as text."""

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from lcss_tf import forms
from lcss_tf.archives import ArchiveError, ArrayArchive
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.texts import markdown, visible

_BLOCK = 2**20
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
PUT_BACK = "Put a good copy back, or remove it."


@contextlib.contextmanager
def whole(path: str | Path, durable: bool = False) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when the block has ended well.

    It is written beside `path` under a name that nobody can guess, never through a link, and with
    the permissions that the umask leaves. Folders are made.

    Args:
      path: of the file.
      durable: whether it is flushed to the disk before it takes its name.

    Raises:
      OSError: it cannot be written; what stood under the name is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:  # "x": fails on a link or a file that is there
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: str | Path, age_s: float = 3_600.0) -> None:
    """Removes what processes that were killed while writing left in a folder and those in it.

    Args:
      folder: of `whole` files.
      age_s: a younger one may be another process's, which is writing it.
    """
    for left in [*Path(folder).glob(".*.tmp"), *Path(folder).glob("*/.*.tmp")]:
        with contextlib.suppress(OSError):
            if _TEMPORARY.fullmatch(left.name) and time.time() - left.stat().st_mtime > age_s:
                left.unlink()


@contextlib.contextmanager
def permission(path: str | os.PathLike, what: str = "The file", how: str = "u+r") -> Iterator[None]:
    """Turns a PermissionError inside the block into one that names `path` and the remedy."""
    try:
        yield
    except PermissionError as error:
        raise PermissionError(
            f"{what} {visible(path)} may not be read ({error.strerror}). Allow it: chmod {how} "
            f"{visible(path)}, or run as a user who may."
        ) from error


def check_writable(path: str | Path, folder: bool = False) -> None:
    """Raises before any long work if a file, or a folder, cannot be written; makes nothing.

    Args:
      path: of the file or folder, which need not exist, nor those above it.
      folder: whether it is to be a folder.

    Raises:
      UsageError: a folder in the place of the file, a file in that of a folder, or no permission.
    """
    path = Path(path).absolute()
    if not folder and path.is_dir():
        raise UsageError(f"{path} is a folder, and a file is to be written. Name a file in it.")
    place = path if folder else path.parent
    there = next(p for p in (place, *place.parents) if p.exists() or p == p.parent)
    if not there.is_dir():
        raise UsageError(
            f"{path} cannot be written: {there} is a file, not a folder. Choose another path."
        )
    effective = os.access in os.supports_effective_ids
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=effective):
        raise UsageError(
            f"{path} cannot be written: the folder {there} may not be changed. Allow it (chmod "
            f"u+wx {there}), or choose another path."
        )


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Writes a small file whole; returns its path."""
    with whole(path) as file:
        file.write(content)
    return Path(path)


def write_text(path: str | Path, content: str) -> Path:
    """Writes a text as UTF-8, whole; returns its path. What is no character is escaped."""
    return write_bytes(path, content.encode(errors="backslashreplace"))


def write_json(path: str | Path, content: Any, indent: int | None = 1) -> Path:
    """Writes JSON, whole; returns its path."""
    return write_text(path, json.dumps(content, indent=indent))


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8.

    Raises:
      UsageError: it is in another encoding; names it.
      OSError: it cannot be read.
    """
    try:
        with permission(path):
            return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is no text in UTF-8 ({error}). Save it as UTF-8, or put a good copy back."
        ) from error


def read_json(path: str | Path, form: Any = forms.ANY, remedy: str = PUT_BACK) -> Any:
    """What a JSON file holds; None if there is no such file.

    Args:
      path: of the file.
      form: that its content must have, see `forms.mismatch`.
      remedy: what to do where it is damaged, a sentence.

    Raises:
      UsageError: it is damaged: empty, truncated, no JSON in UTF-8, or of another form. The message
        names it, and the remedy.
      OSError: it cannot be read.
    """
    try:
        with permission(path):
            content = json.loads(Path(path).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: it is no JSON ({error}). {remedy}") from error
    problem = forms.mismatch(content, form)
    if problem:
        raise UsageError(f"{path} is damaged: {problem}. {remedy}")
    return content


def write_arrays(path: str | Path, arrays: Mapping[str, Any], durable: bool = False) -> Path:
    """Writes an .npz, whole; returns its path."""
    with whole(path, durable) as file:
        np.savez(file, **arrays)
    return Path(path)


def read_arrays(path: str | Path) -> dict[str, np.ndarray] | None:
    """All arrays of an .npz, within the limits of `ArrayArchive`; None if missing or damaged."""
    try:
        with ArrayArchive(path) as archive:
            return archive.read_all()
    except (OSError, ArchiveError):
        return None


def cache_directory() -> Path:
    """``$LCSS_TF_CACHE``, or ``~/.cache/lcss_tf``."""
    return Path(os.environ.get("LCSS_TF_CACHE") or Path.home() / ".cache" / "lcss_tf")


def keep_arrays(path: str | Path, arrays: Mapping[str, Any], setting: str) -> bool:
    """Writes an .npz that would be computed again without it; whether it could be written.

    Args:
      path: of the file.
      arrays: as for `write_arrays`.
      setting: what sets the place, for the warning.
    """
    try:
        write_arrays(path, arrays)
    except OSError as error:
        warn(
            "%s cannot be written (%s). What was computed is used, but not kept for the next time. "
            "Set %s to a place that can be written.", path, error, setting,
        )  # fmt: skip
        return False
    return True


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def text_hash(*texts: str) -> str:
    """The SHA-256 of texts, in hexadecimal."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def download(url: str, path: str | Path, timeout_s: float = 30.0, most_bytes: int = 2**31) -> None:
    """Fetches a file over https, whole.

    Raises:
      UsageError: another protocol, which anybody on the way could answer.
      OSError: there is no network, no such file, or it has more than `most_bytes`.
    """
    try:
        _check_https(url)
        with urllib.request.urlopen(url, timeout=timeout_s) as source, whole(path) as file:
            _check_https(source.url)  # where it was sent on to
            while block := source.read(_BLOCK):
                file.write(block)
                if file.tell() > most_bytes:
                    raise OSError(f"{url} has more than {most_bytes:,} bytes")
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from error


def _check_https(url: str) -> None:
    if not url.startswith("https://"):
        raise UsageError(f"Files are downloaded over https alone; got {url}. Fetch it by yourself.")


def number_text(value: Any) -> str:
    """A number with three digits that count; other things as they are, nothing for None."""
    if value is None:
        return ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if not math.isfinite(number):
        return str(number)
    if number == int(number) and abs(number) >= 1000:
        return f"{int(number):,}"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown: numbers by `number_text`, texts literally."""
    cell = lambda value: markdown(
        value if isinstance(value, str) else number_text(value), begins=False
    )
    lines = [map(cell, header), ["---"] * len(header), *(map(cell, row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def csv_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as CSV, whose texts a reader gets back; of control characters an escape."""
    text = io.StringIO()
    cell = lambda value: visible(value, "\n\t") if isinstance(value, str) else value
    csv.writer(text).writerows([cell(value) for value in line] for line in (header, *rows))
    return text.getvalue()


__all__ = [
    "PUT_BACK",
    "cache_directory",
    "check_writable",
    "csv_table",
    "download",
    "keep_arrays",
    "markdown_table",
    "number_text",
    "permission",
    "read_arrays",
    "read_json",
    "read_text",
    "sha256",
    "text_hash",
    "whole",
    "write_arrays",
    "write_bytes",
    "write_json",
    "write_text",
]
