"""What all datasets share: their description, and examples spread over a split."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import DataInfo, Digits, GaussianMixture, Scaling, from_user
from lcss_tf.data.base import Dataset
from lcss_tf.errors import UsageError


def test_info_survives_json():
    info = DataInfo("digits", (8, 8, 1), "image", Scaling.for_images())
    again = DataInfo.from_json(info.to_json())
    assert again == info
    assert again.shape == (8, 8, 1)
    assert np.array_equal(again.unscale(np.float32([-1, 1])), [0, 255])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x", "scaling": {"low": 1}}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="description of data"):
        DataInfo.from_json(text)


def test_wrong_info_is_refused():
    with pytest.raises(ValueError, match="sound"):
        DataInfo("x", (8,), "sound", Scaling.identity())
    with pytest.raises(ValueError, match=r"\(8, 8\)"):
        DataInfo("x", (8, 8), "image", Scaling.for_images())


def test_a_raw_shape_is_given_back_and_survives_json():
    info = DataInfo("x", (8, 8, 1), "image", Scaling.for_images(), raw_shape=(8, 8))
    x = np.zeros((3, 8, 8, 1), np.float32)
    again = DataInfo.from_json(info.to_json())
    assert again == info
    assert again.unscale(x).shape == (3, 8, 8)
    assert again.unscale(x[None]).shape == (1, 3, 8, 8)
    assert np.array_equal(again.with_channels(again.unscale(x)), Scaling.for_images().unscale(x))
    with pytest.raises(ValueError, match="without a last axis of 1; got"):
        DataInfo("x", (8, 8, 1), "image", Scaling.for_images(), raw_shape=(8,))


class Sized(Dataset):
    """The numbers 0, 1, … of a split."""

    name, shape, kind, scaling = "sized", (1,), "vector", Scaling.identity()

    def __init__(self, size):
        self._size = size

    def size(self, split="train"):
        return self._size

    def examples(self, indices, split="train", seed=0):
        return tf.cast(indices, tf.float32)[:, None]


@pytest.mark.parametrize("size", [1, 2, 7, 100, 1_437, 10**12])
@pytest.mark.parametrize("count", [1, 2, 5, 100, 1_000])
def test_spread_indices_are_the_middles_of_equal_shares(size, count):
    indices = Sized(size).spread_indices(count)
    count = min(count, size)
    assert indices.dtype == np.int64
    assert len(set(indices)) == len(indices) == count
    gaps = np.diff([-1, *indices, size]) if count == size else np.diff(indices)
    assert np.all(np.abs(gaps - size / count) < 1)
    middle = (np.arange(count) + 0.5) * size / count
    assert np.all((indices <= middle) & (middle < indices + 1))
    if count == size:
        assert np.array_equal(indices, np.arange(size))


def test_spread_examples_of_a_split_sorted_by_class_are_of_every_class():
    digits = Digits()
    order = np.sort(digits.labels())
    assert np.array_equal(np.unique(order[digits.spread_indices(20)]), np.arange(10))
    assert np.bincount(order[digits.spread_indices(100)]).min() >= 9
    some = digits.some_examples(20, "test")
    assert np.array_equal(some, digits.examples(digits.spread_indices(20, "test"), "test"))


def test_spread_indices_of_endless_data_are_the_first_and_none_is_no_number():
    endless = GaussianMixture()
    assert np.array_equal(endless.spread_indices(5), np.arange(5))
    assert not np.array_equal(endless.some_examples(5), endless.some_examples(5, seed=1))
    assert len(Sized(0).spread_indices(5)) == 0
    with pytest.raises(ValueError, match="got count = 0"):
        endless.spread_indices(0)


def test_classes_are_known_by_name_and_by_number():
    scaling = Scaling.for_images(True)
    info = DataInfo("pets", (4, 4, 3), "image", scaling, classes=("cat", "dog", "7"))
    assert [info.class_number(label) for label in ("dog", "1", 1, "7", 7)] == [1, 1, 1, 2, 7]
    assert [info.class_title(k) for k in (1, 2, 3)] == ["1: dog", "2: 7", "3"]
    with pytest.raises(UsageError, match="'cow' is no class of pets.*cat, dog, 7"):
        info.class_number("cow")
    assert DataInfo.from_json(info.to_json()) == info
    assert "classes" not in DataInfo("x", (4, 4, 3), "image", scaling).to_dict()


def test_negative_labels_are_named_with_a_remedy_that_helps():
    x = np.random.default_rng(0).normal(size=(6, 2))
    data = from_user(x, labels=[0, 9, -1, 3, -1, 2])
    expected = "2 of the 6 of .* are negative; the first is -1, of example 2. -1 usually means unl"
    with pytest.raises(UsageError, match=expected):
        data.class_labels(10)
    with pytest.raises(UsageError, match="run from 0 to 9.*set num_classes = 10"):
        from_user(x, labels=[0, 9, 1, 3, 1, 2]).class_labels(9)
