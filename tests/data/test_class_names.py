"""Names of classes: words become numbers, also words with characters that a terminal would obey."""

import numpy as np

from lcss_tf.data.class_names import numbered


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
