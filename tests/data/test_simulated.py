"""The simulated sensor and the moving digits."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import Digits, MovingDigits, Vibrations


def examples(data, count, **kwargs):
    return data.examples(tf.range(count, dtype=tf.int64), **kwargs).numpy()


@pytest.mark.parametrize("data", [Vibrations(64), MovingDigits(4, 12)], ids=lambda d: d.name)
def test_an_example_is_a_function_of_seed_split_and_index(data):
    whole = examples(data, 20)
    assert whole.shape == (20, *data.shape)
    assert np.array_equal(data.examples(tf.constant([9, 0], tf.int64)), whole[[9, 0]])
    for other in ({"seed": 1}, {"split": "test"}):
        assert not np.array_equal(examples(data, 20, **other), whole)


def test_vibrations_have_two_bands_on_a_floor_and_unit_variance():
    x = examples(Vibrations(128), 4_000)[..., 0]
    assert x.mean() == pytest.approx(0.0, abs=0.01)
    assert x.var() == pytest.approx(1.0, rel=0.03)
    power = np.mean(np.abs(np.fft.rfft(x * np.hanning(128))) ** 2, axis=0)
    f = np.fft.rfftfreq(128)
    floor = np.median(power[f > 0.3])
    for low, high in ((0.05, 0.07), (0.17, 0.20)):
        assert power[(f >= low) & (f <= high)].min() > 20 * floor
    assert f[power.argmax()] < 0.08


def test_a_digit_keeps_its_ink_while_it_moves_and_stays_inside():
    data = MovingDigits(frames=12, size=16)
    videos = data.info().unscale(examples(data, 50))[..., 0].astype(np.float64)
    ink = videos.sum(axis=(2, 3))
    assert np.allclose(ink, ink[:, :1], rtol=0.02)
    digits = Digits(centered=False)
    inks = digits.stored(tf.range(1437, dtype=tf.int64), "train").numpy().sum(axis=(1, 2, 3))
    assert all(np.abs(inks - value).min() < 0.01 * value for value in ink[:, 0])
    centre = (videos * np.arange(16)).sum(axis=(2, 3)) / ink
    steps = np.abs(np.diff(centre, axis=1))
    assert steps.max() < 2.6
    assert np.median(steps) > 0.5


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 8"):
        Vibrations(4)
    with pytest.raises(ValueError, match="size > 8"):
        MovingDigits(8, 8)
