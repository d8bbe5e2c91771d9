import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from lcss_tf.data import Digits
from lcss_tf.metrics import Frechet, GaussianStatistics, PixelFrechet, frechet_distance
from lcss_tf.registry import METRICS
from tests.metrics.helpers import Classes, normal, value

RNG = np.random.default_rng(0)


def covariance(size, rank=None):
    factor = RNG.normal(size=(size, rank or 2 * size))
    return factor @ factor.T / factor.shape[1]


@pytest.mark.parametrize("size", [1, 2, 10, 64])
def test_it_equals_the_textbook_formula(size):
    mean1, mean2 = RNG.normal(size=(2, size))
    cov1, cov2 = covariance(size), covariance(size)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    expected = np.sum((mean1 - mean2) ** 2) + np.trace(cov1 + cov2 - 2 * root)
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-6)


def test_diagonal_gaussians_have_a_closed_form():
    std1, std2 = RNG.uniform(0, 3, (2, 20))
    std1[:5], std2[3:8] = 0.0, 0.0  # some directions without variance
    mean1, mean2 = RNG.normal(size=(2, 20))
    expected = np.sum((mean1 - mean2) ** 2) + np.sum((std1 - std2) ** 2)
    got = frechet_distance(mean1, np.diag(std1**2), mean2, np.diag(std2**2))
    assert got == pytest.approx(expected, rel=1e-12)


def test_singular_covariances_in_general_position():
    """In 30 dimensions of rank 7 and 4: rotated, so nothing is diagonal."""
    rotation = np.linalg.qr(RNG.normal(size=(30, 30)))[0]
    var1, var2 = np.zeros(30), np.zeros(30)
    var1[:7], var2[5:9] = RNG.uniform(0.5, 2, 7), RNG.uniform(0.5, 2, 4)
    cov1, cov2 = (rotation @ np.diag(var) @ rotation.T for var in (var1, var2))
    zero = np.zeros(30)
    expected = np.sum((np.sqrt(var1) - np.sqrt(var2)) ** 2)
    assert frechet_distance(zero, cov1, zero, cov2) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(zero, cov1, zero, cov1) == pytest.approx(0.0, abs=1e-12)
    assert frechet_distance(zero, 0 * cov1, zero, cov2) == pytest.approx(var2.sum(), rel=1e-12)


def test_it_is_symmetric_and_scales_as_a_square():
    mean1, mean2 = RNG.normal(size=(2, 8))
    cov1, cov2 = covariance(8), covariance(8, rank=3)
    there = frechet_distance(mean1, cov1, mean2, cov2)
    assert there == pytest.approx(frechet_distance(mean2, cov2, mean1, cov1), rel=1e-12)
    scaled = frechet_distance(10 * mean1, 100 * cov1, 10 * mean2, 100 * cov2)
    assert scaled == pytest.approx(100 * there, rel=1e-12)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\), \(3,\)"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(np.full(2, np.nan), np.eye(2), np.zeros(2), np.eye(2))


def test_statistics_equal_numpys_however_they_are_batched():
    features = RNG.normal(1e4, 1.0, (1000, 5))  # far from zero: sums of squares would lose digits
    for cuts in ([], [1], [10, 11, 500], range(7, 1000, 7)):
        statistics = GaussianStatistics(5)
        for batch in np.split(features, cuts):
            statistics.update(batch)
        assert statistics.count == 1000
        assert np.allclose(statistics.mean, features.mean(axis=0), rtol=1e-13)
        assert np.allclose(statistics.covariance, np.cov(features.T), rtol=1e-9, atol=1e-10)


def test_statistics_refuse_what_would_spoil_them():
    statistics = GaussianStatistics(2)
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        statistics.update(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="NaN"):
        statistics.update([[0.0, np.nan]])
    statistics.update(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="got 0"):
        _ = statistics.covariance


def test_the_pixel_metric_names_its_sample_count_and_is_registered():
    assert METRICS["PixelFrechet"] is PixelFrechet
    assert PixelFrechet(num_samples=500).name == "frechet_pixels_500"
    with pytest.raises(ValueError, match="num_samples"):
        PixelFrechet(num_samples=1)


def test_the_pixel_metric_measures_in_units_of_white():
    black, white = (np.full((4, 3, 3, 1), value, np.uint8) for value in (0, 255))
    metric = PixelFrechet()
    assert metric.distance(metric.statistics([black]), metric.statistics([white])) == 9.0


def test_the_pixel_metric_tells_digits_from_noise():
    digits, metric = Digits(), PixelFrechet()
    stored = {
        split: digits.stored(tf.range(digits.size(split), dtype=tf.int64), split).numpy()
        for split in ("train", "test")
    }
    reference = metric.statistics([stored["test"]])
    real = metric.distance(metric.statistics(np.split(stored["train"], 3)), reference)
    shuffled = RNG.permuted(stored["train"].reshape(1437, 64), axis=1).reshape(1437, 8, 8, 1)
    noise = metric.distance(metric.statistics([shuffled]), reference)
    assert 0.0 < real < 0.2
    assert noise > 20 * real


def test_the_pixel_metric_refuses_scaled_images():
    with pytest.raises(ValueError, match="unscale"):
        PixelFrechet().statistics([np.zeros((2, 8, 8, 1), np.float32)])
    with pytest.raises(ValueError, match="at least one batch"):
        PixelFrechet().statistics([])


def test_frechet_of_gaussians():
    """Samples whose moments are exactly those of two Gaussians."""
    x = normal(4_000, 5, 0)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    shift = np.linspace(-1, 1, 5)
    found = value(Frechet(Classes(), 4_000), 2.0 * x + shift, x)
    assert found.value == pytest.approx(5 * (2 - 1) ** 2 + np.sum(shift**2), rel=1e-9)


def test_fewer_samples_than_features_warn_and_give_a_value(caplog):
    """In 50 dimensions 20 samples: what the 20 span has a closed form."""
    rotation = np.linalg.qr(normal(50, 50, 0))[0]
    x = np.zeros((20, 50))
    x[:, :10] = normal(20, 10, 1)
    found = value(Frechet(Classes(), 20), 3.0 * x @ rotation, x @ rotation)
    variance = np.cov(x.T).trace()
    expected = 4 * np.sum(x.mean(0) ** 2) + (3 - 1) ** 2 * variance
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert "covariance is singular" in caplog.text
