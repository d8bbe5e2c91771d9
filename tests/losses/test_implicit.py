"""Implicit score matching: the exact trace, its minimiser, and what the sliced tests share."""

import math

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.losses import ISMLoss


class Drifting(lcss_tf.SDE):
    """dx = −x dt + dw, of which the library knows no kernel: Var x_t = e^{−2t}(s² − ½) + ½."""

    simulation_steps = 40

    def drift(self, x, t):
        return -x

    def diffusion(self, x, t):
        return tf.ones_like(t)[:, None]

    def prior_sample(self, shape, seed):
        return 0.5**0.5 * random.normal(seed, shape)


def total(terms):
    """J [B] of its terms."""
    return tf.add_n(list(terms.values()))


def minimiser(terms):
    """a* = B/A of E J = ½A a² − B a, J of S(x) = −a x; `terms` takes score_fn."""
    plus, minus = (
        float(tf.reduce_mean(total(terms(lambda x, t, a=a: -a * x)))) for a in (1.0, -1.0)
    )
    return 0.5 * (minus - plus) / (plus + minus)


def minimiser_on_simulated_data(loss, s=0.7, time=0.5, draws=10_000):
    """(a*, 1/Var x_t) for x_0 ~ N(0, s²I) in two dimensions, x_t simulated."""
    x0, t = s * random.normal(1, (draws, 2)), tf.fill([draws], time)
    found = minimiser(lambda score_fn: loss.terms(score_fn, Drifting(), x0, t, 3))
    return found, 1 / (math.exp(-2 * time) * (s**2 - 0.5) + 0.5)


def random_network(dimension, width=16):
    """A smooth random vector field score(x, t), fixed by its seed, and its weights."""
    generator = np.random.default_rng(0)
    first = tf.Variable(
        generator.normal(size=(dimension, width)) / dimension**0.5, dtype=tf.float32
    )
    second = tf.Variable(generator.normal(size=(width, dimension)) / width**0.5, dtype=tf.float32)
    return (lambda x, t: tf.tanh(x @ first + t[:, None]) @ second), [first, second]


def exact_trace(score_fn, x, t):
    """tr ∇S(x) [B], by the whole Jacobian."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = score_fn(x, t)
    return tf.linalg.trace(tape.batch_jacobian(score, x)).numpy()


def assert_means(samples, expected, slack=0.0):
    """Means over draws [draws, ...] equal `expected` within 5 standard errors (and slack)."""
    samples, expected = np.asarray(samples, np.float64), np.asarray(expected)
    error = 5 * samples.std(0) / len(samples) ** 0.5
    assert (np.abs(samples.mean(0) - expected) <= error + slack).all()


def assert_rows_are_independent(terms):
    """Another value of example 2 changes the terms of example 2, and no others.

    `terms(x, t, rows)` evaluates the given rows of a batch of six.
    """
    x, t = random.normal(1, (6, 3)), tf.linspace(0.1, 0.9, 6)
    whole = terms(x, t, slice(0, 6))
    halves = [terms(x[r], t[r], r) for r in (slice(0, 3), slice(3, 6))]
    moved = terms(tf.tensor_scatter_nd_add(x, [[2]], tf.ones((1, 3))), t, slice(0, 6))
    others = np.array([0, 1, 3, 4, 5])
    for name, values in whole.items():
        joined = np.concatenate([half[name] for half in halves])
        np.testing.assert_allclose(joined, values, rtol=1e-4, atol=1e-5)
        change = np.abs(moved[name] - values)
        assert change[2] > 1e-3
        assert change[others].max() < 1e-5


@pytest.mark.parametrize("s", [0.3, 0.7, 2.0])
def test_minimiser_over_linear_scores(s):
    """On N(0, s²I): a* = d/E‖x‖² = 1/s²."""
    x, t = s * random.normal(1, (50_000, 2)), tf.ones(50_000)
    found = minimiser(lambda score_fn: ISMLoss().terms_at(score_fn, x, t))
    assert found == pytest.approx(1 / s**2, rel=5 * (2 / 100_000) ** 0.5)


def test_needs_no_transition_kernel():
    found, expected = minimiser_on_simulated_data(ISMLoss())
    assert found == pytest.approx(expected, rel=0.05)


def test_trace_of_vectors_and_images_is_that_of_the_whole_jacobian():
    network, _ = random_network(12)
    x, t = random.normal(1, (5, 12)), tf.linspace(0.1, 0.9, 5)
    expected = exact_trace(network, x, t)
    terms = ISMLoss().terms_at(network, x, t)
    np.testing.assert_allclose(terms["trace"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        terms["norm"], 0.5 * np.square(network(x, t)).sum(1), rtol=1e-5, atol=1e-6
    )
    shape = (5, 2, 2, 3)
    images = lambda x, t: tf.reshape(network(tf.reshape(x, (-1, 12)), t), (-1, 2, 2, 3))
    trace = ISMLoss().terms_at(images, tf.reshape(x, shape), t)["trace"]
    np.testing.assert_allclose(trace, expected, rtol=1e-4, atol=1e-5)


def test_a_constant_score_has_no_trace():
    terms = ISMLoss().terms_at(lambda x, t: tf.ones_like(x), tf.zeros([4, 3]), tf.ones([4]))
    np.testing.assert_array_equal(terms["trace"], np.zeros(4))
    np.testing.assert_array_equal(terms["norm"], np.full(4, 1.5))


def test_weight_gradients_under_xla_are_those_of_the_closed_form():
    """S = W₂ᵀ tanh(h), h = W₁ᵀx + t: tr ∇S = Σ_k (1 − tanh² h_k) (W₁ᵀW₂ᵀ)_kk."""
    network, weights = random_network(4)
    x, t = random.normal(1, (8, 4)), tf.linspace(0.1, 0.9, 8)

    def closed_form():
        first, second = weights
        slope = 1 - tf.tanh(x @ first + t[:, None]) ** 2
        trace = tf.linalg.matvec(slope, tf.reduce_sum(first * tf.transpose(second), axis=0))
        return 0.5 * tf.reduce_sum(network(x, t) ** 2, axis=1) + trace

    def gradients(values):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(values())
        return tape.gradient(loss, weights)

    ours = tf.function(
        lambda: gradients(lambda: total(ISMLoss().terms_at(network, x, t))), jit_compile=True
    )
    for a, b in zip(ours(), gradients(closed_form), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_trains_through_upsampling_under_xla():
    """The second derivative of a sum over broadcast axes, which XLA refuses in a while_loop."""
    weight = tf.Variable(random.normal(1, (3, 3, 1, 1)))

    def score_fn(x, t):
        low = tf.nn.conv2d(x, weight, strides=2, padding="SAME")
        high = tf.repeat(tf.repeat(tf.tanh(low), 2, axis=1), 2, axis=2)
        return tf.nn.conv2d(high, weight, strides=1, padding="SAME")

    def trace_and_gradient(x):
        with tf.GradientTape() as tape:
            trace = ISMLoss().terms_at(score_fn, x, tf.ones(2))["trace"]
        return trace, tape.gradient(trace, weight)

    x = random.normal(2, (2, 4, 4, 1))
    trace, gradient = tf.function(trace_and_gradient, jit_compile=True)(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = score_fn(x, None)
    jacobian = tf.reshape(tape.batch_jacobian(score, x), (2, 16, 16))
    np.testing.assert_allclose(trace, tf.linalg.trace(jacobian), rtol=1e-4, atol=1e-5)
    assert np.abs(gradient).max() > 0


def test_rows_are_independent():
    network, _ = random_network(3)
    assert_rows_are_independent(lambda x, t, rows: ISMLoss().terms_at(network, x, t))


def test_more_than_4096_dimensions_are_refused_with_the_remedy():
    score_fn = lambda x, t: -x
    with pytest.raises(ValueError, match=r"4,097; .* at most 4,096\. Use LCSSLoss, SSMLoss or FD"):
        ISMLoss().terms_at(score_fn, tf.zeros([1, 4097]), tf.ones([1]))
    with pytest.raises(ValueError, match="12,288"):
        ISMLoss()(score_fn, lcss_tf.SDES["VPSDE"](), tf.zeros([1, 64, 64, 3]), 1)
