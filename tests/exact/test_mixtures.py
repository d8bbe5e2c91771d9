"""`ExactMixture` against closed forms, a reference solution, and itself by another way."""

import json

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.data import Checkerboard, Digits, GaussianMixture, Mixture, StudentMixture
from lcss_tf.exact import ExactMixture
from tests.conftest import FIXTURES, relative_error
from tests.exact.sdes import Pearson, Power

POINTS = np.random.RandomState(0).normal(size=(300, 2)) * 1.5
QUICK = {"spacing": 0.25, "time_step": 0.2}


def likely(exact, x, i):
    """Those of x [N, D] where p_t is above 1e-8 of its peak."""
    log_p = exact.log_prob(x, i)
    assert np.mean(log_p > log_p.max() - 18) > 0.4
    return x[log_p > log_p.max() - 18]


def test_the_reference_solution_at_power_4():
    archive = np.load(FIXTURES / "nonaffine_power4.npz")
    meta = json.loads(bytes(archive["meta.json"]))
    data = Mixture("reference", meta["means"], meta["component_std"])
    sde = Power(meta["power"], beta_min=meta["beta_min"], beta_max=meta["beta_max"])
    exact = ExactMixture(data, sde, archive["t"])
    for i in range(len(archive["t"])):
        x = archive[f"t{i}.x"]
        assert relative_error(exact.score(x, i), archive[f"t{i}.score"]) < 5e-5
        assert relative_error(exact.log_prob(x, i), archive[f"t{i}.log_prob"]) < 1e-4
    assert np.all(exact.error < 1e-3)


def test_a_closed_form_is_the_data_s_own():
    data, sde = GaussianMixture(), lcss_tf.SDES["VPSDE"]()
    exact = ExactMixture(data, sde, [0.5, 0.1])
    alpha_t, sigma_t = sde.marginal(tf.constant([0.5, 0.1], tf.float64))
    for i in range(2):
        assert np.allclose(exact.score(POINTS, i), data.score(POINTS, alpha_t[i], sigma_t[i]))
        log_density = data.log_density(POINTS, alpha_t[i], sigma_t[i])
        assert np.allclose(exact.log_prob(POINTS, i), log_density)
    assert np.all(exact.error == 0)


def test_the_solver_finds_the_closed_form():
    """The same law once with and once without a marginal, at times in any order."""
    data, times = GaussianMixture(), [0.3, 0.0, 1.0, 0.05, 0.3]
    closed = ExactMixture(data, lcss_tf.SDES["VPSDE"](), times)
    solved = ExactMixture(data, Power(2), times, **QUICK)
    for i, t in enumerate(times):
        x = POINTS if t else data.examples(tf.range(300, dtype=tf.int64)).numpy()
        x = likely(closed, x, i)
        assert relative_error(solved.score(x, i), closed.score(x, i)) < 1e-4
        assert relative_error(solved.log_prob(x, i), closed.log_prob(x, i)) < 1e-5


def test_heavy_tails_by_the_heat_equation_and_by_the_sde():
    data, times = StudentMixture(), [1e-3, 0.1, 1.0]
    smoothed = ExactMixture(data, lcss_tf.SDES["VPSDE"](), times, **QUICK)
    solved = ExactMixture(data, Power(2), times, **QUICK)
    for i in range(len(times)):
        x = likely(solved, np.concatenate([POINTS, 8 * POINTS[:50]]), i)
        assert relative_error(smoothed.score(x, i), solved.score(x, i)) < 1e-4
        assert relative_error(smoothed.log_prob(x, i), solved.log_prob(x, i)) < 1e-5


def test_a_marginal_that_starts_with_noise():
    """VE's σ(0) is not 0: p_0 is the data's density smoothed, here by the trapezoid rule."""
    data, sde = StudentMixture(1, radius=0.0, dimension=1), lcss_tf.SDES["VESDE"](0.1, 10.0)
    exact = ExactMixture(data, sde, [0.0, 0.5])
    x, z = np.linspace(-2, 2, 41), np.linspace(-8, 8, 4_001)
    for i, sigma_t in enumerate((0.1, 1.0)):
        density = np.exp(data.component_log_density(x[:, None] - sigma_t * z))
        weight = np.exp(-0.5 * z**2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
        assert np.allclose(exact.log_prob(x[:, None], i), np.log(density @ weight), atol=1e-5)


def test_at_time_0_it_is_the_data():
    data = StudentMixture()
    exact = ExactMixture(data, Pearson(), [0.0], **QUICK)
    x = np.concatenate([POINTS, 20 * POINTS])
    assert np.allclose(exact.log_prob(x, 0), data.log_density(x), atol=1e-5)


@pytest.mark.parametrize("data", [GaussianMixture(3, dimension=3), StudentMixture(3, dimension=3)])
def test_the_score_is_the_gradient_and_bends_nowhere_far_out(data):
    exact = ExactMixture(data, Pearson(), [0.02, 0.5], **QUICK)
    x = np.random.RandomState(1).normal(size=(40, 3)) * np.geomspace(0.3, 100, 40)[:, None]
    for i in range(2):
        score, h = exact.score(x, i), 1e-5
        for d in range(3):
            shift = h * np.eye(3)[d]
            slope = (exact.log_prob(x + shift, i) - exact.log_prob(x - shift, i)) / (2 * h)
            assert np.allclose(score[:, d], slope, rtol=1e-4, atol=1e-4)
        beyond = np.array([[1e5, 0.0, 0.0], [-1e5, 0.0, 0.0]])
        pull = exact.score(beyond, i)[:, 0]
        assert pull[0] <= 0 <= pull[1]
        assert np.all(np.isfinite(exact.log_prob(beyond, i)))


def test_what_is_not_elementwise_is_refused():
    class Coupled(Power):
        def drift(self, x, t):
            return -x * tf.reduce_sum(x**2, axis=1, keepdims=True)

    class Noisy(Power):
        def diffusion(self, x, t):
            return tf.norm(x, axis=1, keepdims=True)

    for sde in (Coupled(2), Noisy(2)):
        with pytest.raises(ValueError, match="drift and diffusion of x_i are one function"):
            ExactMixture(GaussianMixture(), sde, [0.5])


def test_what_is_no_mixture_is_refused():
    class Bare:
        means = np.zeros((1, 2))

    with pytest.raises(ValueError, match="Digits has no means"):
        ExactMixture(Digits(), Power(2), [0.5])
    with pytest.raises(ValueError, match="Bare has none"):
        ExactMixture(Bare(), Power(2), [0.5])
    with pytest.raises(ValueError, match="times"):
        ExactMixture(GaussianMixture(), Power(2), [-0.5])


def test_a_density_with_edges_is_found_by_its_cells():
    """E[s·x] = −2 and E[h(x) s] = −E[h'(x)], under an SDE that must be solved."""
    data, sde = Checkerboard(), Power(2)
    exact = ExactMixture(data, sde, [0.1])
    x0 = data.examples(np.arange(50_000))
    clock = sde.clock(0.1)
    alpha_t, sigma_t = np.exp(-clock / 2), np.sqrt(1 - np.exp(-clock))
    x = alpha_t * x0.numpy() + sigma_t * np.random.RandomState(0).normal(size=(50_000, 2))
    score = exact.score(x, 0)
    for h, slope in ((lambda x: x, np.ones_like), (np.sin, np.cos)):
        gap = np.sum(h(x) * score + slope(x), axis=1)
        assert gap.mean() == pytest.approx(0, abs=4 * gap.std() / len(x) ** 0.5)
