"""Literals in gin bindings: what may be meant is let through, anything else is said in words."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gin
import numpy as np
import pytest

from lcss_tf.commands import _gin
from lcss_tf.commands._types import fits, in_words
from lcss_tf.errors import UsageError
from lcss_tf.metrics import Metric
from lcss_tf.typing import SDELike
from tests.commands.helpers import SMALL

FITTING = [
    (3, int), (True, bool), (3, float), (0.5, float), ("x", str), (None, int | None),
    ((1, 2), tuple[int, ...]), ([1, 2], tuple[int, int]), ((), Sequence[str]), ({}, dict),
    ({"a": 1}, Mapping[str, int]), ("x", str | Path), ("x", Path), ("a", Literal["a", "b"]),
    (3, Any), (3, "unknown"), ([1.0], np.ndarray), (0.5, np.ndarray | float), (object(), int),
    ([object()], Sequence[Metric]),
]  # fmt: skip
OTHERS = [
    (0.5, int, "a whole number"), ("3", int, "a whole number"), ("x", float, "a number"),
    (3, str, "a text in quotes"), (3, Sequence[int], "a list in brackets with a whole number"),
    ("ab", Sequence[str], "a list in brackets with a text in quotes"),
    ((1, "b"), tuple[int, ...], "a list in brackets with a whole number"),
    ((1,), tuple[int, int], "a list in brackets with a whole number"),
    (3, tuple, "a list in brackets"), ([], dict, "a dict in braces"),
    (None, int, "a whole number"), ("c", Literal["a", "b"], "'a' or 'b'"),
    (3, Metric | None, "an object @Metric() or None"), (3, SDELike, "an object @SDELike()"),
    (3, Callable[[int], int], "what makes one, @name without brackets"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "hint"), FITTING)
def test_what_may_be_meant_is_let_through(value, hint):
    assert fits(value, hint)


@pytest.mark.parametrize(("value", "hint", "said"), OTHERS)
def test_what_cannot_be_meant_is_refused_in_words(value, hint, said):
    assert not fits(value, hint)
    assert in_words(hint) == said


def test_every_wrong_binding_is_named_before_anything_is_built():
    bindings = ["fit.steps = 2.5", "a/KID.num_samples = 'x'", "fit.batch_size = 4"]
    with pytest.raises(UsageError) as caught:
        _gin.load(SMALL, bindings)
    gin.clear_config()
    assert "fit.steps expects a whole number; got 2.5." in str(caught.value)
    assert "a/KID.num_samples expects a whole number; got 'x'." in str(caught.value)
    assert "batch_size" not in str(caught.value)
