"""Preconditionings: measured moments, and the score of Gaussian data as the exact one."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.score import Moments, Score
from tests.siblings import siblings

SHAPE = (4096, 3)


@pytest.fixture(params=siblings(set(lcss_tf.SDES) - {"KineticSDE"}))  # see test_kinetic
def sde(request):
    return lcss_tf.SDES[request.param]()


@pytest.mark.slow
def test_measured_moments(sde):
    """(m_t, v_t) of shifted data against a fresh simulation."""
    x0 = 0.5 + 0.3 * random.normal(1, SHAPE)
    preconditioning = Moments()
    preconditioning.prepare(sde, x0, 2)
    draw = tf.function(sde.sample_xt, autograph=False)
    for time in (0.05, 0.5, 1.0):
        t = tf.fill([SHAPE[0]], time * sde.T)
        mean, variance = preconditioning.moments(sde, t)
        x_t = draw(x0, t, random.as_seed(3))
        std = float(tf.sqrt(variance[0]))
        assert float(tf.reduce_mean(x_t)) == pytest.approx(float(mean[0]), abs=0.03 * std)
        assert float(tf.math.reduce_std(x_t)) == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("kind", ["VPSDE", "SubVPSDE", "VESDE"])
def test_a_network_of_zeros_is_the_exact_score_of_gaussian_data(kind):
    """On affine SDEs; and F enters as EDM's: c_out = α √(v_0/v_t)/σ, c_in = 1/√v_t."""
    sde, preconditioning = lcss_tf.SDES[kind](), Moments()
    preconditioning.measured = {"mean": np.float32(0.3), "variance": np.float32(0.25)}
    x, t = random.normal(1, (6, 3)), tf.linspace(0.01, 1.0, 6)
    alpha_t, sigma_t = (v.numpy()[:, None] for v in sde.marginal(t))
    v_t = 0.25 * alpha_t**2 + sigma_t**2
    exact = -(x - 0.3 * alpha_t) / v_t
    score = Score(sde, preconditioning)
    np.testing.assert_allclose(score.score_fn(lambda x, c: 0 * x)(x, t), exact, rtol=1e-5)
    inputs = (x - 0.3 * alpha_t) / np.sqrt(v_t)
    expected = exact + alpha_t * np.sqrt(0.25 / v_t) / sigma_t * inputs
    np.testing.assert_allclose(score.score_fn(lambda x, c: x)(x, t), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_without_a_marginal_it_starts_at_the_priors_own_score():
    sde, preconditioning = lcss_tf.SDES["PearsonSDE"](), Moments()
    x0 = sde.prior_sample((200_000, 1), random.as_seed(1))
    preconditioning.prepare(sde, x0)
    x = tf.constant([[-8.0], [0.5], [3.0]])
    nu = sde.degrees_of_freedom
    exact = -(nu + 1) * x / (x**2 + sde.scale**2)
    reference = preconditioning.reference_score(sde, x, tf.ones(3))
    np.testing.assert_allclose(reference, exact, rtol=0.05)


def test_moments_must_be_measured_first():
    with pytest.raises(ValueError, match="prepare"):
        Moments().moments(lcss_tf.SDES["VPSDE"](), tf.ones(1))
