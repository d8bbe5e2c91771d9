"""CSV files as rows of text, and the numbers in them."""

import contextlib
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from lcss_tf.data.files import describe
from lcss_tf.errors import UsageError
from lcss_tf.files import permission

SEPARATORS = (",", ";", "\t", "|", " ")
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "?", ".")
_SHOWN = 40  # characters of a field that a message shows
_LONGEST = 2**31 - 1  # characters of a field, in the csv module
# Python's float would also take 1_000, the digits of other scripts, nan and infinity.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_POINT = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}([,.'’_\s][0-9]{3})+([.,][0-9]+)?")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T]\d.*)?|\d{1,2}:\d{2}(:\d.*)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


class Sheet(NamedTuple):
    """names: of the first line, as they stand there. rows: texts. lines: where each row begins."""

    names: list[str]
    rows: list[list[str]]
    lines: list[int]


def read_csv(path: str, delimiter: str) -> Sheet:
    """The rows of a CSV file (RFC 4180) in UTF-8; blank lines are left out.

    Lines end as they like, a byte-order mark is dropped, fields may have any length, and blanks
    before a field do not count. Empty fields behind the last name, of a separator at the end of
    each line, do not count either.

    Raises:
      FileNotFoundError: no such file.
      UsageError: another kind of file, bytes that are no UTF-8, a quotation mark that is not
        closed: the line, and the remedy.
    """
    text = _text(path, delimiter)
    rows, lines, before = [], [], 0
    blanks = not delimiter.isspace()
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=blanks
    )
    with _fields_of_any_length():
        try:
            for row in reader:
                if any(field.strip() for field in row) or len(row) > 1:
                    rows.append(row)
                    lines.append(before + 1)
                before = reader.line_num
        except csv.Error as error:
            other = _other_kind(text.encode()[:512])
            if other:
                raise UsageError(f"{path} cannot be read as a CSV file{other}.") from error
            raise UsageError(
                f"{path} cannot be read as a CSV file: the row that begins in line {before + 1} "
                f"has a quotation mark that is not closed, or text behind one ({error}). Double "
                'quotation marks inside of quoted fields: "5"" wide".'
            ) from error
    if len(rows) < 2:
        other = _other_kind(text.encode()[:512])
        raise UsageError(
            f"{path} holds {len(rows)} lines{other}; a table has a line of column names and at "
            "least two rows."
        )
    names = rows[0]
    named = max((k + 1 for k, name in enumerate(names) if name.strip()), default=0)
    return Sheet(names, [_fitted(row, named, len(names)) for row in rows[1:]], lines[1:])


def _text(path: str, delimiter: str) -> str:
    try:
        with permission(path), open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"There is no file {path}. Set Table.path to a CSV file."
        ) from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder. Set Table.path to a CSV file.") from error
    cannot = f"{path} cannot be read as a CSV file"
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{cannot}: it is UTF-16. Save it as UTF-8: iconv -f utf-16 -t utf-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        other = _other_kind(content[:512])
        if other:
            raise UsageError(f"{cannot}{other}.") from error
        start = content.rfind(b"\n", 0, error.start) + 1
        line = content.count(b"\n", 0, start) + 1
        column = content.count(delimiter.encode(), start, error.start) + 1
        raise UsageError(
            f"{cannot}: line {line:,}, column {column}, has the byte {content[error.start]:#04x}, "
            "which is no UTF-8. Save it as UTF-8 text, e.g. iconv -f latin1 -t utf-8."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        other = _other_kind(content[:512]) or ": it may be UTF-16"
        raise UsageError(f"{cannot}{other}; line {line:,} has a zero byte. Save it as UTF-8 text.")
    return text


def _other_kind(head: bytes) -> str:
    """ ": it is …" for a file that is no text table; otherwise nothing."""
    what = describe(head)
    return "" if what.startswith(("a text", "of no known")) else f": it is {what}"


@contextlib.contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """The csv module takes 131,072 characters unless it is told otherwise, for all at once."""
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _fitted(row: list[str], named: int, width: int) -> list[str]:
    """A row with as many fields as the first line, if it differs by empty or unnamed ones alone."""
    if len(row) > width and not any(field.strip() for field in row[width:]):
        return row[:width]
    return row + [""] * (width - len(row)) if len(row) >= named else row


def places_of(path: str, sheet: Sheet, wanted: Sequence[str], delimiter: str) -> list[int]:
    """Where the wanted columns stand; names count as they are, or else without blanks around.

    Raises:
      UsageError: a column that is not there, or more than once, or is asked for by two names; says
        what is there, and the remedy.
    """
    found = {name: _matches(sheet.names, name) for name in wanted}
    missing = [name for name, places in found.items() if not places]
    if missing:
        raise UsageError(
            f"{path} has no column {', '.join(map(repr, missing))}; its first line names "
            f"{sheet.names}. {_remedy(sheet, wanted, delimiter)}"
        )
    for name, places in found.items():
        if len(places) > 1:
            numbers = ", ".join(str(place + 1) for place in places)
            raise UsageError(
                f"{path}, line 1, names the column {name!r} {len(places)} times: columns "
                f"{numbers}. Rename them."
            )
    names = dict[int, str]()
    for name, (place,) in found.items():
        if names.setdefault(place, name) != name:
            raise UsageError(
                f"{names[place]!r} and {name!r} are both the column {place + 1} of {path}, which "
                f"line 1 names {sheet.names[place]!r}. Ask for it once."
            )
    return list(names)


def _matches(names: Sequence[str], wanted: str) -> list[int]:
    exact = [k for k, name in enumerate(names) if name == wanted]
    return exact or [k for k, name in enumerate(names) if name.strip() == wanted.strip()]


def _remedy(sheet: Sheet, wanted: Sequence[str], delimiter: str) -> str:
    line = delimiter.join(sheet.names)
    for other in SEPARATORS:
        fields = [field.strip().strip('"') for field in line.split(other)]
        if other != delimiter and all(name.strip() in fields for name in wanted):
            return f"Its separator seems to be {other!r}: set Table.delimiter = {other!r}."
    if all(_NUMBER.fullmatch(name.strip()) for name in sheet.names):
        return "These are numbers: write a line of column names above them."
    other_kind = _other_kind(line.encode()[:512])
    if other_kind:
        return f"It may be another kind of file{other_kind}."
    return "Set Table.columns (and Table.delimiter, if they look like one)."


def number(text: str, decimal: str = ".") -> float | None:
    """The number in a field; None unless it is a finite one, written with `decimal`."""
    text = text.strip()
    if decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) != float("inf") else None


def shown(text: str) -> str:
    """A field as a message shows it."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def hints(texts: Iterable[str], decimal: str) -> list[str]:
    """What may help with fields that are no numbers, each said once."""
    rules: list[tuple[Callable[[str], Any], str]] = [
        (lambda t: t.lower() in MISSING, "fill what is missing"),
        (_INFINITE.fullmatch, "replace infinities"),
        (lambda t: decimal == "." and _COMMA.fullmatch(t),
         'set Table.decimal = "," if their comma is a decimal one'),
        (lambda t: decimal == "," and _POINT.fullmatch(t), 'set Table.decimal = "."'),
        (_GROUPED.fullmatch, "write numbers without separators of thousands"),
        (_DATE.fullmatch, "write dates as numbers, e.g. days since the first"),
        (_NUMBER.fullmatch, "rescale numbers beyond 1e308"),
    ]  # fmt: skip
    found = []
    for text in map(str.strip, texts):
        said = [words for rule, words in rules if rule(text)]
        found += [w for w in said or ["encode words as numbers"] if w not in found]
    return found


__all__ = ["Sheet", "hints", "number", "places_of", "read_csv", "shown"]
