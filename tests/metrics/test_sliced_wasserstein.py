"""The sliced Wasserstein distance: closed forms, invariances, sampling noise, refusals."""

import json

import numpy as np
import pytest
import scipy.stats

import lcss_tf
from lcss_tf import config
from lcss_tf.data.info import DataInfo
from lcss_tf.data.scaling import Scaling
from lcss_tf.experiment import evaluate, train
from lcss_tf.metrics import SlicedWasserstein, sliced_wasserstein
from lcss_tf.metrics.sliced_wasserstein import random_directions, squared_wasserstein


def normal(count, dimension, seed):
    return np.random.default_rng(seed).normal(size=(count, dimension))


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
    assert statistics.features().shape == (4, 10)


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


@pytest.mark.parametrize(
    ("data", "bound", "picture"),
    [
        pytest.param("TwoMoons", 300, "final_grid.png", marks=pytest.mark.slow),
        pytest.param(  # in three dimensions: no picture
            "GaussianMixture", None, "final_samples.npz", marks=pytest.mark.slow
        ),
    ],
)
def test_evaluation_of_endless_vectors(tmp_path, data, bound, picture):
    """Bound by gin, or chosen by the data's kind."""
    metric = [
        "evaluate.metric = @metrics.SlicedWasserstein()",
        f"SlicedWasserstein.num_samples = {bound}",
    ]
    bindings = [
        f"train.data = @datasets.{data}()",
        "GaussianMixture.dimension = 3",
        "train.total_steps = 10",
        "sample.batch_size = 1_024",
        *(metric if bound else []),
    ]
    config.load(config.PROJECT_GIN.parent / "tests/small.gin", bindings)
    train(tmp_path / "run")
    figures, path = evaluate(tmp_path / "run")
    assert figures == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["held_out_examples"] == figures["training_examples"] == (bound or 4_096)
    name = f"sliced_wasserstein_{bound or 4_096}"
    assert 0 < figures[f"{name}_of_training_data"] < 0.3 < figures[name] < 10
    assert path.name == picture
    assert path.is_file()
