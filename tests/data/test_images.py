"""The bases of image datasets: pipelines, flips, dequantised levels."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import (
    Dequantised,
    Digits,
    ImageDataset,
    NoiseImages,
    TwoMoons,
    evaluation_batches,
    index_batches,
)
from tests.data.helpers import classes

RAMP = np.arange(4)[:, None] + 30 * np.arange(2)[:, None, None] + 50 * np.arange(3)  # (2, 4, 3)


class Ramp(ImageDataset):
    """Image i holds the numbers i, i + 1, i + 2, … from left to right."""

    def __init__(self, flip):
        super().__init__("ramp", (2, 4, 3), flip=flip, centered=False)

    def size(self, split="train"):
        return 100

    def stored(self, indices, split="train", seed=0):
        return tf.cast(indices[:, None, None, None] + RAMP, "uint8")


def batches_of(dataset, seed=0, **kwargs):
    stream = index_batches(dataset.size(), 8, seed, **kwargs)
    return dataset.pipeline(stream, seed=seed)


def test_a_pipeline_gives_the_examples_in_the_streams_order():
    digits = Digits()
    got = list(digits.pipeline(evaluation_batches(360, 128), "test"))
    assert [len(batch) for batch in got] == [128, 128, 104]
    expected = digits.examples(tf.range(360, dtype=tf.int64), "test")
    assert np.array_equal(tf.concat(got, axis=0), expected)
    assert batches_of(digits).element_spec.shape == (8, 8, 8, 1)


def test_flips_are_fair_and_only_in_training():
    dataset = Ramp(flip=True)
    stream = index_batches(100, 50, seed=1).take(40)
    flipped = []
    for batch, (indices, _) in zip(dataset.pipeline(stream, seed=1), stream, strict=True):
        stored = dataset.info().unscale(batch)
        ramp = indices.numpy()[:, None, None, None] + RAMP
        is_flipped = stored[:, 0, 0, 0] > stored[:, 0, 3, 0]
        expected = np.where(is_flipped[:, None, None, None], ramp[:, :, ::-1], ramp)
        assert np.array_equal(stored, expected)
        flipped.append(is_flipped)
    assert abs(np.mean(flipped) - 0.5) < 0.05
    assert not np.array_equal(flipped[0], flipped[1])
    test = np.concatenate(list(dataset.pipeline(evaluation_batches(100, 10))))
    assert np.array_equal(test, dataset.examples(tf.range(100, dtype=tf.int64)))


def test_no_flip_unless_asked():
    dataset = Ramp(flip=False)
    batch = next(iter(batches_of(dataset))).numpy()
    assert np.all(batch[:, :, 0] < batch[:, :, 3])


def test_flips_do_not_depend_on_shards_or_on_where_the_run_began():
    dataset = Ramp(flip=True)
    whole = np.concatenate(list(batches_of(dataset, seed=2).take(30)))
    halves = np.concatenate(list(batches_of(dataset, seed=2, shards=((0, 4), (4, 4))).take(60)))
    resumed = np.concatenate(list(batches_of(dataset, seed=2, start_step=20).take(10)))
    assert np.array_equal(halves, whole)
    assert np.array_equal(resumed, whole[160:])


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'valid'"):
        Digits().size("valid")
    with pytest.raises(ValueError, match="'valid'"):
        Digits().pipeline(evaluation_batches(3, 3), "valid")


def test_info_needs_no_data():
    info = Digits(centered=False).info()
    assert (info.name, info.shape, info.kind) == ("digits", (8, 8, 1), "image")
    assert info.scaling.low == 0.0


INDICES = tf.range(40, dtype=tf.int64)


@pytest.fixture(params=[True, False], ids=["centered", "from zero"])
def pair(request):
    plain = Digits(centered=request.param)
    return plain, Dequantised(plain)


def test_a_visit_stays_within_its_levels(pair):
    plain, data = pair
    stored = plain.stored(INDICES, "train").numpy()
    middle = data.examples(INDICES)
    visits = [data.augmented(INDICES, INDICES + shift, seed=1).numpy() for shift in (0, 1000)]
    width = data.scaling.level_width
    gap = np.stack(visits) - middle.numpy()
    assert np.abs(gap).max() <= 0.5 * width * 1.0001
    assert gap.mean() == pytest.approx(0, abs=4 * width / np.sqrt(12 * gap.size))
    assert gap.std() == pytest.approx(width / np.sqrt(12), rel=0.03)
    assert np.abs(visits[0] - visits[1]).max() > 0.5 * width
    again = data.augmented(INDICES, INDICES, seed=1).numpy()
    np.testing.assert_array_equal(again, visits[0])
    # The same levels as the plain data's, and the same stored values come back.
    same = plain.scaling.dequantise(plain.examples(INDICES), 0.5)
    np.testing.assert_allclose(middle, same, atol=1e-6)
    np.testing.assert_array_equal(data.info().unscale(middle), stored)
    extremes = data.info().unscale(np.float32([data.scaling.low, data.scaling.high]))
    assert extremes.tolist() == [0, 255]


def test_256_levels_come_back():
    plain = NoiseImages(shape=(16, 16, 3))
    data = Dequantised(plain)
    np.testing.assert_array_equal(
        data.info().unscale(data.examples(INDICES)), plain.stored(INDICES, "train")
    )


def test_batches_and_labels_are_the_other_datasets(pair):
    plain, data = pair
    batches = tf.data.Dataset.from_tensors((INDICES, INDICES))
    x, labels = next(iter(data.pipeline(batches, "train", 3, condition=classes(10))))
    np.testing.assert_array_equal(labels, plain.labels()[:40])
    np.testing.assert_array_equal(x, data.augmented(INDICES, INDICES, "train", 3))
    assert data.size("test") == 360


def test_data_without_levels_are_refused():
    with pytest.raises(ValueError, match="two_moons does not say"):
        Dequantised(TwoMoons())
