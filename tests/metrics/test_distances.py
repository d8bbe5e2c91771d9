"""Distances between distributions: closed forms, invariances, sampling noise, refusals."""

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist

import lcss_tf
from lcss_tf.data import DataInfo, Digits, Scaling, Table
from lcss_tf.metrics import (
    KID,
    MMD,
    EnergyDistance,
    IdentityFeatures,
    SlicedWasserstein,
    TwoSampleTest,
    kernel_distance,
    permutation_test,
    sliced_wasserstein,
)
from lcss_tf.metrics.distances import (
    gaussian,
    negative_distance,
    polynomial,
    random_directions,
    squared_wasserstein,
)
from tests.metrics.helpers import normal, value


@pytest.mark.parametrize("dimension", [1, 2, 5, 64])
def test_a_shift_has_a_closed_form(dimension):
    """E_θ(θ·m)² = ‖m‖²/D, exactly for groups of D orthonormal directions."""
    x, shift = normal(500, dimension, 1), np.linspace(-1, 2, dimension)
    whole = dimension * (128 // dimension)
    expected = np.sqrt(np.sum(shift**2) / dimension)
    assert sliced_wasserstein(x, x + shift, whole) == pytest.approx(expected, rel=1e-9)
    assert sliced_wasserstein(x, x + shift) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("dimension", [1, 2, 5, 64])
def test_shifted_and_scaled_gaussians(dimension):
    """N(0, a²I) and N(m, b²I): (a − b)² + ‖m‖²/D, within the noise of independent samples."""
    shift = np.linspace(-1, 2, dimension)
    x, y = 0.5 * normal(6_000, dimension, 1), shift + 1.5 * normal(5_000, dimension, 2)
    expected = np.sqrt(1 + np.sum(shift**2) / dimension)
    assert sliced_wasserstein(x, y, 256) == pytest.approx(expected, rel=0.04)


def test_a_correlation_is_seen():
    """N(0, I) against a correlation of 0.9: E_θ(1 − √(θᵀCθ))², by quadrature over the circle."""
    angles = np.linspace(0, 2 * np.pi, 1_000, endpoint=False)
    expected = np.sqrt(np.mean((1 - np.sqrt(1 + 0.9 * np.sin(2 * angles))) ** 2))
    x, y = normal(10_000, 2, 1), normal(10_000, 2, 2)
    y[:, 1] = 0.9 * y[:, 0] + np.sqrt(1 - 0.81) * y[:, 1]
    assert sliced_wasserstein(x, y, 1_000) == pytest.approx(expected, rel=0.04)


def test_one_dimension_is_exact():
    x, y = normal(500, 1, 1), normal(500, 1, 2) ** 3
    exact = np.sqrt(np.mean((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2))
    assert sliced_wasserstein(x, y) == pytest.approx(exact, rel=1e-12)
    assert sliced_wasserstein([[0.0]], [[3.0]]) == 3.0


@pytest.mark.parametrize(("n", "m"), [(4, 6), (5, 7), (300, 299), (1, 9), (12, 4)])
def test_samples_of_different_number(n, m):
    """Exact: as between N·M samples, each of x repeated M times and each of y N times."""
    x, y = normal(n, 3, 1), normal(m, 3, 2) + 1
    repeated = squared_wasserstein(np.repeat(x, m, axis=0), np.repeat(y, n, axis=0))
    np.testing.assert_allclose(squared_wasserstein(x, y), repeated, rtol=1e-10)
    # On a line W₁ <= W₂, and SciPy knows W₁.
    w1 = scipy.stats.wasserstein_distance(x[:, 0], y[:, 0])
    assert sliced_wasserstein(x[:, :1], y[:, :1]) >= w1 * (1 - 1e-12)


def test_it_is_a_distance():
    x, y, z = normal(400, 3, 1), normal(300, 3, 2) + 1, 2 * normal(250, 3, 3)
    there = sliced_wasserstein(x, y)
    assert sliced_wasserstein(x, x[::-1]) == 0
    assert sliced_wasserstein(x, np.concatenate([x, x])) == pytest.approx(0, abs=1e-12)
    assert there == pytest.approx(sliced_wasserstein(y, x), rel=1e-12)
    assert sliced_wasserstein(x, z) <= there + sliced_wasserstein(y, z)
    assert sliced_wasserstein(x + 7, y + 7) == pytest.approx(there, rel=1e-9)
    assert sliced_wasserstein(-3 * x, -3 * y) == pytest.approx(3 * there, rel=1e-9)
    # Turning both changes no more than the choice of directions does.
    turn = np.linalg.qr(normal(3, 3, 4))[0]
    turned = sliced_wasserstein(x @ turn, y @ turn, 1_000)
    assert turned == pytest.approx(sliced_wasserstein(x, y, 1_000), rel=0.02)


def test_sampling_noise_falls_like_one_over_the_root():
    noise = [
        np.mean([sliced_wasserstein(normal(n, 2, s), normal(n, 2, s + 50)) for s in range(20)])
        for n in (500, 8_000)
    ]
    assert noise[0] / noise[1] == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize(("dimension", "count"), [(1, 9), (2, 7), (5, 128), (200, 64)])
def test_directions_are_orthonormal_in_groups_and_fixed(dimension, count):
    directions = random_directions(dimension, count)
    assert directions.shape == (dimension, 1 if dimension == 1 else count)
    for start in range(0, directions.shape[1], dimension):
        group = directions[:, start : start + dimension]
        np.testing.assert_allclose(group.T @ group, np.eye(group.shape[1]), atol=1e-12)
    np.testing.assert_array_equal(directions, random_directions(dimension, count))


def test_the_metric_on_a_dataset():
    data = lcss_tf.DATASETS["GaussianMixture"](dimension=2)
    metric = lcss_tf.METRICS["SlicedWasserstein"](num_samples=2_000)
    metric.check(data.info())
    first, second = (np.array(data.examples(np.arange(2_000), s, 0)) for s in ("train", "test"))
    statistics = [metric.statistics(part) for part in ([first[:700], first[700:]], [second])]
    assert metric.name == "sliced_wasserstein_2000"
    assert metric.distance(*statistics) == pytest.approx(sliced_wasserstein(first, second))
    with pytest.raises(ValueError, match="sees vectors; digits holds images"):
        metric.check(lcss_tf.DATASETS["Digits"]().info())


def test_signals_are_flattened():
    metric = SlicedWasserstein()
    metric.check(DataInfo("signals", (5, 2), "vector", Scaling.identity()))
    statistics = metric.statistics(iter([np.zeros((3, 5, 2)), np.ones((1, 5, 2))]))
    assert statistics.vectors().shape == (4, 10)


def test_bad_samples_are_refused():
    with pytest.raises(ValueError, match="NaN or infinity in 3 of 3"):
        sliced_wasserstein(np.full((3, 2), np.nan), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"one dimension; got \(3, 2\) and \(3, 1\)"):
        sliced_wasserstein(np.zeros((3, 2)), np.zeros((3, 1)))
    for shape in ((3,), (0, 2), (2, 2, 2)):
        with pytest.raises(ValueError, match=r"\[N, D\]"):
            sliced_wasserstein(np.zeros(shape), np.zeros(shape))
    with pytest.raises(ValueError, match="num_projections"):
        sliced_wasserstein(np.zeros((3, 2)), np.zeros((3, 2)), num_projections=0)


def test_bad_options_and_batches_are_refused():
    with pytest.raises(ValueError, match="num_samples >= 2"):
        SlicedWasserstein(num_samples=1)
    for batches in ([], [np.zeros((0, 3))]):
        with pytest.raises(ValueError, match="at least one batch"):
            SlicedWasserstein().statistics(batches)
    with pytest.raises(ValueError, match="vectors"):
        SlicedWasserstein().statistics([np.zeros(3)])
    with pytest.raises(ValueError, match="of one shape"):
        SlicedWasserstein().statistics([np.zeros((3, 2)), np.zeros((3, 1))])


def test_kernel_distances_by_hand():
    """Three points against two, pair by pair."""
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [2.0]])
    for kernel, k in (
        (negative_distance, lambda a, b: -abs(a - b)),
        (polynomial, lambda a, b: (a * b + 1) ** 3),
        (gaussian(0.7), lambda a, b: np.exp(-((a - b) ** 2) / 0.98)),
    ):
        xs, ys = x[:, 0], y[:, 0]
        own = np.mean([k(a, b) for i, a in enumerate(xs) for j, b in enumerate(xs) if i != j])
        other = np.mean([k(a, b) for i, a in enumerate(ys) for j, b in enumerate(ys) if i != j])
        across = np.mean([k(a, b) for a in xs for b in ys])
        expected = own + other - 2 * across
        assert kernel_distance(x, y, kernel)[0] == pytest.approx(expected, rel=1e-12)


def test_the_energy_distance_is_scipys():
    """Its estimate with the pairs of an example with itself, squared, differs by their share."""
    x, y = normal(300, 1, 0), normal(250, 1, 1, 1.5, 0.5)
    ours = value(EnergyDistance(300), x, y).value
    spread = lambda v: np.abs(v - v.T).sum()
    share = spread(x) / (300**2 * 299) + spread(y) / (250**2 * 249)
    theirs = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    assert ours == pytest.approx(theirs - share, rel=1e-9)


def test_mmd_of_gaussians_has_a_closed_form():
    """N(0, I) and N(m, b²I) in d dimensions under a Gaussian kernel of bandwidth h."""
    d, b, h = 3, 1.5, 1.2
    shift = np.array([0.5, 0.0, -0.5])
    overlap = lambda v, m: (h**2 / (h**2 + v)) ** (d / 2) * np.exp(-m / (2 * (h**2 + v)))
    expected = overlap(2, 0) + overlap(2 * b**2, 0) - 2 * overlap(1 + b**2, np.sum(shift**2))
    found = value(MMD(3_000, h), normal(3_000, d, 1, b, shift), normal(3_000, d, 0))
    assert found.value == pytest.approx(expected, abs=5 * found.error)
    assert found.error < 0.1 * expected


def test_kid_of_gaussians_has_a_closed_form():
    """E(x·y/d + 1)³ for independent Gaussians, by moments up to the third, in one dimension."""
    a, b, m = 1.0, 1.4, 0.3  # stds, and the second's mean
    mean = lambda p, v: {1: p, 2: p * p + v, 3: p**3 + 3 * p * v}
    cross = lambda p, u, q, v: sum(
        c * mean(p, u)[k] * mean(q, v)[k] for k, c in ((1, 3), (2, 3), (3, 1))
    )
    expected = cross(0, a * a, 0, a * a) + cross(m, b * b, m, b * b) - 2 * cross(0, a * a, m, b * b)
    metric = KID(IdentityFeatures(), 4_000)
    found = value(metric, normal(4_000, 1, 1, b, m), normal(4_000, 1, 0, a))
    assert found.value == pytest.approx(expected, abs=4 * found.error)
    assert found.error < 0.2 * expected


def test_the_permutation_tests_distance_is_the_energy_distance():
    """By hand, and the one that the metric gives; for equal sets too."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 3)), random.normal(1, 2, size=(20, 3))
    own = cdist(x, x).sum() / (30 * 29) + cdist(y, y).sum() / (20 * 19)
    expected = 2 * cdist(x, y).mean() - own
    assert permutation_test(x, y, 9)[0] == pytest.approx(expected, rel=1e-6)
    assert kernel_distance(x, y, negative_distance)[0] == pytest.approx(expected, rel=1e-6)


def test_p_is_uniform_between_equal_distributions_and_small_between_others():
    random = np.random.default_rng(1)
    ps = [
        permutation_test(*random.normal(size=(2, 25, 2)), permutations=99, seed=k)[1]
        for k in range(200)
    ]
    assert scipy.stats.kstest(ps, "uniform").pvalue > 1e-3
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
