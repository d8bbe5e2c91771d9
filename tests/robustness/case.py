"""One input, and what the project must make of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """An input that `check` makes in the folder it is given, reads, and holds against the truth.

    Args:
      group: What is varied, in words of a reader: "PNG chunks", "CSV separators".
      name: The variant, unique in its group.
      check: folder → what came of it, as a short phrase: "equals Pillow", "refused by name".
        AssertionError where the result is wrong.
    """

    group: str
    name: str
    check: Callable[[Path], str]
