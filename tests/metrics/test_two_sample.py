import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from lcss_tf.data import Digits, Table
from lcss_tf.metrics.two_sample import TwoSampleTest, energy_distance, permutation_test


def test_the_distance_is_the_textbook_s():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 3)), random.normal(1, 2, size=(20, 3))
    expected = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
    rows = np.concatenate([x, y])
    assert energy_distance(cdist(rows, rows), np.arange(50) < 30) == pytest.approx(expected)
    distance, _ = permutation_test(x, y, 9)
    assert distance == pytest.approx(expected, rel=1e-6)
    line = energy_distance(cdist(rows[:, :1], rows[:, :1]), np.arange(50) < 30)
    assert np.sqrt(line) == pytest.approx(stats.energy_distance(x[:, 0], y[:, 0]))


def test_p_is_uniform_between_equal_laws_and_small_between_others():
    random = np.random.default_rng(1)
    ps = [
        permutation_test(*random.normal(size=(2, 25, 2)), permutations=99, seed=k)[1]
        for k in range(200)
    ]
    assert stats.kstest(ps, "uniform").pvalue > 1e-3
    x = random.normal(size=(100, 2))
    assert permutation_test(x, random.normal(0.8, 1, size=(100, 2)), 999)[1] == 0.001
    # The same means and variances, another dependence.
    z = random.normal(size=(400, 1))
    tied = np.concatenate([z, z * random.choice([-1, 1], size=(400, 1))], axis=1)
    assert permutation_test(random.normal(size=(400, 2)), tied, 499)[1] < 0.02


def test_the_metric_is_blind_to_units_and_refuses_images():
    metric = TwoSampleTest(50, 99)
    random = np.random.default_rng(2)
    x, y = random.normal(size=(2, 60, 2))
    units = np.array([1e6, 1e-6])
    one = metric.distance(metric.statistics([x]), metric.statistics([y[:30], y[30:]]))
    other = metric.distance(metric.statistics([x * units]), metric.statistics([y * units]))
    assert one == other
    metric.check(Table("sklearn:wine", ("alcohol",)).info())
    with pytest.raises(ValueError, match="PixelFrechet"):
        metric.check(Digits().info())
    with pytest.raises(ValueError, match="num_samples must be at least 2"):
        TwoSampleTest(1)
