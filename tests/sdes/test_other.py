"""A matrix process in closed form, Mirafzali's SDE, a mixture fitted to the data."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.linalg import expm, solve_continuous_lyapunov

import lcss_tf
from lcss_tf import random
from lcss_tf.losses import LCSSLoss
from lcss_tf.sdes import SDE, mixture

A = np.array([[1.0, -2.0, 0.0], [2.0, 1.0, 0.3], [0.0, 0.0, 0.4]])
B = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.2, -0.3, 0.5]])


# A matrix process ---------------------------------------------------------------------------


@pytest.fixture
def matrix():
    return lcss_tf.SDES["MatrixOUSDE"](A.tolist(), B.tolist())


@pytest.mark.parametrize("time", [1e-5, 1e-2, 0.3, 1.0])
def test_the_kernel_is_that_of_matrix_exponentials(matrix, time):
    """E = exp(−½τA), C = ∫ exp(−½sA) BBᵀ exp(−½sAᵀ) ds, by van Loan's block exponential."""
    E, C = (v.numpy()[0] for v in matrix.kernel(tf.zeros(1), tf.constant([time]), 3))
    tau = time * (0.1 + 0.5 * 19.9 * time)
    exact = expm(-0.5 * tau * A)
    np.testing.assert_allclose(E, exact, atol=2e-6)
    blocks = expm(tau * np.block([[0.5 * A, B @ B.T], [np.zeros((3, 3)), -0.5 * A.T]]))
    covariance = exact @ blocks[:3, 3:]
    np.testing.assert_allclose(C, covariance, atol=1e-5 * np.abs(covariance).max())


def test_its_prior_is_stationary(matrix):
    covariance = solve_continuous_lyapunov(A, 2 * B @ B.T)
    np.testing.assert_allclose(matrix.linear(3).covariance, covariance, rtol=1e-9)
    x = np.random.RandomState(0).normal(size=(5, 3))
    exact = stats.multivariate_normal(np.zeros(3), covariance).logpdf(x)
    np.testing.assert_allclose(matrix.prior_log_prob(tf.constant(x, tf.float32)), exact, rtol=1e-4)
    draws = matrix.prior_sample((100_000, 3), random.as_seed(1)).numpy()
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.05)


def test_lcss_on_it_is_denoising_score_matching(matrix):
    """½‖S‖² + S·w = ½‖S + w‖² − ½‖w‖², w = −∇log N(x_t; E x_0, C), to rounding."""
    x0, t = random.normal(1, (64, 3)), tf.linspace(0.01, 1.0, 64)
    score_fn = lambda x, t: -tf.sin(x) * (1 + t[:, None])
    terms = LCSSLoss("path").terms(score_fn, matrix, x0, t, 7)
    x, w = matrix.sample_with_weight(x0, t, random.fold_in(7, "path"))
    E, C = matrix.kernel(tf.zeros_like(t), t, 3)
    residual = x - tf.linalg.matvec(E, x0)
    np.testing.assert_allclose(tf.linalg.matvec(C, w), residual, rtol=1e-3, atol=1e-4)
    square = tf.reduce_sum((score_fn(x, t) + w) ** 2 - w**2, 1)
    np.testing.assert_allclose(sum(terms.values()), 0.5 * square, rtol=1e-3, atol=1e-2)


@pytest.mark.slow
def test_the_general_chain_finds_its_weight(matrix):
    """Mean and covariance of the general simulation, and its weight's best linear fit: −C⁻¹."""

    class General(SDE):
        drift, diffusion, prior_sample = matrix.drift, matrix.diffusion, matrix.prior_sample

    general, n = General(simulation_steps=60), 50_000
    x0, t = tf.tile([[0.5, -1.0, 0.8]], [n, 1]), tf.fill([n], 0.4)
    draw = tf.function(general.sample_with_weight, jit_compile=True, autograph=False)
    x, w = (v.numpy() for v in draw(x0, t, random.as_seed(2)))
    E, C = (v.numpy()[0] for v in matrix.kernel(tf.zeros(1), tf.constant([0.4]), 3))
    np.testing.assert_allclose(x.mean(0), E @ x0[0].numpy(), atol=0.02)
    np.testing.assert_allclose(np.cov(x.T), C, atol=0.02)
    fitted, *_ = np.linalg.lstsq(x - x.mean(0), w, rcond=None)
    np.testing.assert_allclose(fitted, np.linalg.inv(C), atol=0.1)


@pytest.mark.parametrize(
    ("drift", "noise", "reason"),
    [
        ([[1.0, 0.0], [0.0, -0.1]], None, "reverts to the mean"),
        ([[1.0, 1.0], [0.0, 1.0]], None, "diagonalisable"),
        (None, [[1.0, 1.0], [1.0, 1.0]], "direction"),
        ([[1.0]], [[1.0, 0.0], [0.0, 1.0]], "shapes"),
    ],
)
def test_matrices_without_a_prior_are_refused(drift, noise, reason):
    with pytest.raises(ValueError, match=reason):
        lcss_tf.SDES["MatrixOUSDE"](drift, noise)


# Mirafzali's SDE ----------------------------------------------------------------------------


def test_students_distribution_is_mirafzalis_prior():
    sde = lcss_tf.SDES["MirafzaliSDE"](strength=2.0, center=0.7, noise=0.9)
    nu = 2 * 2.0 / 0.81 - 1
    exact = stats.t(nu, loc=0.7, scale=1 / np.sqrt(nu))
    x = np.float32([[-20.0], [0.0], [0.7], [3.0]])
    np.testing.assert_allclose(sde.prior_log_prob(x), exact.logpdf(x)[:, 0], rtol=1e-5)
    assert sde.prior_std() == pytest.approx(exact.std(), rel=1e-6)
    draws = sde.prior_sample((100_000, 1), random.as_seed(1))
    assert stats.kstest(draws[:, 0], exact.cdf).pvalue > 1e-3
    later = tf.function(sde.sample_xt, jit_compile=True)(draws, tf.ones(100_000), random.as_seed(2))
    assert stats.kstest(later[:, 0], exact.cdf).statistic < 0.008


def test_mirafzalis_own_choice_has_no_variance():
    with pytest.raises(ValueError, match="strength=1.* noise=1.*Cauchy"):
        lcss_tf.SDES["MirafzaliSDE"](strength=1.0)


# A mixture fitted to the data ---------------------------------------------------------------


@pytest.mark.slow
def test_the_mixture_is_fitted_and_stationary():
    means = np.float32([[-3.0, 0.0], [2.0, 2.0], [2.0, -2.0]])
    owner = np.random.RandomState(0).choice(3, size=6_000, p=[0.5, 0.3, 0.2])
    x0 = tf.constant(means[owner] + 0.3 * random.normal(1, (6_000, 2)).numpy())
    sde = lcss_tf.SDES["MixtureSDE"](num_components=3)
    assert sde.prior_std() == pytest.approx(1, rel=0.02)
    sde.prepare(x0)
    found, weights, std = sde.mixture((2,))
    order = np.argsort(weights)[::-1]
    np.testing.assert_allclose(found[order], means, atol=0.05)
    np.testing.assert_allclose(weights[order], [0.5, 0.3, 0.2], atol=0.02)
    assert std == pytest.approx(0.3, rel=0.05)
    assert sde.prior_std() > 2
    assert {"slope", "mixture_means"} <= set(sde.measured)
    x, t = sde.prior_sample((20_000, 2), random.as_seed(1)), tf.ones(20_000)
    x_T = tf.function(sde.sample_xt, jit_compile=True, autograph=False)(x, t, random.as_seed(2))
    for direction in np.float32([[1, 0], [0.6, 0.8]]):
        before, after = (v.numpy() @ direction for v in (x, x_T))
        assert stats.ks_2samp(before, after).statistic < 0.02
    again = lcss_tf.SDES["MixtureSDE"](**sde.arguments())
    again.measured = dict(sde.measured)  # as from a checkpoint
    np.testing.assert_allclose(again.drift(x, t), sde.drift(x, t))


def test_the_drift_is_the_score_of_the_prior():
    sde = lcss_tf.SDES["MixtureSDE"](num_components=2)
    sde.prepare(tf.concat([random.normal(1, (100, 2)), 4 + random.normal(2, (100, 2))], 0))
    x, t = random.normal(3, (20, 2)) * 3, tf.fill([20], 0.5)
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_prior = sde.prior_log_prob(x)
    expected = 0.5 * sde.beta(t)[:, None] * tape.gradient(log_prior, x)
    np.testing.assert_allclose(sde.drift(x, t), expected, rtol=1e-3, atol=1e-3)


# Examples that an SDE measures itself on ------------------------------------------------------


@pytest.mark.parametrize("name", ["GeneralizedNormalSDE", "KineticSDE", "MixtureSDE"])
def test_an_sde_is_measured_on_examples_from_all_over_the_data(name, monkeypatch):
    """Data may be sorted: the first ones may all be of one class."""
    cls, seen = lcss_tf.SDES[name], {}
    monkeypatch.setattr(mixture, "_NUMBERS", 1)  # so that it takes no more than 64
    watch = lambda self, states, seed: seen.update(x=np.asarray(states.args[0])) or {}
    monkeypatch.setattr(cls, "measure_schedule", watch)
    monkeypatch.setattr(cls, "_warn_of_long_steps", lambda self: None)
    classes = np.repeat([-1.0, 1.0], 2_048)[:, None]
    x0 = classes + 0.01 * np.random.default_rng(0).normal(size=(4_096, 64))
    sde = cls(2) if name == "MixtureSDE" else cls()
    sde.prepare(np.float32(x0))
    assert len(seen["x"]) < 1_000
    assert np.mean(seen["x"][:, 0] > 0) == pytest.approx(0.5)
    if name == "MixtureSDE":
        assert sorted(np.round(sde.measured["mixture_means"][:, 0])) == [-1.0, 1.0]
