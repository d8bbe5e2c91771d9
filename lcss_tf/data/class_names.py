"""Names of classes: labels that are words become numbers, and files of names are read."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lcss_tf import forms
from lcss_tf.data.files import natural_key
from lcss_tf.errors import UsageError
from lcss_tf.files import read_json, read_text
from lcss_tf.texts import visible
from lcss_tf.typing import Array

_FILES = ("classes.json", "classes.txt")
_FEW = 8  # names that a message lists


def numbered(
    labels: Mapping[str, Sequence[int | str]], names: Sequence[str], owner: str
) -> tuple[dict[str, Array | None], list[str]]:
    """Labels as integers, and the names of the classes.

    Args:
      labels: those of each split: integers, which are kept, or words, of which the k-th name is the
        class k.
      names: of the classes; empty: the words themselves in natural order ("2" before "10"), those
        of all splits together.
      owner: whose labels they are, for messages.

    Returns:
      int64 [size] of each split, and the names; none where all labels are integers without names.

    Raises:
      UsageError: words and integers mixed where nothing names them, a word that is no name, or a
        number without a name.
    """
    every = [label for part in labels.values() for label in part]
    words = {label for label in every if isinstance(label, str)}
    known = list(names)
    if not known and words:
        if len(words) < len(set(every)):
            some = next(label for label in every if not isinstance(label, str))
            raise UsageError(
                f"The labels of {owner} are words, such as {visible(min(words))!r}, and integers, "
                f"such as {some}. Use the one or the other, or name the classes."
            )
        known = sorted(words, key=natural_key)
    number: dict[Any, int] = {name: k for k, name in enumerate(known)}
    lost = [label for label in words if label not in number]
    if lost:
        raise UsageError(
            f"{visible(min(lost))!r} is a label of {owner} and no name of a class: "
            f"{_listed(known)}. Add it, or correct the label."
        )
    found = {
        split: np.array([number.get(x, x) if isinstance(x, str) else x for x in part], np.int64)
        for split, part in labels.items()
    }
    if known:
        for part in found.values():
            check_named(part, known, owner)
    return dict(found), [visible(name) for name in known]


def check_named(labels: Array, names: Sequence[str], owner: str) -> None:
    """Raises a UsageError unless each label (int64 [N]) is the number of a name."""
    check_from_zero(labels, owner)
    if len(labels) and labels.max() >= len(names):
        raise UsageError(
            f"The labels of {owner} run to {labels.max()}, and {len(names)} classes have names. "
            "Name them all, or none."
        )


def check_from_zero(labels: Array, owner: str) -> None:
    """Raises a UsageError if labels (int64 [N]) are negative; names the first."""
    if len(labels) and labels.min() < 0:
        first = int(np.argmax(labels < 0))
        raise UsageError(
            f"Labels run from 0 on, and {int((labels < 0).sum()):,} of the {len(labels):,} of "
            f"{owner} are negative; the first is {labels[first]}, of example {first:,}. -1 usually "
            "means unlabelled: leave these examples out, or give them a class."
        )


def read_class_names(folder: str) -> list[str]:
    """The names in ``classes.json`` (a list, or {name: number}) or ``classes.txt`` (lines).

    Returns:
      The k-th being that of class k; empty where no such file is there.

    Raises:
      UsageError: a file that holds something else, or a name twice.
    """
    for name in _FILES:
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            continue
        if name.endswith(".txt"):
            names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        else:
            content = read_json(path, forms.ANY, "Correct it, or remove it.")
            names = _ordered(content, path)
        if len(set(names)) != len(names):
            raise UsageError(f"{visible(path)} holds a name twice. Give each class its own.")
        return names
    return []


def _ordered(content: Any, path: str) -> list[str]:
    names = content
    if isinstance(content, dict) and sorted(content.values(), key=str) == sorted(
        range(len(content)), key=str
    ):
        names = sorted(content, key=content.__getitem__)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(
            f"{visible(path)} names classes as a list of words, or as {{word: number}} with the "
            f"numbers from 0 on; got {str(content)[:80]}."
        )
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(visible, names[:_FEW])) + (", …" if len(names) > _FEW else "")


__all__ = ["check_from_zero", "check_named", "numbered", "read_class_names"]
