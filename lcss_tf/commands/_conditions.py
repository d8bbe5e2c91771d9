"""--condition: numbers by name, a file of conditions, an image, or those of held-out examples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lcss_tf.commands._inputs import held_out_count
from lcss_tf.commands.flags.sample import CONDITION
from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data.base import DataInfo
from lcss_tf.data.csv_files import number, places_of, read_csv
from lcss_tf.data.decoding import read_picture
from lcss_tf.data.numpy_files import is_archive, member_names, read_member, read_numpy
from lcss_tf.errors import UsageError
from lcss_tf.inference import given_at
from lcss_tf.plots import Given
from lcss_tf.typing import Array

_KEY = "condition"  # of an archive


def read_conditions(
    text: str, spec: ConditionSpec | None, info: DataInfo, data: Callable[[], Any]
) -> tuple[Any, Array | None]:
    """What ``--condition=<text>`` means, in the data's units, for `ScoreModel.sample`.

    Args:
      text: of the flag, see its help.
      spec: of the network; None: it takes none.
      info: of the data that it was trained on.
      data: () -> the run's `Dataset`; called for "test" only.

    Returns:
      (an array [M, ...], a dict of numbers by column, or the text itself where it names a class or
      the null condition; the examples that have these conditions, [M, ...] in the data's units,
      where they are known, or None).

    Raises:
      FileNotFoundError: no such file.
      UsageError: what is none of these, or holds none.
    """
    if spec is None or spec.is_class or info.condition is None:
        return text, None
    if Path(text).is_file():
        return _from_file(text, info.condition), None
    if text.partition(":")[0] == "test":
        return _held_out(text, spec, data())
    if "=" in text:
        return _by_name(text), None
    values = [number(part) for part in text.split(",")]
    if None not in values:
        return np.array(values, np.float64), None
    if Path(text).suffix:
        raise FileNotFoundError(
            f"No file {text}: --condition takes {CONDITION[0].lower()}{CONDITION[1:]}"
        )
    return text, None


def _by_name(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.rpartition("=")
        parsed = number(value)
        if not name.strip() or parsed is None:
            raise UsageError(
                f"--condition takes names and numbers, as age=63,bmi=27; got {part!r} in {text!r}."
            )
        found[name.strip()] = parsed
    return found


def _held_out(text: str, spec: ConditionSpec, data: Any) -> Given:
    count = held_out_count(text)
    data.require("test")
    return given_at(spec, data, data.spread_indices(count, "test"), "test")


def _from_file(name: str, beside: DataInfo) -> Array:
    suffix = Path(name).suffix.lower()
    if suffix == ".csv":
        return _from_csv(name, beside)
    if suffix in (".npy", ".npz"):
        if not is_archive(name):
            return np.asarray(read_numpy(name).array)
        if _KEY in member_names(name):
            return read_member(name, _KEY)
        return np.asarray(read_numpy(name, option=f"one array, called {_KEY!r},").array)
    if len(beside.shape) == 3:
        return read_picture(name, lambda header: beside.shape[2])
    raise UsageError(
        f"{name} holds no conditions of shape {beside.shape}: give a .csv, .npy or .npz file."
    )


def _from_csv(name: str, beside: DataInfo) -> Array:
    sheet = read_csv(name, ",")
    wanted = beside.columns or tuple(sheet.names)
    places = places_of(name, sheet, wanted, ",")
    values = [[number(row[k]) if k < len(row) else None for k in places] for row in sheet.rows]
    for row, line in zip(values, sheet.lines, strict=True):
        if None in row:
            raise UsageError(
                f"{name}, line {line:,}, column {wanted[row.index(None)]!r}, holds no number. "
                "Correct the file."
            )
    return np.array(values, np.float64)


__all__ = ["read_conditions"]
