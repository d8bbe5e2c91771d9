"""Images with continuous levels: within their level's width, another place at each visit."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import Dequantised, Digits, NoiseImages, TwoMoons

INDICES = tf.range(40, dtype=tf.int64)


@pytest.fixture(params=[True, False], ids=["centered", "from zero"])
def pair(request):
    plain = Digits(centered=request.param)
    return plain, Dequantised(plain)


def test_a_visit_stays_within_its_levels(pair):
    plain, data = pair
    stored = plain.stored(INDICES, "train").numpy()
    middle = data.examples(INDICES)
    visits = [data.visits(INDICES, INDICES + shift, seed=1).numpy() for shift in (0, 1000)]
    width = data.scaling.level_width
    gap = np.stack(visits) - middle.numpy()
    assert np.abs(gap).max() <= 0.5 * width * 1.0001
    assert gap.mean() == pytest.approx(0, abs=4 * width / np.sqrt(12 * gap.size))
    assert gap.std() == pytest.approx(width / np.sqrt(12), rel=0.03)
    assert np.abs(visits[0] - visits[1]).max() > 0.5 * width
    again = data.visits(INDICES, INDICES, seed=1).numpy()
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
    x, labels = next(iter(data.pipeline(batches, "train", 3, num_classes=10)))
    np.testing.assert_array_equal(labels, plain.labels()[:40])
    np.testing.assert_array_equal(x, data.visits(INDICES, INDICES, "train", 3))
    assert data.size("test") == 360


def test_data_without_levels_are_refused():
    with pytest.raises(ValueError, match="two_moons does not say"):
        Dequantised(TwoMoons())
