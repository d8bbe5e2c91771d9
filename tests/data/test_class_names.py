"""Names of classes: words become numbers, also words with characters that a terminal would obey."""

import numpy as np
import pytest

from lcss_tf.data.class_names import check_named, numbered
from lcss_tf.errors import UsageError


def test_a_label_is_compared_as_it_is_and_shown_safely():
    """A control character in the file of names and in the label alike."""
    odd = "cat\x1b[31m"
    labels, names = numbered({"train": [odd, "dog"], "test": [odd]}, ["dog", odd], "shards")
    np.testing.assert_array_equal(labels["train"], [1, 0])
    np.testing.assert_array_equal(labels["test"], [1])
    assert names[0] == "dog"
    assert "\x1b" not in names[1]


def test_words_alone_are_numbered_in_natural_order():
    labels, names = numbered({"train": ["10", "2", "b"], "test": []}, [], "shards")
    assert names == ["2", "10", "b"]
    np.testing.assert_array_equal(labels["train"], [1, 0, 2])


def test_a_negative_label_is_no_missing_name():
    with pytest.raises(UsageError, match="1 of the 3 of x are negative; the first is -1, of ex"):
        check_named(np.array([0, 1, -1]), ["cat", "dog"], "x")
