"""Tar archives by index: where each file in one begins, found once; nothing is unpacked.

A tar archive is a row of members: a header of 512 bytes (name, size, and a checksum of itself), the
file, and zeros up to the next 512 bytes; two blocks of zeros end it (POSIX.1-2001, with GNU's long
names), and nothing but zeros may follow. Headers are read one after another, so that an archive
which was not written to its end, or was joined to another, is found before training. The index of a
large archive is kept in the cache, by the archive's path, size and time of change.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from lcss_tf import archives, files
from lcss_tf.data.files import describe
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.texts import visible

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_DATA = (
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE,
    tarfile.BLKTYPE,
)  # fmt: skip
_MOST_OF_A_HEADER = 2**20  # bytes of an extended header
_KEPT_FROM = 4_096  # members from which on an index is kept in the cache
_MOST_PADDING = 2**20  # bytes of zeros behind an archive that are not worth a word
_RULES = 2  # of what an archive is; an index that was kept by others does not count
_REMEDY = "Write or copy it again."


class TarMember(NamedTuple):
    """A regular file of an archive. name: with slashes. offset, size: of its bytes."""

    name: str
    offset: int
    size: int


def tar_index(path: str) -> list[TarMember]:
    """The regular files of an uncompressed tar archive, in its order.

    Raises:
      UsageError: not such an archive, one that was not written to its end, with data behind it, a
        damaged header, a member whose path leads out of it, or a sparse one.
      OSError: it cannot be read.
    """
    status = os.stat(path)
    key = f"{_RULES}\0{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()[:32]
    place = files.cache_directory() / "tar" / f"{digest}.npz"
    kept = _kept(files.read_arrays(place) if place.is_file() else None, status.st_size)
    if kept is not None:
        return kept
    with permission(path), open(path, "rb") as file:
        found = list(_members(file, path, status.st_size))
    if len(found) >= _KEPT_FROM:
        text = "\0".join(member.name for member in found)
        arrays = {
            "places": np.array([member[1:] for member in found], np.int64),
            "names": np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8),
        }
        files.keep_arrays(place, arrays, "LCSS_TF_CACHE")
    return found


def _kept(arrays: dict[str, np.ndarray] | None, size: int) -> list[TarMember] | None:
    """The index in the cache; None if there is none, or it is damaged."""
    if arrays is None or set(arrays) != {"places", "names"}:
        return None
    names = arrays["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")
    places = arrays["places"]
    if places.shape != (len(names), 2) or places.min() < 0 or places.sum(axis=1).max() > size:
        return None
    return [TarMember(name, *place) for name, place in zip(names, places.tolist(), strict=True)]


def _members(file: IO[bytes], path: str, size: int) -> Iterator[TarMember]:
    place, number, extended = 0, 0, dict[str, str]()
    while True:
        where = f"member {number:,}, at byte {place:,} of {size:,},"
        file.seek(place)
        head = file.read(_BLOCK)
        if head == _ZEROS and place:
            _check_end(file, path, place, size)
            return
        info = _header(head, path, where, first=not place)
        length = int(extended.get("size", info.size))
        start = place + _BLOCK
        if info.type not in _WITHOUT_DATA:
            if not 0 <= length <= size - start:
                raise UsageError(
                    f"{visible(path)} was not written to its end: {where} claims {length:,} bytes. "
                    f"{_REMEDY}"
                )
            place = start + -(-length // _BLOCK) * _BLOCK
        else:
            place = start
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
            if length > _MOST_OF_A_HEADER:
                raise UsageError(f"{visible(path)} is damaged: {where} has a header of {length:,} "
                                 f"bytes. {_REMEDY}")  # fmt: skip
            content = file.read(length)
            if info.type == tarfile.XHDTYPE:
                extended |= _extended(content, path, where)
            else:
                extended["path"] = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            continue
        name = archives.tidy(extended.get("path", info.name))
        if info.type == tarfile.GNUTYPE_SPARSE or any(k.startswith("GNU.sparse") for k in extended):
            raise UsageError(
                f"The member {name!r} of {visible(path)} is sparse. Pack the files again, without "
                "--sparse."
            )
        number, extended = number + 1, {}
        if info.type not in _REGULAR:
            continue
        if name.startswith(("/", "../")) or re.match("[A-Za-z]:/", name):
            raise UsageError(
                f"The member {name!r} of {visible(path)} has a path that leads out of the archive. "
                "Do not trust it."
            )
        yield TarMember(name, start, length)


def _check_end(file: IO[bytes], path: str, place: int, size: int) -> None:
    """Reads what follows an archive's first block of zeros: another one, and zeros alone behind.

    Args:
      file: of the archive, behind that block.
      path, size: of the file.
      place: of that block.
    """
    if file.read(_BLOCK) != _ZEROS:
        raise UsageError(
            f"{visible(path)} was not written to its end: one block of zeros stands at byte "
            f"{place:,} of {size:,}, and two end a tar archive. {_REMEDY}"
        )
    padding = size - file.tell()
    while part := file.read(_MOST_PADDING):
        if part.count(0) < len(part):
            first = file.tell() - len(part.lstrip(b"\0"))
            raise UsageError(
                f"{visible(path)} has data behind its end, from byte {first:,} of {size:,} on, "
                "which would be left out. Two archives may have been joined by cat: join them by "
                "tar --concatenate, or name both files."
            )
    if padding > _MOST_PADDING:
        warn("%s has %s bytes of zeros behind its end.", visible(path), f"{padding:,}")


def _header(head: bytes, path: str, where: str, first: bool) -> tarfile.TarInfo:
    if len(head) < _BLOCK and not first:
        raise UsageError(
            f"{visible(path)} was not written to its end: it stops before {where} without the "
            f"zeros that end a tar archive. {_REMEDY}"
        )
    try:
        return tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        if first:
            raise UsageError(
                f"{visible(path)} is no tar archive: it is {describe(head)}. Archives are read "
                "uncompressed."
            ) from error
        raise UsageError(
            f"{visible(path)} is damaged: {where} has a header that is none ({error}). {_REMEDY}"
        ) from error


_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]+)=")  # of an extended header: "length key=value\n"


def _extended(content: bytes, path: str, where: str) -> dict[str, str]:
    """The fields of a member's extended header."""
    found, place = dict[str, str](), 0
    while place < len(content):
        match = _RECORD.match(content, place)
        end = place + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(content):
            raise UsageError(
                f"{visible(path)} is damaged: {where} has an extended header that is none. "
                f"{_REMEDY}"
            )
        key = match[2].decode("utf-8", "replace")
        found[key] = content[match.end() : end - 1].decode("utf-8", "surrogateescape")
        place = end
    if not re.fullmatch("[0-9]{1,20}", found.get("size", "0")):
        raise UsageError(f"{visible(path)} is damaged: {where} has no size. {_REMEDY}")
    return found


__all__ = ["TarMember", "tar_index"]
