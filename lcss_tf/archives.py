"""Archives that are read within limits: the members of ZIP files, and the arrays of .npz files.

A compressed file of a few megabytes can unpack to gigabytes, whatever it says of itself. So what a
member claims is compared with what is expected before anything is unpacked; it is unpacked piece by
piece, up to the claimed size and no further; and its length and its CRC-32 are checked.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import math
import os
import posixpath
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.texts import visible

# Bytes that the compressed arrays of a file may unpack to where nobody knows their shapes. What
# this project writes is not compressed, so it takes on the disk what it takes in memory.
MAX_UNPACKED = 2**28
_MOST_PER_BYTE = 1_032  # bytes that a byte of a deflated stream gives, at most
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_LOCAL_HEADER = 30  # bytes, before the name and the extra field
_ENCRYPTED, _UTF8 = 1, 0x800  # bits of the flags
_BLOCK = 2**20
_NPY = ".npy"
PICKLED = (
    "{} holds Python objects (a pickle), which could run any program and is never loaded "
    "(allow_pickle=False). Save an array of numbers: numpy.save(path, array.astype(numpy.float32))."
)
_MAX_HEADER = 2**14  # bytes of an array's own header; NumPy refuses more than 10,000


class ArchiveError(UsageError):
    """An archive, or a member of one, that cannot be used; the message says why."""


class Member(NamedTuple):
    """A file of a ZIP archive, by what the archive claims of it.

    name: its path there. offset, packed: where its bytes begin, and how many they are. size: bytes
    that they unpack to. crc: CRC-32 of these. method: of compression, as zipfile numbers it.
    """

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int

    @property
    def compressed(self) -> bool:
        """Whether its bytes in the archive are others than its own."""
        return self.method != zipfile.ZIP_STORED


def members(path: str | os.PathLike, wanted: Callable[[str], bool] | None = None) -> list[Member]:
    """The `Member`s of an archive whose names `wanted` accepts, in its order; nothing is read.

    Raises:
      ArchiveError: not an archive, two members of one name, or a member whose path leads out of it,
        that is encrypted, compressed by a rare method, or of an impossible size.
      OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            found = [info for info in archive.infolist() if not info.is_dir()]
            chosen = [info for info in found if wanted is None or wanted(_name(info))]
            _check_different(path, [tidy(_name(info)) for info in chosen])
            return [_member(path, info, file) for info in chosen]
    except UnicodeDecodeError as error:
        raise ArchiveError(
            f"{visible(path)} says that its names are UTF-8, and {error.object!r} is not. Pack the "
            "files again by zip."
        ) from error
    # A damaged directory can raise almost anything that is read from it.
    except (zipfile.BadZipFile, NotImplementedError, struct.error, EOFError) as error:
        raise ArchiveError(
            f"{visible(path)} is no ZIP archive, or is truncated: it cannot be read ({error})."
        ) from error


def _name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & _UTF8:
        return info.filename
    # Then it should be DOS's letters, and is often UTF-8 all the same.
    with contextlib.suppress(UnicodeError):
        return info.filename.encode("cp437").decode()
    return info.filename


def _check_different(path: str | os.PathLike, names: Sequence[str]) -> None:
    """Raises an ArchiveError that names the first name which is there twice."""
    found = set[str]()
    for name in names:
        if name in found:
            raise ArchiveError(
                f"{visible(path)} holds two files called {visible(name)}. Pack the files again, "
                "each under a name of its own."
            )
        found.add(name)


def tidy(name: str) -> str:
    """A member's name with slashes between its parts: ``./cats\\1.png`` is ``cats/1.png``."""
    return posixpath.normpath(name.replace("\\", "/"))


def _member(path: str | os.PathLike, info: zipfile.ZipInfo, file: IO[bytes]) -> Member:
    name, where = _name(info), f"The member {info.filename!r} of {visible(path)}"
    if tidy(name).startswith(("/", "../")) or re.match("[A-Za-z]:/", tidy(name)):
        raise ArchiveError(f"{where} has a path that leads out of the archive. Do not trust it.")
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"{where} is encrypted. Pack the files again without a password.")
    method, packed = info.compress_type, info.compress_size
    if method not in _METHODS:
        raise ArchiveError(
            f"{where} is compressed by a method other than deflate, bzip2 and LZMA. Pack the files "
            "again by zip."
        )
    if (method == zipfile.ZIP_STORED and info.file_size != packed) or (
        method == zipfile.ZIP_DEFLATED and info.file_size > _MOST_PER_BYTE * packed
    ):
        raise ArchiveError(
            f"{where} claims {info.file_size:,} bytes, which {packed:,} packed ones "
            "cannot give: the archive is damaged, or made to deceive. Pack the files again."
        )
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise ArchiveError(f"{where} has no header: the archive is damaged. Copy it again.")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    offset = info.header_offset + _LOCAL_HEADER + name_length + extra_length
    if offset + packed > os.fstat(file.fileno()).st_size:
        raise ArchiveError(f"{where} ends after the archive, which is truncated. Copy it again.")
    return Member(name, offset, packed, info.file_size, info.CRC, method)


class _Deflated:
    """A deflated stream, with the face of the decompressors of bz2 and lzma."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def decompress(self, packed: bytes, most: int) -> bytes:
        """At most `most` bytes."""
        return self._stream.decompress(self._stream.unconsumed_tail + packed, most)

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        """What follows the stream's end."""
        return self._stream.unused_data


class _Lzma:
    """The same of an LZMA stream as ZIP archives have it: a header, then the bare stream."""

    _HEADER = struct.Struct("<HHBI")  # version, bytes that follow, lc lp pb, size of the dictionary

    def __init__(self, size: int) -> None:
        self._size, self._head = size, b""
        self._stream: lzma.LZMADecompressor | None = None

    def decompress(self, packed: bytes, most: int) -> bytes:
        """At most `most` bytes."""
        if self._stream is None:
            self._head += packed
            if len(self._head) < self._HEADER.size:
                return b""
            _, length, parts, window = self._HEADER.unpack_from(self._head)
            if length != 5 or parts >= 9 * 5 * 5:
                raise lzma.LZMAError("an unknown header")
            # No more of its dictionary is used than there are bytes; it could claim 4 GiB.
            window = max(min(window, self._size), 2**12)
            one = {"id": lzma.FILTER_LZMA1, "dict_size": window}
            one |= {"lc": parts % 9, "lp": parts // 9 % 5, "pb": parts // 45}
            self._stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[one])
            packed = self._head[self._HEADER.size :]
        return b"" if self._stream.eof else self._stream.decompress(packed, most)

    @property
    def eof(self) -> bool:
        """Whether the stream has ended by its mark, which it may lack."""
        return self._stream is not None and self._stream.eof

    @property
    def unused_data(self) -> bytes:
        """What follows the stream's end."""
        return self._stream.unused_data if self._stream else b""


def _decompressor(method: int, size: int) -> Any:
    makers: dict[int, Callable[[], Any]] = {
        zipfile.ZIP_STORED: lambda: None,
        zipfile.ZIP_DEFLATED: _Deflated,
        zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
        zipfile.ZIP_LZMA: lambda: _Lzma(size),
    }
    return makers[method]()


class _Unpacking:
    """Packed bytes to the bytes of a member, as they come; checks all that the member claims."""

    def __init__(self, size: int, crc: int, method: int) -> None:
        self._left, self._expected, self._crc, self._size = size, crc, 0, size
        self._inflate = _decompressor(method, size)
        self._marked = method != zipfile.ZIP_LZMA  # whether the stream says where it ends

    def __call__(self, packed: bytes, most: int = _BLOCK) -> Iterator[bytes]:
        """What the next packed bytes give, in pieces of at most `most` bytes."""
        if self._inflate is None:
            yield self._counted(packed)
            return
        if self._inflate.eof and packed:
            raise ArchiveError("bytes follow the end of its compressed data: it is damaged")
        while not self._inflate.eof:
            # One byte more than there may be shows that there is more.
            limit = min(most, self._left + 1)
            try:
                piece = self._inflate.decompress(packed, limit)
            except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
                raise ArchiveError(f"its compressed data are damaged ({error})") from error
            packed = b""  # the rest is kept inside
            yield self._counted(piece)
            if len(piece) < limit:  # otherwise more may wait inside
                break
        if self._inflate.unused_data:
            raise ArchiveError("bytes follow the end of its compressed data: it is damaged")

    def _counted(self, piece: bytes) -> bytes:
        if len(piece) > self._left:
            raise ArchiveError(
                f"it unpacks to more than the {self._size:,} bytes that it claims: a "
                "decompression bomb, or a damaged archive"
            )
        self._left -= len(piece)
        self._crc = zlib.crc32(piece, self._crc)
        return piece

    def end(self) -> None:
        """Checks the length and the checksum, after the last packed byte."""
        ended = self._inflate is None or self._inflate.eof or not self._marked
        if self._left or not ended:
            raise ArchiveError(
                f"it unpacks to {self._size - self._left:,} bytes and claims {self._size:,}: it is "
                "truncated or damaged"
            )
        if self._crc != self._expected:
            raise ArchiveError(
                f"its checksum is {self._crc:08x} and it claims {self._expected:08x}: it is damaged"
            )


def unpack(packed: bytes, member: Member) -> bytes:
    """The bytes of a member from its packed ones, all in memory: what it claims and one byte more.

    Raises:
      ArchiveError: their length or their CRC-32 is another than the archive claims.
    """
    unpacking = _Unpacking(member.size, member.crc, member.method)
    content = b"".join(unpacking(packed, member.size + 1))
    unpacking.end()
    return content


def stream(file: IO[bytes], member: Member) -> Iterator[bytes]:
    """The bytes of a member piece by piece; length and CRC-32 are checked at the end.

    Raises:
      ArchiveError: as `unpack`, or the archive is shorter than it was.
    """
    unpacking, left = _Unpacking(member.size, member.crc, member.method), member.packed
    file.seek(member.offset)
    while left:
        packed = file.read(min(_BLOCK, left))
        if not packed:
            raise ArchiveError("the archive ends in the middle of it: it is truncated")
        left -= len(packed)
        yield from unpacking(packed)
    unpacking.end()


class Claim(NamedTuple):
    """What an array in an archive says it is.

    shape, dtype: of the array. fortran: whether its first axis varies fastest. header: bytes before
    its numbers. member: where it lies.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    header: int
    member: Member

    @property
    def num_bytes(self) -> int:
        """Of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


class ArrayArchive:
    """The arrays of an .npz file by name. Pickles are refused. Use it in a ``with`` block.

    What NumPy's own reader does not do: it knows what an array claims to be before it unpacks it,
    and holds it to that.

    Args:
      path: of the file.
      most: bytes that its compressed arrays may unpack to in all, unless their shape is given.

    Raises:
      ArchiveError: not such a file.
      OSError: it cannot be read.
    """

    def __init__(self, path: str | os.PathLike, most: int = MAX_UNPACKED) -> None:
        self._path, self._most, self._unpacked = path, most, 0
        found = members(path)
        names = [member.name.removesuffix(_NPY) for member in found]
        _check_different(path, names)  # "x" beside "x.npy"
        self._members = dict(zip(names, found, strict=True))
        self._claims: dict[str, Claim] = {}
        self._file = open(path, "rb")  # noqa: SIM115  # closed by __exit__

    def __enter__(self) -> "ArrayArchive":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def names(self) -> list[str]:
        """Of the arrays, and of whatever else the archive holds."""
        return list(self._members)

    def member(self, name: str) -> Member:
        """Where an array lies.

        Raises:
          ArchiveError: there is no such array.
        """
        if name not in self._members:
            raise ArchiveError(f"there is no array {name!r}, but {_few(self.names)}")
        return self._members[name]

    def head(self, name: str, most: int = _MAX_HEADER) -> bytes:
        """The first bytes of an array's file, by which it is known what it is.

        Raises:
          ArchiveError: there is no such array, or its compressed data are damaged.
        """
        head = bytearray()
        for piece in stream(self._file, self.member(name)):
            head += piece
            if len(head) >= most:
                break
        return bytes(head[:most])

    def claim(self, name: str) -> Claim:
        """What an array says it is; a few kilobytes are read.

        Raises:
          ArchiveError: there is no such array, it holds Python objects, or its header is damaged.
        """
        if name not in self._claims:
            self._claims[name] = self._read_claim(name)
        return self._claims[name]

    def _read_claim(self, name: str) -> Claim:
        member = self.member(name)
        try:
            shape, fortran, dtype, length = npy_header(self.head(name))
        except Exception as error:  # NumPy parses it as a literal of Python: many kinds of error
            raise ArchiveError(
                f"the array {name!r} has a truncated or damaged header ({error})"
            ) from error
        if dtype.hasobject:
            raise ArchiveError(PICKLED.format(self._path))
        claim = Claim(shape, dtype, fortran, length, member)
        if claim.num_bytes + length != member.size:
            raise ArchiveError(
                f"the array {name!r} claims {claim}, which takes {claim.num_bytes:,} bytes; "
                f"{member.size - length:,} are there: it is truncated or damaged"
            )
        return claim

    def read(
        self, name: str, shape: Sequence[int | None] | None = None, dtype: Any = None
    ) -> np.ndarray:
        """An array, unpacked once its claims have been compared with what is expected.

        Args:
          name: of the array.
          shape: expected; None for an axis, or instead of all, is any.
          dtype: expected; None: any.

        Raises:
          ArchiveError: it claims to be something else, or is not what it claims.
        """
        claim = self.claim(name)
        if not _fits(claim.shape, shape) or (dtype is not None and claim.dtype != np.dtype(dtype)):
            expected = [] if dtype is None else [str(np.dtype(dtype))]
            expected += [] if shape is None else [f"shape {tuple(shape)}"]
            raise ArchiveError(
                f"the array {name!r} is {claim}; expected {' of '.join(expected)}".replace(
                    "None", "any"
                )
            )
        known = shape is not None and None not in shape
        if claim.member.compressed and not known:
            self._unpacked += claim.num_bytes
            if self._unpacked > self._most:
                raise ArchiveError(
                    f"its compressed arrays unpack to more than {self._most / 2**20:,.0f} MiB, "
                    f"{name!r} to {claim}. Save them by numpy.savez, which does not compress"
                )
        return self._read_numbers(name, claim)

    def _read_numbers(self, name: str, claim: Claim) -> np.ndarray:
        flat = np.empty(claim.num_bytes, np.uint8)
        place = -claim.header
        try:
            for piece in stream(self._file, claim.member):
                part = np.frombuffer(piece, np.uint8)[max(-place, 0) :]
                start = max(place, 0)
                flat[start : start + len(part)] = part
                place += len(piece)
        except ArchiveError as error:
            raise ArchiveError(f"the array {name!r} cannot be read: {error}") from error
        order = claim.shape[::-1] if claim.fortran else claim.shape
        array = flat.view(claim.dtype) if claim.dtype.itemsize else np.empty(order, claim.dtype)
        array = array.reshape(order)
        return array.T if claim.fortran else array

    def verify(self, name: str) -> None:
        """Reads an array to its end, a block at a time, and compares its CRC and its length.

        Raises:
          ArchiveError: it is damaged.
        """
        try:
            for _ in stream(self._file, self.member(name)):
                pass
        except ArchiveError as error:
            raise ArchiveError(f"the array {name!r} cannot be read: {error}") from error

    def read_all(self) -> dict[str, np.ndarray]:
        """Every array by name."""
        return {name: self.read(name) for name in self.names}


def check_unpacked(path: str | os.PathLike, most: int = MAX_UNPACKED) -> list[str]:
    """The names in a ZIP archive that another library reads, once its size has been checked.

    Args:
      path: of the file.
      most: bytes that its compressed members may claim in all.

    Raises:
      ArchiveError: as `members`, or they claim more.
    """
    found = members(path)
    claimed = sum(member.size for member in found if member.compressed)
    if claimed > most:
        raise ArchiveError(
            f"{path} would unpack to {claimed:,} bytes, more than the {most:,} that are read: a "
            "decompression bomb. Save it again without compression."
        )
    return [member.name for member in found]


class _Counted:
    """A file of which no more than `most` bytes are read."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._most, self._left = file, most, most

    def read(self, size: int) -> bytes:
        content = self._file.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise ArchiveError(
                f"it unpacks to more than {self._most:,} bytes: a decompression bomb"
            )
        return content


def tar_member(path: str | os.PathLike, name: str, most: int) -> bytes:
    """A file of a gzipped tar archive, whose checksum is checked; nothing is written.

    Args:
      path: of the archive.
      name: of the file in it, whatever its folder.
      most: bytes that the archive may unpack to in all.

    Raises:
      ArchiveError: there is no such file, the archive is damaged, or it unpacks to more.
      OSError: the archive cannot be read.
    """
    content = None
    try:
        with gzip.open(path) as file:
            counted: Any = _Counted(file, most)
            with tarfile.open(fileobj=counted, mode="r|") as tar:
                for member in tar:
                    if (
                        content is None
                        and member.isfile()
                        and name == os.path.basename(member.name)
                    ):
                        if member.size > most:
                            raise ArchiveError(f"{name} claims {member.size:,} bytes: a bomb")
                        content = tar.extractfile(member).read()  # type: ignore[union-attr]
            while counted.read(_BLOCK):  # to its end, where its checksum is
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise ArchiveError(f"it is no gzipped tar archive, or is damaged ({error})") from error
    if content is None:
        raise ArchiveError(f"it holds no {name}")
    return content


def mapped(path: str | os.PathLike) -> np.ndarray:
    """The array of a .npy file, memory-mapped: what it claims is held against the file's size.

    Raises:
      ArchiveError: not such a file, truncated, or one with Python objects; names it.
      OSError: it cannot be read.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy parses the header as a literal of Python
        if any(word in str(error) for word in ("pickle", "Object arrays", "Python objects")):
            raise ArchiveError(PICKLED.format(path)) from error
        raise ArchiveError(
            f"{path} cannot be read as NumPy's arrays ({error}). It may be truncated: save it "
            "again."
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ArchiveError(f"{path} is an archive of arrays, not one array: call it .npz.")
    return array


def npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, whether in Fortran's order, dtype, length of the header in bytes) of a .npy file.

    Raises:
      Exception: of many kinds, where it is damaged: NumPy parses it as a literal of Python.
    """
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0}
    shape, fortran, dtype = read.get(version, np.lib.format.read_array_header_2_0)(file)
    if any(size < 0 for size in shape):
        raise ValueError(f"a shape {shape} with a negative size")
    return tuple(shape), fortran, dtype, file.tell()


def _fits(shape: tuple[int, ...], expected: Sequence[int | None] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(
        e in (None, s) for s, e in zip(shape, expected, strict=True)
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "") or "none"


__all__ = [
    "MAX_UNPACKED",
    "PICKLED",
    "ArchiveError",
    "ArrayArchive",
    "Claim",
    "Member",
    "check_unpacked",
    "mapped",
    "members",
    "npy_header",
    "stream",
    "tar_member",
    "tidy",
    "unpack",
]
