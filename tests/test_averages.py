"""Averages of the weights: their profiles in closed form, and others made of them afterwards."""

import math

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.averages import (
    LONGEST,
    PowerFunction,
    Profile,
    combination,
    exponent,
    inner_products,
    relative_length,
)
from lcss_tf.errors import UsageError

LENGTHS = (0.02, 0.05, 0.1, 0.2, 0.28)


def averaged(averaging, trajectory):
    """The averages of weights θ_1, θ_2, … [N, d], as training moves them: [averages, N, d]."""
    rates = tf.function(averaging.rates)
    averages = [tf.zeros(trajectory.shape[1:])] * len(averaging.groups)
    along = []
    for n, weight in enumerate(tf.constant(trajectory, tf.float32), 1):
        moved = zip(averages, rates(tf.constant(n, tf.int64)), strict=True)
        averages = [averaging.moved(average, weight, rate) for average, rate in moved]
        along.append(np.stack(averages))
    return np.stack(along, axis=1)


def weights_of_updates(sigma_rel, t):
    """(n/t)^(γ + 1) − ((n − 1)/t)^(γ + 1) for n = 1 … t."""
    return np.diff((np.arange(t + 1) / t) ** (exponent(sigma_rel) + 1))


# Of every average ------------------------------------------------------------------------------


@pytest.fixture(params=sorted(lcss.AVERAGES))
def averaging(request):
    return lcss.AVERAGES[request.param]()


def test_an_average_stays_within_what_it_averages(averaging):
    steps = np.random.default_rng(0).uniform(1.0, 2.0, size=(50, 4))
    along = averaged(averaging, np.concatenate([np.ones((3, 4)), steps]))[:, 20:]
    assert along.min() >= 0.99
    assert along.max() <= 2.0
    assert along.std() > 0.0


def test_weights_that_do_not_move_are_their_average(averaging):
    fixed = np.random.default_rng(0).normal(size=(1, 5)).astype(np.float32)
    along = averaged(averaging, np.repeat(fixed, 400, axis=0))[:, -1]
    np.testing.assert_allclose(along, np.broadcast_to(fixed, along.shape), rtol=1e-5)


def test_what_is_no_float_is_taken_over(averaging):
    """A count in a network has no mean."""
    count = tf.constant([7], tf.int64)
    for rate in averaging.rates(tf.constant(3)):
        moved = averaging.moved(tf.constant([1], tf.int64), count, rate)
        np.testing.assert_array_equal(moved, count)


def test_an_average_is_written_and_read_again(averaging):
    again = type(averaging)(**averaging.arguments())
    assert again.groups == averaging.groups
    for one, two in zip(averaging.rates(9), again.rates(9), strict=True):
        assert float(one) == float(two)


# The profile -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_rel", [*LENGTHS, LONGEST])
def test_the_exponent_gives_the_length(sigma_rel):
    gamma = exponent(sigma_rel)
    assert relative_length(gamma) == pytest.approx(sigma_rel, rel=1e-12)
    tau = (np.arange(200_000) + 0.5) / 200_000
    density = (gamma + 1) * tau**gamma / len(tau)
    mean = (density * tau).sum()
    assert math.sqrt((density * (tau - mean) ** 2).sum()) == pytest.approx(sigma_rel, rel=1e-4)


def test_published_exponents():
    """Of Karras et al. (2024), for σ_rel = 0.05 and 0.10."""
    assert exponent(0.05) == pytest.approx(16.97, abs=0.005)
    assert exponent(0.10) == pytest.approx(6.94, abs=0.005)


def test_an_update_has_the_weight_that_the_profile_gives_it():
    """Of any trajectory: θ̄_t = Σ [(n/t)^(γ + 1) − ((n − 1)/t)^(γ + 1)] θ_n, to float32 rounding."""
    trajectory = np.random.default_rng(0).normal(size=(120, 3)).cumsum(axis=0)
    along = averaged(PowerFunction(LENGTHS), trajectory)
    for sigma_rel, found in zip(LENGTHS, along, strict=True):
        for t in (1, 2, 7, 120):
            expected = weights_of_updates(sigma_rel, t) @ trajectory[:t]
            np.testing.assert_allclose(found[t - 1], expected, rtol=2e-5, atol=2e-5)


def test_a_constant_gradient_leaves_the_average_a_share_behind():
    """θ_n = n g: θ̄ = g (t − Σ_{m<t} (m/t)^(γ + 1)), about t (γ + 1)/(γ + 2) g."""
    t, g = 300, np.array([1.0, -2.0])
    along = averaged(PowerFunction(LENGTHS), np.arange(1, t + 1)[:, None] * g)[:, -1]
    for sigma_rel, found in zip(LENGTHS, along, strict=True):
        gamma = exponent(sigma_rel)
        exact = t - ((np.arange(t) / t) ** (gamma + 1)).sum()
        np.testing.assert_allclose(found, exact * g, rtol=1e-5)
        assert exact == pytest.approx(t * (gamma + 1) / (gamma + 2), abs=0.6)


@pytest.mark.parametrize("n", [10, 10_000, 3_000_000])
def test_rates_keep_their_digits_in_long_trainings(n):
    """1 − β is about (γ + 1)/n: formed as a difference from 1, it would have none left."""
    rates = PowerFunction(LENGTHS).rates(tf.constant(n, tf.int64))
    expected = [-math.expm1((exponent(s) + 1) * math.log1p(-1 / n)) for s in LENGTHS]
    np.testing.assert_allclose([float(rate) for rate in rates], expected, rtol=1e-6)


def test_the_exponential_average_is_what_it_was():
    """d θ̄ + (1 − d) θ with d = min(decay, (1 + n)/(10 + n)), to the bit."""
    trajectory = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    (along,) = averaged(lcss.averages.Exponential(0.7), trajectory)
    shadow = np.zeros(6, np.float32)
    for n, weight in enumerate(trajectory, 1):
        n = np.float32(n)
        decay = np.minimum(np.float32(0.7), (1 + n) / (10 + n), dtype=np.float32)
        shadow = decay * shadow + (1 - decay) * weight
        np.testing.assert_array_equal(along[int(n) - 1], shadow)


# Post-hoc --------------------------------------------------------------------------------------


def profiles(times, sigma_rels=(0.05, 0.10)):
    return [Profile(int(t), sigma_rel) for t in times for sigma_rel in sigma_rels]


def test_inner_products_are_the_integrals():
    some = [Profile(10, 0.05), Profile(10, 0.2), Profile(7, 0.1), Profile(3, 0.28)]
    nodes, steps = np.polynomial.legendre.leggauss(400)

    def density(profile, tau):
        gamma = exponent(profile.sigma_rel)
        inside = (gamma + 1) * tau**gamma / profile.updates ** (gamma + 1)
        return np.where(tau <= profile.updates, inside, 0.0)

    for i, one in enumerate(some):
        for j, two in enumerate(some):
            end = min(one.updates, two.updates)  # beyond it, one of them is 0
            tau = end * (nodes + 1) / 2
            integral = end / 2 * (steps * density(one, tau) * density(two, tau)).sum()
            assert inner_products(some, some)[i, j] == pytest.approx(integral, rel=1e-5)


def test_what_is_stored_is_found_again_alone():
    stored = profiles(np.arange(1, 33) * 100)
    for wanted in (stored[7], stored[-1]):
        found = combination(stored, wanted)
        assert found.coefficients[stored.index(wanted)] == 1
        assert np.count_nonzero(found.coefficients) == 1
        assert found.error == 0
        # As the least squares find, without being told.
        solved = lcss.averages._least_squares(stored, wanted)
        np.testing.assert_allclose(solved.coefficients, found.coefficients, atol=1e-9)


@pytest.mark.parametrize("sigma_rel", [0.04, 0.07, 0.12, 0.2])
def test_more_snapshots_make_a_better_profile(sigma_rel):
    """The error falls as the square of the interval."""
    errors = []
    for count in (16, 32, 64):
        found = combination(profiles(np.arange(1, count + 1) * 6_400 // count),
                            Profile(6_400, sigma_rel))  # fmt: skip
        assert found.coefficients.sum() == pytest.approx(1, abs=1e-12)
        assert np.abs(found.coefficients).sum() < 5  # the snapshots' rounding is not magnified
        errors.append(found.error)
    assert errors[-1] < 2e-3
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert orders.min() > 1.7


@pytest.mark.parametrize("sigma_rel", [0.04, 0.06, 0.08, 0.12, 0.15])
def test_a_reconstruction_is_the_average_that_was_kept_alongside(sigma_rel):
    """Of weights that decay, turn and diffuse; against direct averaging in float64."""
    t, every = 2_048, 32
    random = np.random.default_rng(0)
    n = np.arange(1, t + 1)[:, None]
    smooth = np.exp(-n / 300) * [3.0, -1.0, 0.5] + np.sin(n / [200.0, 90.0, 40.0])
    trajectory = smooth + 0.02 * random.normal(size=(t, 3)).cumsum(axis=0)
    direct = lambda s, end: weights_of_updates(s, end) @ trajectory[:end]
    stored = profiles(range(every, t + 1, every))
    found = combination(stored, Profile(t, sigma_rel))
    made = found.coefficients @ np.stack([direct(p.sigma_rel, p.updates) for p in stored])
    expected = direct(sigma_rel, t)
    error = np.linalg.norm(made - expected) / np.linalg.norm(expected)
    nearest = min((0.05, 0.10), key=lambda stored: abs(stored - sigma_rel))
    beside = np.linalg.norm(direct(nearest, t) - expected) / np.linalg.norm(expected)
    assert error < 1e-3
    assert error < 0.05 * beside


# What is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.3, math.nan])
def test_a_length_outside_the_range_is_refused(sigma_rel):
    with pytest.raises(UsageError, match=r"lies from 1e-6 to 0\.2887, which is the mean"):
        PowerFunction((sigma_rel,))


@pytest.mark.parametrize("sigma_rels", [(), (0.1, 0.1)])
def test_lengths_must_be_different_ones(sigma_rels):
    with pytest.raises(UsageError, match=r"different lengths, such as \(0\.05, 0\.10\)"):
        PowerFunction(sigma_rels)


def test_nothing_can_be_made_of_nothing():
    with pytest.raises(UsageError, match="No average is stored"):
        combination([], Profile(10, 0.1))
