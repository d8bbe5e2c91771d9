"""The 1-D solver against closed forms, stationary laws, moments and a spectral method."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.interpolate import make_interp_spline
from scipy.linalg import expm

import lcss_tf
from lcss_tf.exact import Grid, solve
from lcss_tf.exact.fokker_planck import exponential
from tests.exact.sdes import Pearson, Power, TwoClocks

MEANS, STD = np.array([-1.4, 0.0, 1.0]), 0.1
GRID = Grid(core=3.8, extent=40.0, spacing=0.015)


def gaussians(means=MEANS, std=STD):
    means = np.atleast_1d(means)
    return lambda x: (
        -0.5 * ((x[:, None] - means) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
    )


def scores(solution, i):
    """∂ log p [n, C] on the nodes."""
    u = solution.grid.points()
    slope = make_interp_spline(u, solution.log_p[i], k=5)(u, 1)
    return slope / solution.grid.slope(u)[:, None]


def nodes(solution):
    return solution.grid.to_x(solution.grid.points())


def closed_form(sde, t):
    alpha_t, sigma_t = (float(v) for v in sde.marginal(tf.constant(t, tf.float64)))
    return alpha_t, math.hypot(alpha_t * STD, sigma_t)


@pytest.mark.parametrize(
    ("name", "bulk", "tail"), [("VPSDE", 1e-7, 1e-4), ("SubVPSDE", 1e-6, 1e-3)]
)
def test_the_closed_form_of_gaussians(name, bulk, tail):
    """Scores in units of 1/deviation: within 3 deviations, and where p > 1e-8 of its peak."""
    sde, times = lcss_tf.SDES[name](), [1e-5, 0.05, 0.3, 1.0]
    solution = solve(sde, gaussians(), times, GRID)
    x = nodes(solution)[:, None]
    for i, t in enumerate(times):
        alpha_t, std = closed_form(sde, t)
        z = (x - alpha_t * MEANS) / std
        error = np.abs(std * scores(solution, i) + z)
        assert error[np.abs(z) < 3].max() < bulk
        assert error[np.abs(z) < 6.07].max() < tail
        # Beyond what is trusted, the parabola.
        assert np.all(error[np.abs(z) < 20] < 0.02 * 20)
    assert solution.mass_drift < 1e-12
    assert solution.error.max() < 2e-3


def linear_error(sde, clock, grid, time_step, refinements):
    """Root mean square error of log p, within 3 deviations, of a linear SDE from N(0.7, 0.3²)."""
    t, mean, std = 0.3, 0.7, 0.3
    solution = solve(sde, gaussians(mean, std), [t], grid, time_step, refinements)
    alpha_squared, variance = clock(t)
    mean, variance = math.sqrt(alpha_squared) * mean, variance + alpha_squared * std**2
    z = (nodes(solution) - mean) / math.sqrt(variance)
    error = solution.log_p[0, :, 0] + 0.5 * z**2 + 0.5 * math.log(2 * math.pi * variance)
    return np.sqrt(np.mean(error[np.abs(z) < 3] ** 2))


def two_clocks(t):
    """(α², σ²) of `TwoClocks`."""
    return math.exp(-t), 1 - math.exp(-t) + 4 * (t * t - 2 * t + 2 - 2 * math.exp(-t))


def one_clock(t):
    """(α², σ²) of `Power(2)`."""
    return math.exp(-Power(2).clock(t)), -math.expm1(-Power(2).clock(t))


def orders(errors):
    return np.log2(np.array(errors[:-1]) / errors[1:])


@pytest.mark.parametrize(
    ("refinements", "order"), [((1,), 2), ((1, 2), 4), ((1, 2, 3), 5)], ids=["1", "12", "123"]
)
def test_the_order_in_space_and_time_together(refinements, order):
    """2 and 4 of the series in h² and Δt²; 5 is the exponential's own."""
    errors = [
        linear_error(TwoClocks(), two_clocks, Grid(3.0, 12.0, 0.2 / k), 0.8 / k, refinements)
        for k in (4, 8, 16)
    ]
    assert orders(errors)[-1] == pytest.approx(order, abs=0.4)
    assert errors[-1] < {2: 1e-3, 4: 1e-7, 5: 1e-9}[order]


def test_the_order_in_space_alone():
    errors = [
        linear_error(Power(2), one_clock, Grid(3.0, 12.0, h), 0.1, (1,)) for h in (0.1, 0.05, 0.025)
    ]
    assert np.allclose(orders(errors), 2.0, atol=0.1)


def test_the_order_in_time_alone():
    """Second where drift and noise share no factor in time; fifth where they do."""
    grid = Grid(3.0, 12.0, 0.003)
    errors = [linear_error(TwoClocks(), two_clocks, grid, h, (1,)) for h in (0.4, 0.2, 0.1)]
    assert np.allclose(orders(errors), 2.0, atol=0.3)
    errors = [linear_error(Power(2), one_clock, grid, h, (1,)) for h in (1.6, 0.8)]
    assert orders(errors)[0] > 4


def test_the_exponential_is_of_order_five_and_forgets_what_is_stiff():
    right, left, start = np.array([0.5, 1.0]), np.array([0.25, 0.5]), np.eye(3)[:, :1]
    rates = np.array([[-0.5, 0.25, 0.0], [0.5, -1.25, 0.5], [0.0, 1.0, -0.5]])
    step = lambda z: exponential(z * right, z * left, start)
    errors = [np.linalg.norm(step(z) - expm(z * rates) @ start) for z in (0.2, 0.1, 0.05)]
    assert np.allclose(orders(errors), 6, atol=0.4)  # of one step
    assert np.allclose(step(1e9)[:, 0], np.array([1, 2, 4]) / 7, atol=1e-7)  # the chain's rest


def test_a_spectral_method_agrees_where_there_is_no_closed_form():
    """p_t at power 4 by exp(τL) with Fourier derivatives, τ = ∫β."""
    sde, t, mean, std = Power(4), 0.2, 0.9, 0.3
    count, end = 320, 5.0
    x = np.linspace(-end, end, count, endpoint=False)
    waves = 1j * np.fft.fftfreq(count, d=2 * end / count) * 2 * np.pi
    derivative = lambda order: np.real(
        np.fft.ifft(waves[:, None] ** order * np.fft.fft(np.eye(count), axis=0), axis=0)
    )
    operator = 0.5 * derivative(1) @ np.diag(x**3) + 0.5 * derivative(2)
    exact = expm(sde.clock(t) * operator) @ np.exp(gaussians(mean, std)(x))[:, 0]
    solution = solve(sde, gaussians(mean, std), [t], Grid(5.0, 30.0, 0.03))
    u = solution.grid.points()
    ours = make_interp_spline(u, solution.log_p[0, :, 0], k=5)(solution.grid.to_u(x))
    bulk = exact > 1e-7
    assert bulk.sum() > 100
    assert np.allclose(ours[bulk], np.log(exact[bulk]), atol=1e-6)


def test_the_stationary_law_of_power_4_stays():
    log_normaliser = math.log(2) + (1 / 4 - 1) * math.log(4) + math.lgamma(1 / 4)
    log_prior = lambda x: (-(x**4) / 4 - log_normaliser)[:, None]
    solution = solve(Power(4), log_prior, [0.1, 1.0], Grid(5.0, 30.0, 0.05))
    x = nodes(solution)
    bulk = np.abs(x) < 3
    assert np.allclose(solution.log_p[:, bulk], log_prior(x[bulk]), atol=1e-7)
    assert np.allclose(scores(solution, 1)[bulk, 0], -(x[bulk] ** 3), atol=1e-6)
    assert solution.mass_drift < 1e-12


def test_the_stationary_law_of_pearson_stays_far_into_its_tails():
    sde = Pearson()
    nu = 1 + 1 / sde.tail
    log_normaliser = math.lgamma(nu / 2) - math.lgamma((nu + 1) / 2) + 0.5 * math.log(math.pi)
    log_prior = lambda x: (
        -0.5 * (nu + 1) * np.log1p((x / sde.scale) ** 2) - log_normaliser - math.log(sde.scale)
    )[:, None]
    solution = solve(sde, log_prior, [0.5, 1.0], Grid(4.0, 2_000.0, 0.08))
    x = nodes(solution)
    assert np.allclose(solution.log_p, log_prior(x), atol=1e-6)
    assert np.allclose(scores(solution, 1)[:, 0], -(nu + 1) * x / (x**2 + sde.scale**2), atol=1e-6)
    assert solution.mass_drift < 1e-12


def test_the_moments_of_pearson():
    """Mean e^{−B/2} m; second moment relaxes to aδ²/(1 − a) at the rate (1 − a)β."""
    sde, times = Pearson(tail=0.15, scale=1.2), [0.05, 0.3, 0.8]
    solution = solve(sde, gaussians(), times, Grid(4.0, 2_000.0, 0.02), 0.15)
    x, weight = nodes(solution)[:, None], np.exp(solution.log_p)
    weight = weight * solution.grid.slope(solution.grid.points())[:, None]
    weight = weight / weight.sum(axis=1, keepdims=True)
    rest = sde.tail * sde.scale**2 / (1 - sde.tail)
    for i, t in enumerate(times):
        B = sde.clock(t)
        second = rest + math.exp(-(1 - sde.tail) * B) * (MEANS**2 + STD**2 - rest)
        assert np.allclose((weight[i] * x).sum(axis=0), math.exp(-0.5 * B) * MEANS, atol=1e-7)
        assert np.allclose((weight[i] * x**2).sum(axis=0), second, rtol=1e-6)


def test_densities_stay_normalised():
    solution = solve(Power(4), gaussians(), [1e-4, 0.1, 0.6], GRID, 0.15)
    u = solution.grid.points()
    total = (solution.grid.slope(u) * (u[1] - u[0])) @ np.exp(solution.log_p)
    assert np.allclose(total, 1.0, atol=1e-7)
    assert solution.mass_drift < 1e-12
    assert np.all(np.isfinite(solution.log_p))


def test_an_sde_in_float32_will_do():
    class Single(Power):
        def beta(self, t):
            return tf.constant([[0.1]]) + t[:, None] * tf.constant(19.9)

    same = [solve(s, gaussians(), [0.1], GRID, 0.2).log_p for s in (Power(4), Single(4))]
    bulk = same[0] > -20
    assert np.allclose(same[0][bulk], same[1][bulk], atol=1e-4)


def test_what_cannot_be_solved_is_refused():
    with pytest.raises(ValueError, match="increasing times >= 0"):
        solve(Power(4), gaussians(), [0.2, 0.1], GRID)
    with pytest.raises(ValueError, match="larger extent"):
        solve(lcss_tf.SDES["VESDE"](), gaussians(), [1.0], GRID, 0.4)
    with pytest.raises(ValueError, match="too coarse"):
        solve(Power(2), gaussians(), [0.1], GRID._replace(spacing=0.5), 0.4)
    with pytest.raises(ValueError, match="has no drift"):
        solve(object(), gaussians(), [0.1], GRID)
    with pytest.raises(ValueError, match="not finite"):
        solve(Power(0.5), gaussians(), [0.1], GRID)
