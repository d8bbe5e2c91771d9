"""Tables of numbers: CSV files, standardised column by column."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.data.base import (
    OpenedDataset,
    check_both_splits,
    check_policy,
    check_test_every,
    gather_on_host,
    held_out,
)
from lcss_tf.data.class_names import numbered
from lcss_tf.data.conditions import Conditions, Held, Opened
from lcss_tf.data.csv_files import Sheet, hints, number, places_of, read_csv, shown
from lcss_tf.data.fingerprint import array_hash
from lcss_tf.data.moments import RunningMoments, unresolved
from lcss_tf.data.scaling import Scaling
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array, Tensor

_BUNDLED, _TARGET = "sklearn:", "target"
_MAX_NAMED = 5  # bad rows named in a message
_RAGGED = "give each line as many fields as there are names, and quote what holds the separator"
_LARGEST_LABEL = 2**53  # up to which float64 holds every integer


@DATASETS.register
class Table(OpenedDataset):
    """The rows of a CSV file with a line of column names, as vectors of mean 0 and variance 1.

    Mean and standard deviation are those of the training rows; `scaling` keeps them, so samples
    come back in the table's own units.

    Args:
      path: of the file; it need not exist yet. ``"sklearn:wine"`` is a table that scikit-learn
        ships (iris, wine, breast_cancer, diabetes).
      columns: names of the columns to model, in this order.
      label: name of a column of classes, which is not modelled: integers, or words, which are
        numbered in natural order; None: none.
      test_every: the first of every so many rows is held out.
      delimiter: between columns, one character: a comma, a semicolon, a tab.
      on_bad_example: ``"error"``, or ``"skip"`` rows that hold anything but finite numbers.
      decimal: what parts the whole from its fraction: ``"."``, or ``","``, as in 1,5.
      condition: names of columns that are not modelled: a network is told them, and models the
        others given these. See `Conditions`.

    Raises:
      UsageError: an argument out of its range.
    """

    kind = "table"
    _label_option = "label"  # the argument that messages name

    def __init__(
        self,
        path: str,
        columns: Sequence[str],
        label: str | None = None,
        test_every: int = 5,
        delimiter: str = ",",
        on_bad_example: str = "error",
        decimal: str = ".",
        condition: Sequence[str] = (),
    ) -> None:
        check_test_every(test_every, self.owner)
        check_policy(on_bad_example, self.owner)
        _check_names(f"{self.owner}.columns", columns)
        _check_names(f"{self.owner}.condition", condition, may_be_empty=True)
        own = {"columns": columns, "condition": condition}
        _check_once(self.owner, own | {self._label_option: [label] if label else []})
        _check_separators(delimiter, decimal)
        bundled = path.startswith(_BUNDLED)
        self.path = path if bundled else os.path.abspath(os.path.expanduser(path))
        self.name = os.path.splitext(os.path.basename(path.removeprefix(_BUNDLED)))[0]
        self.columns = tuple(columns)
        self.shape = (len(self.columns),)
        self._label, self._told = label, tuple(condition)
        if self._told:
            self.condition = Conditions(f"The condition of {self.name}", self._open_conditions)
        self._test_every = test_every
        self._delimiter, self._decimal = delimiter, decimal
        self._on_bad = on_bad_example
        self._opened: dict[str, Tensor] | None = None
        self._kept: list[int] = []  # the numbers of the rows that are good
        self._dtypes = [np.dtype(np.float64)] * len(self.columns)  # in which they are stored
        self._class_names: list[str] = []

    def _open(self) -> dict[str, Tensor]:
        if self._opened is None:
            values, told, labels = self.rows()
            splits = self.divided(len(values))
            check_both_splits(splits, f"The rows of {self.path}")
            scaling = self._measured(values[splits["train"]])
            scaled = scaling.scale_finite(values, f"The rows of {self.path}", self.row_name)
            self._labels = {n: labels[k] if self._label else None for n, k in splits.items()}
            with tf.init_scope(), tf.device("CPU:0"):
                opened = {name: tf.constant(scaled[k]) for name, k in splits.items()}
            train = splits["train"]
            self._told_raw = {name: told[k] for name, k in splits.items()}
            self._hash = array_hash(values[train], labels[train] if self._label else None)
            self._scaling, self._opened = scaling, opened
        return self._opened

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`."""
        self._open()
        return list(self._class_names)

    def rows(self) -> tuple[Array, Array, Array]:
        """The good rows: values and conditions, float64 [N, columns], and labels, int64 [N]."""
        if self.path.startswith(_BUNDLED):
            sheet, names = _bundled(self.path.removeprefix(_BUNDLED))
            self._class_names = names if self._label == _TARGET else []
            return self._numbers(sheet)
        return self._numbers(read_csv(self.path, self._delimiter))

    def divided(self, count: int) -> dict[str, Array]:
        """{"train": indices, "test": indices} of so many good rows."""
        return held_out(count, self._test_every)

    def row_name(self, index: int) -> str:
        """A good row by its place, for messages."""
        return f"line {self._kept[index]:,}"

    def report_bad(self, bad: Sequence[str], count: int, remedies: Sequence[str]) -> None:
        """Raises a UsageError that names bad rows, or warns of them, as `on_bad_example` says.

        Args:
          bad: what is wrong with each, in words.
          count: of all rows.
          remedies: in words.
        """
        if not bad:
            return
        message = (
            f"{len(bad):,} of {count:,} rows of {self.path} hold something other than "
            f"finite numbers: {'; '.join(bad[:_MAX_NAMED])}{'; …' if len(bad) > _MAX_NAMED else ''}"
        )
        if self._on_bad == "error":
            raise UsageError(
                f"{message}. Correct the file ({'; '.join(remedies)}), or set "
                f'{self.owner}.on_bad_example = "skip" to leave these rows out.'
            )
        warn("%s. They are left out, as %s.on_bad_example says.", message, self.owner)

    def _open_conditions(self) -> Opened:
        self._open()
        raw = {name: Held(values) for name, values in self._told_raw.items()}
        return Opened(raw, (len(self._told),), self._told)

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`."""
        return {"examples": self.size("train"), "content": self._hash}

    def _measured(self, train: Array) -> Scaling:
        """The scaling by the moments of the training rows, float64 [N, columns]."""
        moments = RunningMoments(axis=0)
        moments.add(train)
        # Numbers that were rounded to float32, or float16, may differ by that much.
        equal = [moments.constant(dtype)[k] for k, dtype in enumerate(self._dtypes)]
        constant = self._names(equal)
        if constant:
            raise UsageError(
                f"The columns {constant} of {self.path} hold the same number in every row, or "
                "numbers that differ by no more than rounding does: leave them out of "
                f"{self.owner}.columns."
            )
        scaling = Scaling.standardising(moments.mean, moments.std, "float64")
        lost = self._names(unresolved(train, scaling))
        if lost:
            k = self.columns.index(lost[0])
            raise UsageError(
                f"The columns {lost} of {self.path} hold a few numbers so far from the others that "
                f"these become one number in float32: {lost[0]!r} reaches from "
                f"{moments.low[k]:g} to {moments.high[k]:g}. Remove such outliers, or rescale the "
                "column, e.g. by a logarithm."
            )
        return scaling

    def _names(self, chosen: Sequence[bool] | Array) -> list[str]:
        return [name for name, is_chosen in zip(self.columns, chosen, strict=True) if is_chosen]

    def _numbers(self, sheet: Sheet) -> tuple[Array, Array, Array]:
        """The good rows: values and conditions float64 [N, columns], and labels int64 [N]."""
        wanted = [*self.columns, *self._told, *([self._label] if self._label else [])]
        places = places_of(self.path, sheet, wanted, self._delimiter)
        good, bad, texts, ragged = [], [], [], False
        self._kept = []
        if self._label:
            sheet = self._with_numbered_words(sheet, places[-1])
        for i, (row, line) in enumerate(zip(sheet.rows, sheet.lines, strict=True)):
            where = f"line {line:,}, row {i + 1:,}"
            if len(row) != len(sheet.names):
                bad.append(f"{where}, {_wrong_length(row, sheet.names)}")
                ragged = True
                continue
            numbers = [number(row[k], self._decimal) for k in places]
            if None in numbers:
                k = numbers.index(None)
                bad.append(f"{where}, column {wanted[k]!r}: {shown(row[places[k]])}")
                texts.append(row[places[k]])
            else:
                good.append(numbers)
                self._kept.append(line)
        remedies = hints(texts, self._decimal) + ([_RAGGED] if ragged else [])
        self.report_bad(bad, len(sheet.rows), remedies)
        values = np.array(good, np.float64).reshape(len(good), len(wanted))
        labels = values[:, -1] if self._label else np.zeros(len(values))
        whole = (labels == np.rint(labels)) & (np.abs(labels) < _LARGEST_LABEL)
        if not whole.all():
            k = int(np.argmin(whole))
            raise UsageError(
                f"The column {self._label!r} of {self.path} must hold integers; "
                f"{self.row_name(k)} holds {labels[k]:g}. Encode classes as 0, 1, 2, …"
            )
        told = len(self.columns) + len(self._told)
        parts = values[:, : len(self.columns)], values[:, len(self.columns) : told]
        return (*parts, labels.astype(np.int64))

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The rows at `indices`, standardised; see `Dataset.examples`."""
        del seed
        return gather_on_host(self._open()[split], indices)

    def _with_numbered_words(self, sheet: Sheet, k: int) -> Sheet:
        """The sheet with numbers in its column k for classes that are words; keeps their names."""
        count = len(sheet.names)
        words = [row[k].strip() for row in sheet.rows if len(row) == count and row[k].strip()]
        if not words or any(number(word, self._decimal) is not None for word in words):
            return sheet
        labels, self._class_names = numbered({"all": words}, (), self.path)
        by_word = dict(zip(words, map(str, labels["all"]), strict=True))  # type: ignore[arg-type]
        coded = lambda row: [*row[:k], by_word.get(row[k].strip(), ""), *row[k + 1 :]]
        return sheet._replace(rows=[coded(r) if len(r) == count else r for r in sheet.rows])


def _check_names(option: str, names: Any, may_be_empty: bool = False) -> None:
    """Raises a UsageError unless an option lists different names."""
    words = not isinstance(names, str) and all(isinstance(name, str) for name in names)
    if not words or not (names or may_be_empty) or len(set(names)) != len(names):
        raise UsageError(f"{option} lists different column names; got {names!r}.")


def _check_once(owner: str, asked: Mapping[str, Sequence[str]]) -> None:
    """Raises a UsageError if two options name one column; asked: names by option."""
    option_of = dict[str, str]()
    for option, names in asked.items():
        for name in names:
            if option_of.setdefault(name, option) != option:
                raise UsageError(
                    "A column is modelled, or a condition, or the label; "
                    f"{owner}.{option_of[name]} names {name!r}, and so does {owner}.{option}. "
                    "Name it once."
                )


def _check_separators(delimiter: str, decimal: str) -> None:
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise UsageError(
            f"Table.delimiter is one character, such as ',', ';' or a tab; got {delimiter!r}."
        )
    if decimal not in (".", ","):
        raise UsageError(f"Table.decimal is '.' or ','; got {decimal!r}.")


def _wrong_length(row: list[str], names: list[str]) -> str:
    if len(row) < len(names):
        return f"column {names[len(row)]!r}: nothing; {len(row)} fields for {len(names)} names"
    extra = shown(row[len(names)])
    return f"column {len(names) + 1}: {extra}; {len(row)} fields for {len(names)} names"


def _bundled(name: str) -> tuple[Sheet, list[str]]:
    """A table that scikit-learn ships, and the names of its classes."""
    from sklearn import datasets  # slow to import, so only when used

    known = ("iris", "wine", "breast_cancer", "diabetes")
    if name not in known:
        raise UsageError(f"scikit-learn ships the tables {known}; got 'sklearn:{name}'.")
    bunch = getattr(datasets, f"load_{name}")()
    names = [*bunch.feature_names, _TARGET]
    numbers = np.column_stack([bunch.data, bunch.target])
    rows = [[repr(float(value)) for value in row] for row in numbers]
    classes = [str(word) for word in bunch.get("target_names", ())]
    return Sheet(names, rows, list(range(1, len(rows) + 1))), classes


__all__ = ["Table"]
