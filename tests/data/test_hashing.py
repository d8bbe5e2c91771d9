import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing


def splitmix64(state):
    """The reference algorithm, in Python's own integers."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_words_are_splitmix64s():
    golden = 0x9E3779B97F4A7C15
    got = hashing.words(12345, tf.constant([0, 1, 10**12], tf.int64), 2).numpy()
    for row, counter in enumerate([0, 1, 10**12]):
        for column in range(2):
            state = (12345 + (2 * counter + column) * golden) % 2**64
            assert int(got[row, column]) == splitmix64(state)


def test_known_first_number_of_splitmix64():
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # the published sequence of seed 0
    assert int(hashing.words(0, tf.constant([0], tf.int64), 1)[0, 0]) == 0xE220A8397B1DCDAF


def test_a_row_depends_on_its_counter_alone():
    key = hashing.stream_key(3, "flip")
    together = hashing.uniform(key, tf.range(100, dtype=tf.int64), 3)
    alone = hashing.uniform(key, tf.constant([42], tf.int64), 3)
    assert np.array_equal(together[42:43], alone)


def test_uniforms_are_uniform_and_below_one():
    values = hashing.uniform(hashing.stream_key(0), tf.range(200_000, dtype=tf.int64), 2).numpy()
    assert values.min() >= 0.0
    assert values.max() < 1.0
    expected = values.shape[0] / 64  # an 8×8 board of cells
    cells = np.histogram2d(*values.T, bins=8, range=[[0, 1], [0, 1]])[0]
    assert np.sum((cells - expected) ** 2 / expected) < 108  # 99.98 % of χ² with 63 degrees


def test_normals_have_normal_moments():
    values = hashing.to_normal(hashing.uniform(7, tf.range(200_000, dtype=tf.int64), 4)).numpy()
    assert values.shape == (200_000, 2)
    assert np.all(np.isfinite(values))
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        assert abs(np.mean(values**power) - moment) < 0.06
    assert abs(np.mean(values[:, 0] * values[:, 1])) < 0.01


def test_streams_differ_by_seed_and_by_name():
    seeds = {hashing.stream_key(seed, name) for seed in range(100) for name in ("a", "b", 0, 1)}
    assert len(seeds) == 400
    assert hashing.stream_key(-1) == hashing.stream_key(2**64 - 1)
