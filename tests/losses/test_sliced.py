"""Sliced score matching: its expectations, its variances, and its gradients against ISM's."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import random
from lcss_tf.losses import ISMLoss, SSMLoss
from lcss_tf.losses.directions import DIRECTIONS
from tests.losses.test_implicit import (
    assert_means,
    assert_rows_are_independent,
    exact_trace,
    minimiser,
    minimiser_on_simulated_data,
    random_network,
    total,
)

DRAWS = 20_000


@pytest.fixture(params=[True, False], ids=["variance_reduced", "by_slice"])
def variance_reduced(request):
    return request.param


@pytest.fixture(params=sorted(DIRECTIONS))
def directions(request):
    return request.param


def _samples(loss, network, draws=DRAWS, examples=3, dimension=4):
    """Terms [draws, examples] of the same few examples, and these: (terms, x, t)."""
    x, t = random.normal(1, (examples, dimension)), tf.linspace(0.1, 0.9, examples)
    shape = (draws * examples, dimension)
    slices = [DIRECTIONS[loss.directions]((2, k), shape) for k in range(loss.num_directions)]
    terms = loss.terms_for_slices(network, tf.tile(x, [draws, 1]), tf.tile(t, [draws]), slices)
    return {k: v.numpy().reshape(draws, examples) for k, v in terms.items()}, x, t


@pytest.mark.parametrize("s", [0.3, 2.0])
def test_minimiser_over_linear_scores(variance_reduced, directions, s):
    """On N(0, s²I): a* = 1/s²."""
    loss, shape = SSMLoss(variance_reduced, directions, num_directions=2), (50_000, 2)
    x, t = s * random.normal(1, shape), tf.ones(shape[0])
    slices = [DIRECTIONS[directions]((2, k), shape) for k in range(2)]
    found = minimiser(lambda score_fn: loss.terms_for_slices(score_fn, x, t, slices))
    # (vᵀx)² of Gaussian v and x has the relative variance (2d² + 6d)/d² = 5: the largest here.
    assert found == pytest.approx(1 / s**2, rel=5 * (5 / 50_000) ** 0.5)


def test_needs_no_transition_kernel(variance_reduced):
    found, expected = minimiser_on_simulated_data(SSMLoss(variance_reduced))
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("num_directions", [1, 3])
def test_trace_and_norm_are_unbiased_example_by_example(
    variance_reduced, directions, num_directions
):
    network, _ = random_network(4)
    loss = SSMLoss(variance_reduced, directions, num_directions)
    terms, x, t = _samples(loss, network)
    assert_means(terms["trace"], exact_trace(network, x, t), slack=1e-5)
    assert_means(terms["norm"], 0.5 * np.square(network(x, t)).sum(1), slack=1e-5)


def test_rademacher_slices_of_a_diagonal_jacobian_have_no_variance():
    """vᵀ diag(−a) v = −Σ a_i v_i² = −Σ a_i; Gaussian slices vary by 2 Σ a_i²."""
    slope = tf.constant([0.5, 1.0, 2.0])
    score_fn = lambda x, t: -slope * x
    x, t = random.normal(1, (DRAWS, 3)), tf.ones(DRAWS)

    def trace(directions):
        slices = [DIRECTIONS[directions](2, (DRAWS, 3))]
        return SSMLoss().terms_for_slices(score_fn, x, t, slices)["trace"].numpy()

    np.testing.assert_allclose(trace("rademacher"), np.full(DRAWS, -3.5), rtol=1e-6)
    assert trace("gaussian").var() == pytest.approx(2 * (0.25 + 1 + 4), rel=0.1)


def test_variance_reduction_takes_out_the_norms_variance():
    """S = −x, x ~ N(0, I): Var ½‖x‖² = d/2 with it, Var ½(vᵀx)² = (d² + 3d)/2 without.

    Given x, vᵀx of Gaussian v is N(0, ‖x‖²): E(vᵀx)⁴ = 3 E‖x‖⁴ = 3 (d² + 2d), and E(vᵀx)² = d.
    """
    d, draws = 4, 200_000
    x, v, t = random.normal(1, (draws, d)), random.normal(2, (draws, d)), tf.ones(draws)

    def norm(variance_reduced):
        loss = SSMLoss(variance_reduced, "gaussian")
        return loss.terms_for_slices(lambda x, t: -x, x, t, [v])["norm"].numpy()

    assert norm(True).var() == pytest.approx(d / 2, rel=0.05)
    assert norm(False).var() == pytest.approx((d**2 + 3 * d) / 2, rel=0.1)


def test_more_slices_lower_the_variance_by_their_number(variance_reduced):
    network, _ = random_network(4)
    losses = [SSMLoss(variance_reduced, "gaussian", count) for count in (1, 4)]
    one, four = (_samples(loss, network)[0] for loss in losses)
    np.testing.assert_allclose(one["trace"].var(0), 4 * four["trace"].var(0), rtol=0.1)
    if not variance_reduced:
        np.testing.assert_allclose(one["norm"].var(0), 4 * four["norm"].var(0), rtol=0.2)


def test_slices_share_one_evaluation():
    calls = []

    def score_fn(x, t):
        calls.append(x.shape)
        return -tf.sin(x)

    x, t = random.normal(1, (6, 3)), tf.ones(6)
    SSMLoss().terms_for_slices(score_fn, x, t, [random.rademacher(k, (6, 3)) for k in range(3)])
    assert calls == [(6, 3)]


def test_weight_gradients_under_xla_average_to_those_of_implicit_score_matching(variance_reduced):
    network, weights = random_network(3, width=6)
    loss, copies, groups = SSMLoss(variance_reduced, num_directions=2), 500, 40
    x, t = random.normal(1, (4, 3)), tf.linspace(0.1, 0.9, 4)

    def gradient(terms):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(total(terms()))
        return tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(value, weights)], axis=0)

    @tf.function(jit_compile=True)
    def of_group(seed):
        slices = [random.rademacher(s, (4 * copies, 3)) for s in random.split(seed, 2)]
        many = tf.tile(x, [copies, 1]), tf.tile(t, [copies])
        return gradient(lambda: loss.terms_for_slices(network, *many, slices))

    exact = gradient(lambda: ISMLoss().terms_at(network, x, t))
    assert_means([of_group(tf.constant(k)) for k in range(groups)], exact, slack=1e-4)


def test_rows_are_independent(variance_reduced):
    network, _ = random_network(3)
    slices = [random.normal(k, (6, 3)) for k in (5, 6)]
    assert_rows_are_independent(
        lambda x, t, rows: SSMLoss(variance_reduced).terms_for_slices(
            network, x, t, [v[rows] for v in slices]
        )
    )


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="SSMLoss.directions must be one of .*; got 'cube'"):
        SSMLoss(directions="cube")
    with pytest.raises(ValueError, match="num_directions >= 1; got 0"):
        SSMLoss(num_directions=0)
