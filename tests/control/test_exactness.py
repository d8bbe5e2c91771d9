"""Against a Gaussian's posterior in closed form: exact, or with the documented bias."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.control import (
    NullSpace,
    PseudoinverseGuidance,
    Replacement,
    TimeTravel,
    TweedieGuidance,
)
from lcss_tf.control.methods import conjugate_gradients
from tests.control import helpers

Y = np.float32([0.3, 0.7, 0.0, 0.0])
SAMPLERS = {
    "EulerMaruyama": {"num_steps": 300},
    "ProbabilityFlowODE": {"num_steps": 48},
    "DPMSolverPP": {"num_steps": 30},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "DPMSolverPP" else pytest.mark.slow) for n in SAMPLERS],
)
@pytest.mark.parametrize(
    ("method", "noise_std"),
    [
        (NullSpace, 0.0),
        (PseudoinverseGuidance, 0.3),
        pytest.param(NullSpace, 0.3, marks=pytest.mark.slow),
        pytest.param(PseudoinverseGuidance, 0.0, marks=pytest.mark.slow),
    ],
)
def test_isotropic_data_give_the_exact_posterior(method, noise_std, name):
    sampler = lcss_tf.SAMPLERS[name](**SAMPLERS[name])
    x = helpers.draw(method(data_std=0.5), sampler, helpers.isotropic(0.5), Y, noise_std)
    mean, covariance = helpers.posterior(helpers.isotropic(0.5), Y, noise_std)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.02)
    if not noise_std:
        np.testing.assert_array_equal(x[:, :2], np.tile(Y[:2], (len(x), 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        Replacement(),
        pytest.param(TimeTravel(), marks=pytest.mark.slow),
        pytest.param(TimeTravel(NullSpace(0.5)), marks=pytest.mark.slow),
    ],
)
def test_isotropic_data_with_replacement_and_time_travel(method):
    sampler = lcss_tf.SAMPLERS["EulerMaruyama"](num_steps=100)
    x = helpers.draw(method, sampler, helpers.isotropic(0.5), Y)
    mean, covariance = helpers.posterior(helpers.isotropic(0.5), Y, 0.0)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.04)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.03)
    np.testing.assert_array_equal(x[:, :2], np.tile(Y[:2], (len(x), 1)))


@pytest.mark.slow
@pytest.mark.parametrize("noise_std", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_tweedie_guidance_is_exact_on_correlated_data(noise_std):
    sampler = lcss_tf.SAMPLERS["EulerMaruyama"](num_steps=300)
    method = TweedieGuidance(data_std=0.5, damping=0.0)
    x = helpers.draw(method, sampler, helpers.correlated(), Y, noise_std)
    mean, covariance = helpers.posterior(helpers.correlated(), Y, noise_std)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.015)


def test_conjugate_gradients_solve_and_stop():
    random = np.random.default_rng(0)
    root = random.normal(size=(3, 4, 4)).astype(np.float32)
    matrix = root @ root.transpose(0, 2, 1) + np.eye(4, dtype=np.float32)
    b = tf.constant(random.normal(size=(3, 4)), tf.float32)
    solve = lambda m: conjugate_gradients(lambda u: tf.linalg.matvec(m, u), b, 6)
    np.testing.assert_allclose(
        solve(matrix), np.linalg.solve(matrix, b.numpy()[..., None])[..., 0], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_array_equal(
        solve(-matrix), np.zeros((3, 4))
    )  # no direction of negative curvature is followed


def share_of_shift(method):
    """The shift of the hidden part's mean from the prior's, over that of the posterior."""
    sampler = lcss_tf.SAMPLERS["EulerMaruyama"](num_steps=200)
    x = helpers.draw(method, sampler, helpers.correlated(), Y)
    mean, _ = helpers.posterior(helpers.correlated(), Y, 0.0)
    shift = (mean - helpers.MEAN)[2:]
    return float((x.mean(0) - helpers.MEAN)[2:] @ shift / (shift @ shift))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "share"),
    [
        pytest.param(Replacement(), 0.62, marks=pytest.mark.slow),
        pytest.param(NullSpace(0.5), 0.62, marks=pytest.mark.slow),
        (PseudoinverseGuidance(0.5), 0.95),
        pytest.param(TimeTravel(), 0.89, marks=pytest.mark.slow),
        pytest.param(TimeTravel(PseudoinverseGuidance(0.5)), 0.98, marks=pytest.mark.slow),
    ],
    ids=["replacement", "null_space", "guidance", "travel", "both"],
)
def test_shift_of_the_hidden_part_is_as_documented_for_correlated_data(method, share):
    """docs/control.md has these figures: y moves the hidden part too little in all methods."""
    assert abs(share_of_shift(method) - share) < 0.04
