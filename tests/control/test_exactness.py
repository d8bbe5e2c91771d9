"""Against a Gaussian's posterior in closed form: exact, or with the documented bias."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.control import (
    DPS,
    DiffPIR,
    Identity,
    InverseProblem,
    Linear,
    NullSpace,
    PseudoinverseGuidance,
    Replacement,
    SDEdit,
    TimeTravel,
    TweedieGuidance,
)
from lcss_tf.control.solvers import conjugate_gradients
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


def drawn_given(method, sampler, operator, y, noise_std=0.0, count=4_000):
    """`count` samples of N(MEAN, I/4) under VP given y, by the exact score."""
    sde = lcss_tf.SDES["VPSDE"]()
    observed = tf.repeat(tf.constant(y[None], tf.float32), count, axis=0)
    controlled = method.control(sampler, InverseProblem(operator, observed, noise_std))

    @tf.function(jit_compile=True, autograph=False)
    def run(seed):
        score_fn = helpers.score_of(sde, helpers.isotropic(0.5))
        return controlled.sample(score_fn, sde, (count, 4), seed).x

    return run(random.as_seed(1)).numpy()


@pytest.mark.parametrize(
    ("name", "options", "deterministic"),
    [
        ("DDIM", {"num_steps": 200, "eta": 1.0}, False),
        ("ProbabilityFlowODE", {"num_steps": 40}, True),
    ],
)
def test_an_edit_has_the_closed_form_of_a_gaussian(name, options, deterministic):
    """x_t given y is N(α y, σ²). The reverse SDE draws x_0 from p(x_0 | x_t); the ODE maps it."""
    sde, y, v_0 = lcss_tf.SDES["VPSDE"](), np.float32([1.5, 0.5, -1.0, 0.0]), 0.25
    sampler = lcss_tf.SAMPLERS[name](**options)
    x = drawn_given(SDEdit(0.4), sampler, Identity(), y)
    t_0 = [t for t in sampler.times(sde) if t <= 0.4 * (1 + 1e-6)][0]
    alpha_t, sigma_t = (v.numpy()[0] for v in sde.marginal(tf.constant([t_0], tf.float32)))
    v_t = alpha_t**2 * v_0 + sigma_t**2
    k = np.sqrt(v_0 / v_t) if deterministic else alpha_t * v_0 / v_t
    added = 0.0 if deterministic else v_0 * sigma_t**2 / v_t
    mean = helpers.MEAN + k * alpha_t * (y - helpers.MEAN)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.03)
    variance = k**2 * sigma_t**2 + added
    np.testing.assert_allclose(np.cov(x.T), variance * np.eye(4), atol=0.02)
    assert 0.1 < np.abs(mean - y).max() < np.abs(helpers.MEAN - y).max()  # between y and the data


@pytest.mark.slow
def test_an_edit_with_a_method_is_the_posterior():
    """Come closer, diffuse faster: from y at t_0, given y all the way."""
    method = SDEdit(1.0, NullSpace(0.5))
    sampler = lcss_tf.SAMPLERS["EulerMaruyama"](num_steps=200)
    y = np.float32([1.5, 0.5, -1.0, 0.0])
    x = drawn_given(method, sampler, Identity(), y, noise_std=0.3)
    share = 0.25 / (0.25 + 0.09)
    np.testing.assert_allclose(x.mean(0), helpers.MEAN + share * (y - helpers.MEAN), atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), 0.09 * share * np.eye(4), atol=0.01)


@pytest.mark.parametrize(
    "method", [NullSpace(0.5), pytest.param(PseudoinverseGuidance(0.5), marks=pytest.mark.slow)]
)
def test_operators_with_rows_of_any_length_give_the_exact_posterior(method):
    """Isotropic data; A is a random matrix, of which conjugate gradients know no more than A x."""
    A = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    y, noise_std = np.float32([0.4, -0.3]), 0.3
    operator = Linear(lambda x: tf.linalg.matvec(tf.constant(A), x))
    sampler = lcss_tf.SAMPLERS["DPMSolverPP"](num_steps=40)
    x = drawn_given(method, sampler, operator, y, noise_std)
    gain = 0.25 * A.T @ np.linalg.inv(0.25 * A @ A.T + noise_std**2 * np.eye(2))
    np.testing.assert_allclose(x.mean(0), helpers.MEAN + gain @ (y - A @ helpers.MEAN), atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), 0.25 * (np.eye(4) - gain @ A), atol=0.02)


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
        pytest.param(DiffPIR(), 0.73, marks=pytest.mark.slow),
        pytest.param(DPS(0.03), 0.59, marks=pytest.mark.slow),
        pytest.param(TimeTravel(), 0.89, marks=pytest.mark.slow),
        pytest.param(TimeTravel(PseudoinverseGuidance(0.5)), 0.98, marks=pytest.mark.slow),
    ],
    ids=["replacement", "null_space", "guidance", "diffpir", "dps", "travel", "both"],
)
def test_shift_of_the_hidden_part_is_as_documented_for_correlated_data(method, share):
    """docs/control.md has these figures: y moves the hidden part too little in all methods."""
    assert abs(share_of_shift(method) - share) < 0.04
