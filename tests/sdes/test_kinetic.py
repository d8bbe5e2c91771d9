"""Kinetic Langevin dynamics: closed form, the identity, stationarity, reverse time, bad input."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.linalg import expm

import lcss_tf
from lcss_tf import random
from lcss_tf.losses import LCSSLoss
from lcss_tf.sdes import KineticSDE
from tests.siblings import siblings

PATHS = 100_000


def compiled(method):
    return tf.function(method, jit_compile=True, autograph=False)


class DoubleWell(KineticSDE):
    """U = (|x|² − 1)²/4 + x_1 x_2/4: coupled, and not convex. Its prior is not asked for."""

    def potential(self, x):
        square = tf.reduce_sum(x**2, 1)
        return 0.25 * (square - 1) ** 2 + 0.25 * x[:, 0] * x[:, 1]


CASES = {
    "quartic": lambda: KineticSDE(power=4.0, simulation_steps=30),
    "underdamped": lambda: KineticSDE(friction=0.7, simulation_steps=30),
    "double well": lambda: DoubleWell(simulation_steps=30),
}


@pytest.mark.parametrize("name", siblings(CASES))
def test_the_identity(name):
    """E[S·w] = E[tr ∂S/∂u] for S of both x and u, within 3 standard errors on 10⁵ paths."""
    sde = CASES[name]()
    draw = compiled(sde.sample_with_weight)
    x0 = tf.tile([[0.8, -1.1]], [PATHS, 1])
    for time in (1e-3, 0.2, 1.0):
        t = tf.fill([PATHS], time)
        state, weight = draw(x0, t, random.as_seed(4))
        x, u = state[:, :2], state[:, 2:]
        assert not np.abs(weight[:, :2]).any()
        inner = u + 0.7 * u[:, ::-1] + x
        S, trace = tf.sin(inner), tf.reduce_sum(tf.cos(inner), 1)
        gap = tf.reduce_sum((S - tf.reduce_mean(S, 0)) * weight[:, 2:], 1) - trace
        error = 3 * float(tf.math.reduce_std(gap)) / PATHS**0.5
        assert float(tf.reduce_mean(gap)) == pytest.approx(0, abs=error), time
        size = sde.noise_scale(t)[0] * tf.sqrt(tf.reduce_mean(weight[:, 2:] ** 2))
        assert 0.7 < float(size) < 2.5, "in units of the noise"


def test_the_kernel_is_that_of_matrix_exponentials():
    sde = KineticSDE()
    drift, noise = np.array([[0.0, 1.0], [-1.0, -2.0]]), np.diag([0.0, 4.0])
    for time in (1e-3, 0.1, 0.5, 1.0):
        ex, eu, xx, ux, uu = (float(v[0]) for v in sde.kernel(tf.constant([time])))
        tau = time * (0.1 + 0.5 * 19.9 * time)
        E = expm(tau * drift)
        blocks = expm(tau * np.block([[-drift, noise], [np.zeros((2, 2)), drift.T]]))
        C = E @ blocks[:2, 2:] + E @ np.diag([0, 0.04]) @ E.T
        np.testing.assert_allclose([ex, eu], E[:, 0], rtol=1e-5, atol=1e-7)
        L = np.array([[xx, 0], [ux, uu]])
        np.testing.assert_allclose(L, np.linalg.cholesky(C), rtol=1e-4, atol=1e-7)


def test_the_path_finds_the_closed_form():
    """The simulated state's moments, and its weight example by example: [C⁻¹(s − E x_0)]_u."""
    sde, n = KineticSDE(simulation_steps=100), 20_000
    sde.prepare(random.normal(3, (500, 1)))
    draw = compiled(sde.path_with_weight)
    for time in (0.02, 0.3, 0.8):
        t, x0 = tf.fill([n], time), tf.fill([n, 1], 0.9)
        state, weight = (v.numpy() for v in draw(x0, t, random.as_seed(1)))
        ex, eu, xx, ux, uu = (float(v[0]) for v in sde.kernel(t))
        L, mean = np.array([[xx, 0], [ux, uu]]), 0.9 * np.array([ex, eu])
        z = (state - mean) @ np.linalg.inv(L).T
        np.testing.assert_allclose(z.mean(0), 0, atol=0.04)
        np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.05)
        np.testing.assert_allclose(uu * weight[:, 1], z[:, 1], atol=0.05)


def test_lcss_in_closed_form_is_denoising_score_matching():
    """½‖S‖² + S·w = ½‖S_u + z/ℓ‖² − ½‖z/ℓ‖² where S has no part in x, to rounding."""
    sde = KineticSDE()
    x0, t = random.normal(1, (64, 3)), tf.linspace(0.01, 1.0, 64)
    score_fn = lambda state, t: sde.noisy(-tf.sin(state) * (1 + t[:, None]))
    terms = LCSSLoss("path").terms(score_fn, sde, x0, t, 7)
    state, w = sde.sample_with_weight(x0, t, random.fold_in(7, "path"))
    noise = random.normal(random.seed_for(7, "path", "u"), (64, 3))
    target = noise / sde.kernel(t)[-1][:, None]
    np.testing.assert_allclose(w[:, 3:], target, rtol=1e-5)
    score = score_fn(state, t)[:, 3:]
    square = tf.reduce_sum((score + target) ** 2 - target**2, 1)
    np.testing.assert_allclose(sum(terms.values()), 0.5 * square, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("power", [2.0, 4.0])
def test_the_prior_is_stationary(power):
    sde, n = KineticSDE(power, simulation_steps=40), 50_000
    state = sde.broadcast_prior_sample((n, 2), random.as_seed(1))
    grid = sde._grid(tf.ones(n))
    later = compiled(lambda state: sde._run(state, grid, random.as_seed(2)))(state)
    for k in (0, 1):
        assert stats.ks_2samp(state[:, k], later[:, k]).statistic < 0.015
    assert abs(np.corrcoef(later.numpy().T)[0, 1]) < 0.03


def test_the_state_holds_the_data():
    sde, x0 = KineticSDE(), random.normal(1, (5, 4, 4, 3))
    assert sde.state_shape((4, 4, 3)) == (4, 4, 6)
    state = sde.to_state(x0, 2)
    np.testing.assert_array_equal(sde.from_state(state), x0)
    assert sde.added_log_prob(state).shape == (5,)
    t = tf.linspace(0.1, 1.0, 5)
    assert sde.sample_xt(x0, t, 1).shape == state.shape
    assert sde.drift(state, t).shape == state.shape
    assert not np.abs(sde.diffusion(state, t)[..., :3]).any()
    half = sde.reverse_drift(state, t, tf.ones_like(state))[..., :3]
    np.testing.assert_allclose(half, sde.drift(state, t)[..., :3])


MEAN, STD = 0.5, 0.3


def gaussian_score(sde):
    """The exact score of u for data N(MEAN, STD²), of the state's shape."""

    def score_fn(state, t):
        x, u = tf.split(state, 2, axis=-1)
        ex, eu, lxx, lux, luu = (v[:, None] for v in sde.kernel(t))
        xx, xu = (STD * ex) ** 2 + lxx**2, STD**2 * ex * eu + lxx * lux
        uu = (STD * eu) ** 2 + lux**2 + luu**2
        residual = u - MEAN * eu - xu / xx * (x - MEAN * ex)
        return tf.concat([tf.zeros_like(x), -residual / (uu - xu**2 / xx)], -1)

    return score_fn


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps"),
    [("SymmetricSplitting", 120), ("EulerMaruyama", 250), ("ProbabilityFlowODE", 100)],
)
def test_the_exact_score_gives_the_data_back(name, steps):
    """By every sampler; `sample` returns data, not states."""
    sde, sampler = KineticSDE(), lcss_tf.SAMPLERS[name](num_steps=steps)
    draw = compiled(lambda seed: sampler.sample(gaussian_score(sde), sde, (8_000, 2), seed).x)
    x = draw(random.as_seed(1)).numpy()
    assert x.shape == (8_000, 2)
    assert x.mean() == pytest.approx(MEAN, abs=0.02)
    assert x.std() == pytest.approx(STD, rel=0.06)


@pytest.mark.slow
def test_the_likelihood_is_a_lower_bound_and_nearly_tight():
    """log p(x, u) − log q(u) averages to log p(x) less KL(q(u) ‖ p(u | x)), here 0."""
    from lcss_tf.inference.likelihood import Likelihood

    sde, n = KineticSDE(), 2_000
    x = tf.constant(MEAN + STD * random.normal(5, (n, 1)).numpy())
    likelihood = Likelihood("exact", t_min=1e-3)
    run = compiled(lambda x, seed: likelihood(gaussian_score(sde), sde, x, seed).log_prob)
    gap = run(x, random.as_seed(1)).numpy() - stats.norm(MEAN, STD).logpdf(x[:, 0])
    assert gap.mean() == pytest.approx(0, abs=0.03)


@pytest.mark.slow
def test_a_network_of_zeros_is_the_exact_score_of_gaussian_data():
    """The measured preconditioning, against the closed form."""
    from lcss_tf.score import Moments, Score

    sde, moments = KineticSDE(), Moments()
    moments.prepare(sde, tf.constant(MEAN + STD * random.normal(5, (20_000, 2)).numpy()))
    state, t = random.normal(1, (64, 4)), tf.linspace(0.05, 1.0, 64)
    got = Score(sde, moments).score_fn(lambda x, c: 0 * x)(state, t)
    exact = gaussian_score(sde)(state, t)
    np.testing.assert_allclose(got, exact, rtol=0.08, atol=0.15)


def test_the_networks_share_of_the_score_is_what_the_data_explain():
    """c_out s = √(1 − s²/v), measured, is the closed form's down to what 256,000 numbers resolve.

    There the prior begins, and a larger factor would add the network's error to an exact score.
    """
    from lcss_tf.score import Moments, Score

    sde, moments, size = KineticSDE(), Moments(), (256, 1_000)
    x0 = MEAN + STD * random.normal(5, size)
    moments.prepare(sde, x0)
    t = tf.constant([0.001, 0.02, 0.1, 0.3, 0.5, 0.6, 0.7, 1.0])
    state = random.normal(1, (len(t), 2 * size[1]))
    sde.expect(state.shape[1:])

    def at(factor):
        network = lambda x, c: factor * tf.ones_like(x)
        return Score(sde, moments).score_fn(network)(state, t)

    share = (sde.noise_scale(t)[:, None] * (at(1.0) - at(0.0)))[:, -1].numpy()
    e_x, e_u, l_xx, l_ux, l_uu = (v.numpy().astype(float) for v in sde.kernel(t))
    signal = STD**2 * (e_u * l_xx - e_x * l_ux) ** 2 / (STD**2 * e_x**2 + l_xx**2)
    np.testing.assert_allclose(share, np.sqrt(signal / (signal + l_uu**2)), rtol=0.02, atol=5e-3)
    del moments.measured["signal"]  # a run of before it was measured
    assert (sde.noise_scale(t)[:, None] * (at(1.0) - at(0.0))).numpy()[-1, -1] > 0.09


@pytest.mark.parametrize(
    "options", [{"power": 1.5}, {"friction": 0.0}, {"velocity_std": 0.0}, {"beta_min": 0.0}]
)
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ValueError, match="KineticSDE expects"):
        lcss_tf.SDES["KineticSDE"](**options)


def test_a_potential_without_a_gradient_is_refused():
    class Constant(KineticSDE):
        def potential(self, x):
            return tf.constant(x.numpy().sum(1))

    with pytest.raises(ValueError, match="Constant.potential has no gradient"):
        Constant().drift(tf.ones((2, 4)), tf.ones(2))
