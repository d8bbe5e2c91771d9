"""The adaptive solver against scipy's and against known solutions; the ODE sampler's parity."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import solve_ivp

import lcss_tf
from lcss_tf import random
from lcss_tf.samplers import DormandPrince, DormandPrinceSolver, ode
from tests.conftest import relative_error

RATES = np.array([0.5, 1.0, 4.0])  # of three systems that need different steps


def predators(t, y):
    """Lotka and Volterra's equations, with a season: y [B, 2], t [B]; NumPy or TensorFlow."""
    rate = RATES[: len(t)] if hasattr(t, "tolist") else tf.constant(RATES, t.dtype)[: t.shape[0]]
    hare, lynx = y[:, 0], y[:, 1]
    season = 1 + 0.3 * np.cos(t) if hasattr(t, "tolist") else 1 + 0.3 * tf.cos(t)
    stack = np.stack if hasattr(t, "tolist") else tf.stack
    return stack([rate * hare * (season - lynx), rate * lynx * (hare - 1)], axis=1)


def by_scipy(start, end, y, **options):
    def slope(t, flat):
        return predators(np.full(len(y), t), flat.reshape(len(y), 2)).ravel()

    return solve_ivp(slope, (start, end), y.ravel(), method="RK45", **options)


Y = np.array([[2.0, 1.0], [1.5, 0.5], [0.7, 1.9]])


def solved(solver, y, start, ends, dtype=tf.float64):
    run = tf.function(
        lambda y: solver.solve(lambda t, y: [predators(t, y[0])], [y], start, ends),
        jit_compile=True,
    )
    return run(tf.constant(y, dtype))


@pytest.mark.parametrize(
    ("times", "rtol"),
    [
        ((3.0, -2.0), 1e-6),
        *(
            pytest.param(times, rtol, marks=pytest.mark.slow)
            for times, rtol in (((0.0, 7.0), 1e-3), ((0.0, 7.0), 1e-6), ((3.0, -2.0), 1e-3))
        ),
    ],
)
def test_it_takes_scipys_steps(times, rtol):
    """In float64, with one step for all: the same NFE, the same result."""
    expected = by_scipy(*times, Y, rtol=rtol, atol=1e-6)
    got = solved(DormandPrinceSolver(rtol, 1e-6, "batch"), Y, times[0], times[1:])
    assert int(got.nfe) == expected.nfev
    assert set(got.steps.numpy()) == {len(expected.t) - 1}
    np.testing.assert_allclose(got.state[0], expected.y[:, -1].reshape(3, 2), rtol=1e-11)


@pytest.mark.parametrize("rtol", [pytest.param(1e-4, marks=pytest.mark.slow), 1e-7])
def test_each_example_by_itself_takes_scipys_steps_too(rtol):
    """control="sample": each is solved as if alone, whatever else is in the batch."""
    got = solved(DormandPrinceSolver(rtol, 1e-6), Y, 0.0, [5.0])
    attempts = []
    for i in range(3):
        alone = solve_ivp(
            lambda t, y, i=i: predators(np.full(3, t), np.tile(y, (3, 1)))[i],
            (0.0, 5.0), Y[i], method="RK45", rtol=rtol, atol=1e-6,
        )  # fmt: skip
        assert got.steps[i] == len(alone.t) - 1
        np.testing.assert_allclose(got.state[0][i], alone.y[:, -1], rtol=1e-11)
        attempts.append(alone.nfev)
    assert int(got.nfe) == max(attempts)
    assert len(set(got.steps.numpy())) > 1  # they did need different steps
    # A shorter batch gives the same rows.
    np.testing.assert_allclose(
        solved(DormandPrinceSolver(rtol, 1e-6), Y[:2], 0.0, [5.0]).state[0],
        got.state[0][:2],
        rtol=1e-12,
    )


def fixed_steps(count, weights, end=2.0):
    """The tableau's result at `end` from `count` equal steps, [3, 2]."""
    y, h = Y, end / count
    for n in range(count):
        slopes = np.zeros((7, *Y.shape))
        for stage, row, node in zip(range(7), ode.WEIGHTS[[0, *range(2, 8)]],
                                    ode.NODES[[0, *range(2, 8)]], strict=True):  # fmt: skip
            point = y + h * np.tensordot(row, slopes, 1)
            slopes[stage] = predators(np.full(3, (n + node) * h), point)
        y = y + h * np.tensordot(weights, slopes, 1)
    return y


@pytest.mark.parametrize(("lower", "order"), [(False, 5), (True, 4)])
def test_measured_order(lower, order):
    weights = ode.WEIGHTS[7] - (ode.ERROR if lower else 0)
    exact = by_scipy(0.0, 2.0, Y, rtol=1e-13, atol=1e-14).y[:, -1].reshape(3, 2)
    errors = [np.abs(fixed_steps(count, weights) - exact).max() for count in (40, 80, 160)]
    measured = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all(np.abs(measured - order) < 0.25), measured


@pytest.mark.slow
def test_smaller_tolerances_give_smaller_errors():
    exact = by_scipy(0.0, 5.0, Y, rtol=1e-12, atol=1e-13).y[:, -1].reshape(3, 2)
    errors = [
        np.abs(solved(DormandPrinceSolver(tol, tol), Y, 0.0, [5.0]).state[0] - exact).max()
        for tol in (1e-3, 1e-5, 1e-7)
    ]
    assert errors[0] > 20 * errors[1] > 400 * errors[2]
    assert errors[2] < 1e-5


def test_states_at_several_ends_and_several_tensors():
    """y' = −y on [3], and its integral: states at each end, both tensors together."""
    ends, y = [0.5, 0.6, 2.0], tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], tf.float64)
    solver = DormandPrinceSolver(1e-8, 1e-8)
    slope = lambda t, y: [-y[0], tf.reduce_sum(y[0], axis=1)]
    run = tf.function(lambda *y: solver.solve(slope, list(y), 0.0, ends))
    solution = run(y, tf.zeros(2, tf.float64))
    for i, end in enumerate(ends):
        np.testing.assert_allclose(solution.trajectory[0][i], y * np.exp(-end), rtol=1e-7)
        total = tf.reduce_sum(y, 1) * (1 - np.exp(-end))
        np.testing.assert_allclose(solution.trajectory[1][i], total, rtol=1e-7)
    np.testing.assert_array_equal(solution.state[0], solution.trajectory[0][-1])
    assert solution.failure[0] == -1


def test_bad_tolerances_and_ends_are_refused():
    for bad in ({"rtol": 0.0}, {"atol": -1e-5}, {"rtol": float("nan")}):
        with pytest.raises(ValueError, match="tolerances above 0"):
            DormandPrinceSolver(**bad)
        with pytest.raises(ValueError, match="tolerances above 0"):
            DormandPrince(**bad)
    with pytest.raises(ValueError, match="'sample', 'batch'"):
        DormandPrinceSolver(control="both")
    with pytest.raises(ValueError, match="max_steps >= 1"):
        DormandPrinceSolver(max_steps=0)
    with pytest.raises(ValueError, match="one way"):
        DormandPrinceSolver().solve(lambda t, y: y, [tf.ones([1, 1])], 0.0, [1.0, 0.5])


@pytest.mark.parametrize("control", ["sample", "batch"])
def test_failures_are_named(control):
    """NaN and too few steps are reported; with control="sample" the other examples finish."""
    y = tf.constant([[1.0], [2.0]])

    def breaks(t, y):
        wrong = (t[:, None] > 0.4) & (y[0] > 1.0)
        return [tf.where(wrong, np.nan, tf.zeros_like(y[0]))]

    solver = DormandPrinceSolver(control=control)
    solution = tf.function(lambda y: solver.solve(breaks, [y], 0.0, [1.0]))(y)
    assert solution.finished.numpy().tolist() == [control == "sample", False]
    step, t = solution.failure.numpy()
    assert 0 <= step < solver.max_steps
    assert t == pytest.approx(0.4, abs=1e-4)
    assert "beyond t = 0.4" in solver.explain((step, t))
    assert np.isfinite(solution.state[0]).all()
    few = DormandPrinceSolver(control=control, max_steps=3)
    solution = few.solve(lambda t, y: [200 * y[0] * tf.cos(50 * y[0])], [y], 0.0, [1.0])
    assert not solution.finished.numpy().any()
    assert solution.failure[0] == 3
    assert "in 3 steps" in few.explain(solution.failure)
    assert int(solution.nfe) == 2 + 6 * 3


def test_parity_of_the_ode_sampler(reference):
    """score_sde's trajectories by scipy in float64, and their NFE."""
    sampler = DormandPrince(control="batch", t_end=reference.meta["eps"])
    sde, x_T = reference.sde(), tf.constant(reference["ode.x_T"])

    @tf.function(jit_compile=True)
    def run(x_T):
        return sampler.sample_from(reference.score_fn, sde, x_T, random.as_seed(0))

    samples = run(x_T)
    assert relative_error(samples.x, reference["ode.x"]) < 5e-5
    # Two numbers that agree to 6 digits may round to either side of accepting a step.
    assert abs(int(samples.nfe) - int(reference["ode.nfe"])) <= 6


STD = 0.5


@pytest.mark.parametrize(
    "kind", ["VPSDE", *(pytest.param(k, marks=pytest.mark.slow) for k in ("SubVPSDE", "VESDE"))]
)
def test_the_flow_of_a_gaussian_down_to_the_smallest_time(kind):
    """float32 from T to 1e-5: x_t = x_T std_t/std_T exactly, at every frame of the trajectory."""
    sde = lcss_tf.SDES[kind]()

    def spread(t):
        alpha_t, sigma_t = sde.marginal(tf.constant(t, tf.float32))
        return np.sqrt((alpha_t * STD) ** 2 + sigma_t**2)

    def score_fn(x, t):
        alpha_t, sigma_t = sde.marginal(t)
        return -x / ((alpha_t * STD) ** 2 + sigma_t**2)[:, None]

    sampler = DormandPrince(t_end=1e-5)
    x_T = sde.prior_sample((50, 2), random.as_seed(1))
    run = tf.function(
        lambda x, trajectory_steps: sampler.sample_from(
            score_fn, sde, x, random.as_seed(0), trajectory_steps
        ),
        jit_compile=True,
    )
    samples = run(x_T, 4)
    times = sampler.schedule.times(sde, 1e-5, 4)
    assert samples.trajectory.shape == (5, 50, 2)
    for t, x in zip(times, samples.trajectory, strict=True):
        expected = x_T * spread([t]) / spread([1.0])
        np.testing.assert_allclose(x, expected, atol=1e-3 * float(np.max(np.abs(expected))))
    np.testing.assert_array_equal(samples.trajectory[-1], samples.x)
    without = run(x_T, 0).x
    np.testing.assert_allclose(without, samples.x, atol=1e-3)
    # Each by itself: half of them alone are the same half.
    np.testing.assert_allclose(run(x_T[25:], 0).x, without[25:], rtol=1e-5, atol=1e-6)


def test_a_score_of_nan_makes_no_sample():
    sde = lcss_tf.SDES["VPSDE"]()
    sampler = DormandPrince()
    score_fn = lambda x, t: tf.where(t[:, None] < 0.3, np.nan, -x)
    samples = tf.function(lambda: sampler.sample(score_fn, sde, (4, 2), 1))()
    assert np.isnan(samples.x).all()
    assert float(samples.failure[1]) == pytest.approx(0.3, abs=1e-3)
    assert "t = 0.3" in sampler.explain(samples.failure)
