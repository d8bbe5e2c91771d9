"""Dialects of CSV: the numbers that are meant come back, or the line and the column are named."""

import csv
import gzip
import io

import numpy as np

from lcss_tf.data import Table
from tests.robustness.case import Case
from tests.robustness.refusals import refusal

ROWS = [[1.5, -2.0], [2.25, 3e-3], [-4.0, 1e5], [0.125, 7.0], [8.5, -0.5], [3.75, 2.5]]
LINES = [f"{a!r},{b!r}" for a, b in ROWS]
PLAIN = "a,b\n" + "\n".join(LINES) + "\n"


def table(folder, content, columns=("a", "b"), **options):
    content = content.encode() if isinstance(content, str) else content
    (folder / "t.csv").write_bytes(content)
    return Table(str(folder / "t.csv"), columns, **options)


def everything(data):
    """All rows of a table in their order, in its own units."""
    parts = {
        split: data.info().unscale(data.examples(np.arange(data.size(split)), split))
        for split in ("train", "test")
    }
    count = len(parts["train"]) + len(parts["test"])
    rows = np.empty((count, data.shape[0]))
    is_test = np.arange(count) % 5 == 0
    rows[is_test], rows[~is_test] = parts["test"], parts["train"]
    return rows


def read(content, expected=ROWS, **options):
    """The table holds these numbers, to float32's precision of each column's spread."""

    def check(folder):
        data = table(folder, content, **options)
        got, wanted = everything(data), np.asarray(expected, np.float64)
        assert got.dtype == np.float64
        assert got.shape == wanted.shape, got.shape
        largest = np.abs(wanted).max(axis=0)
        assert (np.abs(got - wanted) <= 1e-6 * largest).all(), got
        return "equals the numbers that are meant"

    return check


def refused(content, *words, **options):
    """The table is refused by the file's name and these words."""

    def check(folder):
        refusal(table(folder, content, **options).require, "t.csv", *words)
        return "refused, with line and column"

    return check


def bad_row(text, *words, **options):
    """A field of the third row is named by line and column, and its row is left out if asked."""

    def check(folder):
        lines = [*LINES[:2], f"-4.0,{text}", *LINES[2:]]
        content = "a,b\n" + "\n".join(lines) + "\n"
        refuse = table(folder, content, **options).require
        refusal(refuse, "t.csv", "line 4", "row 3", "column", "1 of 7", "on_bad_example", *words)
        data = table(folder, content, on_bad_example="skip", **options)
        assert np.allclose(everything(data), ROWS, rtol=1e-5, atol=1e-2)
        return "refused, with line and column; left out on request"

    return check


def written(**options):
    """The rows as Python's csv module writes them."""
    file = io.StringIO()
    writer = csv.writer(file, **options)
    writer.writerow(["a", "b"])
    writer.writerows(ROWS)
    return file.getvalue()


def _separators():
    group = "CSV separators"
    for name, separator in (("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("bar", "|")):
        content = PLAIN.replace(",", separator)
        yield Case(group, name, read(content, delimiter=separator))
        if separator != ",":
            words = ("no column 'a', 'b'", f"set Table.delimiter = {separator!r}")
            yield Case(group, f"{name} that is not told", refused(content, *words))
    yield Case(group, "blank", read(PLAIN.replace(",", " "), delimiter=" "))
    yield Case(group, "comma and blanks", read(PLAIN.replace(",", " ,  ")))
    yield Case(group, "tab and blanks", read(PLAIN.replace(",", " \t "), delimiter="\t"))
    commas = PLAIN.replace(",", ";").replace(".", ",")
    yield Case(group, "decimal commas", read(commas, delimiter=";", decimal=","))
    words = ("line 2", "column 'a'", "'1,5'", 'Table.decimal = ","')
    yield Case(group, "decimal commas that are not told", refused(commas, *words, delimiter=";"))
    points = PLAIN.replace(",", ";")
    words = ("line 2", "column 'a'", "'1.5'", 'Table.decimal = "."')
    yield Case(
        group,
        "decimal points against the word",
        refused(points, *words, delimiter=";", decimal=","),
    )
    unquoted = "a,b\n1,5,2,5\n3,5,4,5\n"
    words = ("line 2", "4 fields for 2 names", "quote")
    yield Case(group, "decimal commas between commas", refused(unquoted, *words))
    trailing = PLAIN.replace("\n", ",\n")
    yield Case(group, "at the end of every line", read(trailing))
    yield Case(group, "at the end of every row", read(trailing.replace("a,b,", "a,b")))
    yield Case(group, "at the end of the names", read(PLAIN.replace("a,b", "a,b,")))
    unnamed = PLAIN.replace("a,b", "a,b,").replace("\n", ",note\n").replace("a,b,,note", "a,b,")
    yield Case(group, "a last column without a name", read(unnamed))
    for delimiter in ("", ",,", "\n", '"'):

        def check(_, delimiter=delimiter):
            refusal(lambda: Table("t.csv", ("a",), delimiter=delimiter), "Table.delimiter")
            return "refused by name"

        yield Case(group, f"the delimiter {delimiter!r}", check)


def _lines():
    group = "CSV lines"
    yield Case(group, "LF", read(PLAIN))
    yield Case(group, "CRLF", read(PLAIN.replace("\n", "\r\n")))
    yield Case(group, "CR", read(PLAIN.replace("\n", "\r")))
    yield Case(group, "no end of the last", read(PLAIN.rstrip()))
    yield Case(group, "blank lines", read("\n\n" + PLAIN.replace("\n", "\n\n") + "\n\n"))
    yield Case(group, "lines of blanks", read(PLAIN.replace("\n", "\n   \n")))
    yield Case(group, "as the csv module writes them", read(written()))
    blank = PLAIN.replace("2.25,0.003\n", "\n\n2.25,oops\n")
    yield Case(group, "lines are counted with the blank ones", refused(blank, "line 5", "row 2"))
    folded = 'note,a,b\n"two\nlines",1,2\nx,3,oops\n'
    yield Case(group, "lines within a field are counted", refused(folded, "line 4", "row 2"))
    yield Case(group, "names alone", refused("a,b\n", "holds 1 lines"))
    yield Case(group, "nothing", refused("", "holds 0 lines", "it is empty"))
    yield Case(group, "one row", refused("a,b\n1,2\n", "0 examples for training"))


def _quotes():
    group = "CSV quotes"
    yield Case(group, "all fields", read(written(quoting=csv.QUOTE_ALL)))
    yield Case(group, "words alone", read(written(quoting=csv.QUOTE_NONNUMERIC)))
    yield Case(group, "blanks before them", read(written(quoting=csv.QUOTE_ALL).replace(",", ", ")))
    commas = "\n".join(f'"{a}","{b}"'.replace(".", ",") for a, b in ROWS)
    yield Case(group, "decimal commas within", read("a,b\n" + commas, decimal=","))
    notes = ['"say ""hi"", twice"', '"two\nlines"', "5' wide", 'say "so"', '"a,b"', '""']
    lines = [f"{note},{line}" for note, line in zip(notes, LINES, strict=True)]
    yield Case(group, "in a column that is not used", read("note,a,b\n" + "\n".join(lines)))
    opened = PLAIN.replace("2.25", '"2.25')
    yield Case(group, "one that is not closed", refused(opened, "line 3", "not closed"))
    behind = PLAIN.replace("2.25", '"2"25')
    yield Case(group, "text behind one", refused(behind, "line 3", "text behind"))
    for length in (131_072, 131_073, 400_000):
        lines = [f"{'x' * length},{LINES[0]}", *(f"x,{line}" for line in LINES[1:])]
        content = "note,a,b\n" + "\n".join(lines)
        yield Case(group, f"a field of {length:,} characters", read(content))
    long = PLAIN.replace("2.25", "y" * 200_000)
    yield Case(group, "a long field that is no number", refused(long, "line 3", "column 'a'", "…"))


def _names():
    group = "CSV names"
    strange = (
        "=cmd|' /C calc'!A0", "{0}", "%s%n", "$\\frac$", "a;b", "<script>", "ΔT/K", "x\ty",
        "a.b", "None", "__class__", "\\", "#", "'", "1.5", "a  b", "two\nlines", 'quo"te',
        "../../etc", "NaN", "ID3", "{",
    )  # fmt: skip
    for name in strange:
        file = io.StringIO()
        csv.writer(file).writerows([[name, "b"], *ROWS])

        content = file.getvalue()

        def check(folder, name=name, content=content):
            read(content, columns=(name, "b"))(folder)
            data = table(folder, content, columns=(name, "b"))
            assert data.info().columns == (name, "b")
            refusal(table(folder, content, columns=("c", "b")).require, repr([name, "b"]))
            return "stays literal"

        yield Case(group, repr(name), check)
    yield Case(group, "another order", read(PLAIN, np.array(ROWS)[:, ::-1], columns=("b", "a")))
    yield Case(group, "blanks around", read(PLAIN.replace("a,b", " a , b ")))
    yield Case(group, "a byte-order mark", read("\ufeff" + PLAIN))
    yield Case(
        group, "a byte-order mark and quotes", read("\ufeff" + PLAIN.replace("a,b", '"a","b"'))
    )
    twice = "a,b,a\n" + "\n".join(f"{line},9" for line in LINES)
    words = ("line 1", "'a' 2 times", "columns 1, 3", "Rename")
    yield Case(group, "twice", refused(twice, *words))
    yield Case(
        group, "another one twice", read(twice.replace("a,b,a", "c,b,c").replace("c", "a", 1))
    )
    yield Case(
        group, "an index without a name", read(",a,b\n" + "\n".join(f"0,{x}" for x in LINES))
    )
    index = "a,b\n" + "\n".join(f"{k},{line}" for k, line in enumerate(LINES))
    yield Case(
        group, "an index that the names leave out", refused(index, "line 2", "3 fields for 2")
    )
    yield Case(group, "none", refused("\n".join(LINES), "no column", "line of column names"))
    yield Case(group, "another case", refused(PLAIN, "no column 'A'", columns=("A",)))
    for columns in ((), ("a", "a"), "ab", (1, 2)):

        def check(_, columns=columns):
            refusal(lambda: Table("t.csv", columns), "Table.columns")
            return "refused by name"

        yield Case(group, f"the columns {columns!r}", check)


def _fields():
    group = "CSV fields"
    numbers = ["+1.5", "-2", ".25", "3.", "1E2", "-1e-3", "0x", "007", " 4 ", "1e+05"]
    texts = [text for text in numbers if text != "0x"]
    content = "a\n" + "\n".join(texts)
    yield Case(group, "numbers", read(content, [[float(t)] for t in texts], columns=("a",)))
    for text in ("", "NA", "nan", "NaN", "null", "None", "N/A", "#N/A", "-", "?"):
        yield Case(group, f"missing: {text!r}", bad_row(text, repr(text), "fill what is missing"))
    for text in ("inf", "-inf", "Infinity"):
        yield Case(group, f"infinite: {text}", bad_row(text, repr(text), "replace infinities"))
    for text in ("1e999", "-1e400"):
        yield Case(group, f"beyond float64: {text}", bad_row(text, repr(text), "1e308"))
    thousands = ("1 234", "1'234.5", "1\u202f234", "1_000", '"1,234,567.5"')
    for text in thousands:
        yield Case(group, f"thousands: {text}", bad_row(text, "separators of thousands"))
    for text in ("2024-01-31", "31.1.2024", "1/31/2024", "2024-01-31T10:00:00", "10:30"):
        yield Case(group, f"a date: {text}", bad_row(text, repr(text), "dates as numbers"))
    for text in ("red", "5%", "$5", "0x1F", "1d5", "true", "١٢", "−5", "1e", "+", "⁵"):
        yield Case(group, f"a word: {text}", bad_row(text, repr(text), "encode words"))
    yield Case(
        group, "one field too few", refused("a,b\n1,2\n3\n", "line 3", "column 'b'", "1 fields")
    )
    yield Case(group, "one too many", refused("a,b\n1,2\n3,4,5\n", "line 3", "column 3", "'5'"))
    far = "a,b\n" + "\n".join([*LINES[:4], "1e308,1", *LINES[4:], "3,4", "5,6"])
    yield Case(group, "an outlier", refused(far, "columns ['a']", "1e+308"))
    huge = [[value * 1e303 for value in row] for row in ROWS]
    content = "a,b\n" + "\n".join(f"{a!r},{b!r}" for a, b in huge)
    yield Case(group, "a column of 1e308", read(content, huge))
    seconds = [[1.7e9 + 10 * a, b] for a, b in ROWS]
    content = "a,b\n" + "\n".join(f"{a!r},{b!r}" for a, b in seconds)

    def to_the_second(folder):
        got = everything(table(folder, content))
        assert np.abs(got[:, 0] - np.array(seconds)[:, 0]).max() < 1e-4
        return "equals the numbers that are meant"

    yield Case(group, "seconds since 1970", to_the_second)
    constant = "a,b\n" + "\n".join(f"0.1,{b}" for _, b in ROWS)
    yield Case(group, "a constant column", refused(constant, "columns ['a']", "same number"))
    labelled = "a,b\n" + "\n".join(f"{a},{k % 2}.0" for k, (a, _) in enumerate(ROWS))
    yield Case(group, "labels", read(labelled, np.array(ROWS)[:, :1], columns=("a",), label="b"))
    broken = labelled.replace(",1.0", ",1.5", 1)
    words = ("'b'", "integers", "line 3 holds 1.5")
    yield Case(
        group, "labels that are no integers", refused(broken, *words, columns=("a",), label="b")
    )


def _encodings():
    group = "CSV encodings"
    noted = "note,a,b\n" + "\n".join(f"größe,{line}" for line in LINES)
    yield Case(group, "UTF-8", read(noted))
    words = ("line 2, column 1", "0xf6", "iconv -f latin1")
    yield Case(group, "Latin-1", refused(noted.encode("latin1"), "cannot be read", *words))
    for codec in ("utf-16", "utf-16-le"):
        yield Case(group, codec, refused(PLAIN.encode(codec), "UTF-16"))
    zeros = PLAIN.replace("2.25", "2\0").encode()
    yield Case(group, "a zero byte", refused(zeros, "line 3", "zero byte"))
    others = {
        "gzip": (gzip.compress(PLAIN.encode()), "gunzip"),
        "a ZIP archive": (b"PK\x03\x04" + bytes(range(256)), "a ZIP archive"),
        "a Git LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\nsize 1\n",
            "git lfs pull",
        ),
        "a web page": (b"<!DOCTYPE html>\n<html>\n<body>\n", "a web page"),
        "JSON": (b'{"a": [1, 2],\n "b": [3, 4]}\n', "JSON"),
        "Parquet": (b"PAR1\x15\x04\xff\xfe" + bytes(40), "a Parquet file"),
    }
    for name, (content, words) in others.items():
        yield Case(group, name, refused(content, words))


def cases():
    """All of them."""
    for some in (_separators, _lines, _quotes, _names, _fields, _encodings):
        yield from some()
