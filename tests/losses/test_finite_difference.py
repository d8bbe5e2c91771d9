"""Finite-difference sliced score matching: its minimisers, and SSM as its limit of order 2."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import random
from lcss_tf.losses import FDSSMLoss, SSMLoss
from lcss_tf.losses.directions import DIRECTIONS
from lcss_tf.ops import like
from tests.losses.test_implicit import (
    Drifting,
    assert_means,
    assert_rows_are_independent,
    exact_trace,
    minimiser,
    minimiser_on_simulated_data,
    random_network,
)


@pytest.fixture(params=[True, False], ids=["variance_reduced", "by_slice"])
def variance_reduced(request):
    return request.param


@pytest.fixture(params=sorted(DIRECTIONS))
def directions(request):
    return request.param


@pytest.mark.parametrize("h", [0.05, 1.0])
def test_minimiser_over_linear_scores(variance_reduced, directions, h):
    """On N(0, s²I): a* = 1/s² at every step h, since the mean of S± is S(x) where S is linear."""
    s, shape = 0.7, (50_000, 2)
    x, t = s * random.normal(1, shape), tf.ones(shape[0])
    slices = [DIRECTIONS[directions]((2, k), shape) for k in range(2)]
    loss = FDSSMLoss(variance_reduced, directions=directions)
    found = minimiser(lambda score_fn: loss.terms_for_slices(score_fn, x, t, slices, h))
    # As in test_sliced: the largest relative variance of one slice is 5.
    assert found == pytest.approx(1 / s**2, rel=5 * (5 / 50_000) ** 0.5)


def test_needs_no_transition_kernel(variance_reduced):
    found, expected = minimiser_on_simulated_data(FDSSMLoss(variance_reduced))
    assert found == pytest.approx(expected, rel=0.1)


def test_trace_and_norm_estimate_those_of_implicit_score_matching(variance_reduced, directions):
    network, _ = random_network(4)
    draws, examples, h = 20_000, 3, 0.02
    x, t = random.normal(1, (examples, 4)), tf.linspace(0.1, 0.9, examples)
    many = tf.tile(x, [draws, 1]), tf.tile(t, [draws])
    slices = [DIRECTIONS[directions](2, (draws * examples, 4))]
    terms = FDSSMLoss(variance_reduced).terms_for_slices(network, *many, slices, h)
    terms = {k: v.numpy().reshape(draws, examples) for k, v in terms.items()}
    # Third derivatives of this network are of order 1: the bias is of order h².
    assert_means(terms["trace"], exact_trace(network, x, t), slack=10 * h**2)
    assert_means(terms["norm"], 0.5 * np.square(network(x, t)).sum(1), slack=10 * h**2)


def test_tends_to_sliced_score_matching_with_order_2(variance_reduced, directions):
    """With the same slices the difference falls like h², term by term."""
    network, _ = random_network(4)
    x, t = random.normal(1, (256, 4)), tf.linspace(0.1, 0.9, 256)
    slices = [DIRECTIONS[directions]((2, k), (256, 4)) for k in range(2)]
    limit = SSMLoss(variance_reduced).terms_for_slices(network, x, t, slices)
    loss = FDSSMLoss(variance_reduced)
    for name in ("norm", "trace"):
        errors = [
            np.linalg.norm(
                loss.terms_for_slices(network, x, t, slices, h)[name] - limit[name],
            )
            for h in (0.2, 0.1, 0.05)
        ]
        orders = np.log2(np.divide(errors[:-1], errors[1:]))
        np.testing.assert_allclose(orders, 2.0, atol=0.2)


def test_points_lie_at_the_radius_on_both_sides_in_one_evaluation():
    """‖x± − x‖ = ε = radius · noise_scale(t) · √d for slices on the sphere."""
    calls = []

    def score_fn(x, t):
        calls.append((x.numpy(), t.numpy()))
        return -x

    sde, t, radius = Drifting(), tf.linspace(0.1, 0.9, 6), 0.3
    FDSSMLoss(radius=radius, num_directions=2).terms(score_fn, sde, random.normal(1, (6, 5)), t, 2)
    ((points, times),) = calls
    np.testing.assert_array_equal(times, np.tile(t, 4))
    pairs = points.reshape(2, 2, 6, 5)  # slice, side
    centers = pairs.mean(axis=1)
    np.testing.assert_allclose(centers[0], centers[1], atol=1e-5)
    epsilon = radius * sde.noise_scale(t).numpy() * 5**0.5
    for side in (0, 1):
        distance = np.linalg.norm(pairs[:, side] - centers, axis=-1)
        np.testing.assert_allclose(distance, np.stack([epsilon] * 2), rtol=1e-4)


def test_rademacher_slices_of_a_diagonal_jacobian_have_no_variance():
    slope = tf.constant([0.5, 1.0, 2.0])
    x, t = random.normal(1, (1000, 3)), tf.ones(1000)
    slices = [random.rademacher(2, (1000, 3))]
    trace = FDSSMLoss().terms_for_slices(lambda x, t: -slope * x, x, t, slices, 0.1)["trace"]
    np.testing.assert_allclose(trace, np.full(1000, -3.5), rtol=1e-4)


def test_rows_are_independent(variance_reduced):
    network, _ = random_network(3)
    slices = [random.normal(k, (6, 3)) for k in (5, 6)]
    h = tf.linspace(0.05, 0.2, 6)
    assert_rows_are_independent(
        lambda x, t, rows: FDSSMLoss(variance_reduced).terms_for_slices(
            network, x, t, [v[rows] for v in slices], like(h[rows], x)
        )
    )


def test_senseless_options_are_refused():
    with pytest.raises(ValueError, match="radius > 0; got 0"):
        FDSSMLoss(radius=0.0)
    with pytest.raises(ValueError, match="FDSSMLoss.directions must be one of .*; got 'cube'"):
        FDSSMLoss(directions="cube")
    with pytest.raises(ValueError, match="num_directions >= 1; got 0"):
        FDSSMLoss(num_directions=0)
