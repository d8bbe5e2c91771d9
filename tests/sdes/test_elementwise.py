"""Elementwise SDEs: the latent coordinate, the flow, the weak order, the local kernel."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

import lcss_tf
from lcss_tf import random
from lcss_tf.sdes import SDE, ElementwiseSDE
from lcss_tf.sdes.elementwise import phi1
from lcss_tf.sdes.path import Grid

ELEMENTWISE = ("GeneralizedNormalSDE", "PearsonSDE")
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


class Softened(ElementwiseSDE):
    """A user's SDE: nothing but the four methods, so the flow and the noise are defaults."""

    def drift(self, x, t):
        return -(1 + 4 * t[:, None]) * tf.tanh(2 * x)

    def diffusion(self, x, t):
        return tf.sqrt(1 + 8 * t)[:, None]

    def prior_sample(self, shape, seed):
        return random.normal(seed, shape)


def all_sdes():
    return [*(lcss_tf.SDES[name]() for name in ELEMENTWISE), Softened()]


@pytest.mark.parametrize("sde", all_sdes(), ids=lambda s: type(s).__name__)
def test_the_latent_coordinate(sde):
    """ψ and its inverse; γ = dx/dy; the latent drift is Itô's."""
    x, t = tf.reshape(tf.linspace(-3.0, 3.0, 41), (-1, 1)), tf.fill([41], 0.4)
    y = sde.to_latent(x)
    np.testing.assert_allclose(sde.from_latent(y), x, rtol=1e-5, atol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(y)
        back = sde.from_latent(y)
    np.testing.assert_allclose(tape.gradient(back, y), sde.latent_slope(x), rtol=1e-4)
    np.testing.assert_allclose(
        sde.latent_drift(y, t), ElementwiseSDE.latent_drift(sde, y, t), rtol=1e-3, atol=1e-4
    )
    g = tf.broadcast_to(sde.diffusion(x, t), x.shape)
    np.testing.assert_allclose(g, sde.latent_slope(x) * sde.latent_noise(t)[:, None], rtol=1e-4)


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0, 4.0, 6.5])
def test_the_generalized_normals_flow_and_linear_part_make_up_its_drift(power):
    _check_parts(lcss_tf.SDES["GeneralizedNormalSDE"](power=power))


def test_pearsons_flow_and_linear_part_make_up_its_drift():
    _check_parts(lcss_tf.SDES["PearsonSDE"]())


def _check_parts(sde):
    """d/dt of (linear, then flow) is the latent drift; the flow solves an ODE of long time too."""
    y = np.float32([[-2.0], [-0.7], [0.3], [1.5]])
    s, ones = 0.5, tf.ones(4)

    def rest(t, y):
        h = 1e-3
        a, _ = sde.linear_step((t - h) * ones[:1], (t + h) * ones[:1])
        linear = float(tf.math.log(a)[0]) / (2 * h)
        drift = sde.latent_drift(tf.constant(y[:, None], tf.float32), t * tf.ones(len(y)))
        return drift.numpy()[:, 0] - linear * y

    solved = solve_ivp(rest, (s, 0.6), y[:, 0], rtol=1e-7, atol=1e-7).y[:, -1:]
    flowed = sde.flow(tf.constant(y), s * ones, 0.6 * ones)
    np.testing.assert_allclose(flowed, solved, rtol=2e-3, atol=2e-3)
    _, std = sde.linear_step(s * ones, (s + 0.01) * ones)
    noise = float(sde.latent_noise(tf.constant([s + 0.005]))[0]) * np.sqrt(0.01)
    assert float(std[0]) == pytest.approx(noise, rel=0.06)


def test_the_default_flow_is_of_second_order():
    sde, y = Softened(), np.float32([[-1.1], [0.4], [0.9]])
    field = lambda t, y: sde.drift(tf.constant(y[:, None], tf.float32), t * tf.ones(3))[:, 0]
    exact = solve_ivp(field, (0, 1), y[:, 0], rtol=1e-9, atol=1e-9).y[:, -1]
    errors = []
    for steps in (2, 4, 8):
        x, times = tf.constant(y), np.linspace(0, 1, steps + 1)
        for s, t in zip(times[:-1], times[1:], strict=True):
            x = sde.flow(x, tf.fill([3], np.float32(s)), tf.fill([3], np.float32(t)))
        errors.append(np.abs(x.numpy()[:, 0] - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 1.6).all(), (errors, orders)


def test_phi1():
    """Against float64, on both sides of where the series takes over."""
    y = np.concatenate([-np.logspace(-6, 1.5, 200), np.logspace(-6, 1.5, 200)])
    np.testing.assert_allclose(phi1(tf.constant(y, tf.float32)), np.expm1(y) / y, rtol=2e-6)
    with tf.GradientTape() as tape:
        zero = tf.constant([0.0, 1e-4, -0.2, 3.0])
        tape.watch(zero)
        value = phi1(zero)
    assert np.isfinite(tape.gradient(value, zero)).all()


def expectation(maps, function, grid):
    """E f(y_N) as a function of y_0 on a grid, backwards through maps y -> points [n, nodes]."""
    values = function(grid)
    for step in reversed(maps):
        spline = CubicSpline(grid, values)
        values = spline(np.clip(step(grid), grid[0], grid[-1])) @ WEIGHTS
    return CubicSpline(grid, values)


def split_maps(sde, t, steps):
    """The maps of `path.sample` with Gauss–Hermite nodes in the noise's place."""
    grid = Grid(tf.zeros(1), tf.constant([t]), steps, sde.simulation_spacing)

    def noise(y, s, t):
        a, std = (float(v[0]) for v in sde.linear_step(s, t))
        return a * y[:, None] + std * NODES

    def flow(y, s, t):
        flat = tf.constant(y.reshape(-1, 1), tf.float32)
        ones = tf.ones(len(flat))
        return sde.flow(flat, s * ones, t * ones).numpy()[:, 0].astype(np.float64)

    def step(k):
        first, after = tf.constant(float(k)), tf.constant(k + 1.0)
        times = [f(v) for f in (grid.time, grid.middle) for v in (first, after)]
        return lambda y: noise(flow(y, *times[:2]), *times[2:])

    start = lambda y: noise(y, tf.zeros(1), grid.middle(tf.constant(0.0)))
    return [start, *(step(k) for k in range(steps))]


def kernel_maps(kernel, t, steps, spacing):
    """The maps of a Gaussian kernel (y, s, t) -> (mean, std), composed over [0, t]."""
    times = np.float32(t * (np.arange(steps + 1) / steps) ** spacing)

    def step(s, t):
        def points(y):
            y, ones = tf.constant(y[:, None], tf.float32), tf.ones(len(y))
            mean, std = kernel(y, s * ones, t * ones)
            return (mean + std * np.float32(NODES)).numpy().astype(np.float64)

        return points

    return [step(s, t) for s, t in zip(times[:-1], times[1:], strict=True)]


@pytest.mark.parametrize("sde", all_sdes(), ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("kind", ["split", pytest.param("euler", marks=pytest.mark.slow)])
def test_weak_order(sde, kind):
    """The error of E y² and E cos 2y against halved steps: 2 and 1; without sampling.

    The expectation is carried backwards on a grid with Gauss–Hermite nodes, so that only the
    scheme's error is left.
    """
    t, grid = 0.3, np.linspace(-6, 6, 481)
    starts = np.array([-1.2, -0.3, 0.8])

    def moments(kind, steps):
        maps = {
            "split": lambda: split_maps(sde, t, steps),
            "euler": lambda: kernel_maps(_latent_euler(sde), t, steps, 1.0),
        }[kind]()
        return np.stack([
            expectation(maps, f, grid)(starts) for f in (np.square, lambda y: np.cos(2 * y))
        ])  # fmt: skip

    reference = moments("split", 128)
    counts = (16, 32) if kind == "euler" else (4, 8)
    errors = [np.abs(moments(kind, n) - reference).max() for n in counts]
    order = np.log2(errors[0] / errors[1])
    assert order > {"split": 1.6, "euler": 0.7}[kind], errors
    if kind != "euler":
        euler = np.abs(moments("euler", 8) - reference).max()
        assert errors[1] < 0.5 * euler, "a few split steps are worth many Euler ones"


def _latent_euler(sde):
    return lambda y, s, t: (
        y + sde.latent_drift(y, s) * (t - s)[:, None],
        (sde.latent_noise(s) * tf.sqrt(t - s))[:, None],
    )


def test_a_coupled_drift_is_refused():
    class Rotating(ElementwiseSDE):
        def drift(self, x, t):
            return -tf.roll(x, 1, axis=-1) - tf.reduce_mean(x)

        def diffusion(self, x, t):
            return tf.ones_like(t)[:, None]

    with pytest.raises(ValueError, match="one coordinate depends on the others"):
        Rotating().check()
    told = Rotating()
    told.expect((2, 3))
    with pytest.raises(ValueError, match="one coordinate depends on the others"):
        told.check()


def test_an_undeclared_multiplicative_noise_is_refused():
    class Growing(Softened):
        def diffusion(self, x, t):
            return tf.sqrt(1 + x**2) * tf.sqrt(t)[:, None]

    with pytest.raises(ValueError, match="latent_slope"):
        Growing().check()


def test_the_number_and_the_spacing_of_steps_are_those_asked_for():
    """dx = g dw, g² = 4t³: the midpoint rule's variance on the grid."""

    class Plain(SDE):
        def drift(self, x, t):
            return tf.zeros_like(x)

        def diffusion(self, x, t):
            return 2 * t[:, None] ** 1.5

        def prior_sample(self, shape, seed):
            return random.normal(seed, shape)

    x0, t = tf.zeros((200_000, 1)), tf.ones(200_000)
    for steps, spacing in ((2, 1.0), (2, 0.5), (4, 1.0)):
        grid = Grid(0.0, 1.0, steps, spacing)
        ends = [0.0, *(float(grid.middle(tf.constant(float(k)))) for k in range(steps + 1))]
        variance = sum(4 * (0.5 * (a + b)) ** 3 * (b - a) for a, b in itertools.pairwise(ends))
        x = Plain(simulation_steps=steps, simulation_spacing=spacing).sample_xt(x0, t, 1)
        assert float(tf.math.reduce_variance(x)) == pytest.approx(variance, rel=0.02)
    with pytest.raises(ValueError, match="simulation_steps >= 1"):
        Plain(simulation_steps=0)


@pytest.mark.parametrize(
    "power", [1.5, *(pytest.param(p, marks=pytest.mark.slow) for p in (2.5, 3.0, 4.0))]
)
def test_the_weight_needs_no_second_derivative(power):
    """E[S(x_t)·w] = E[S'(x_t)] at powers where F'' has no finite variance too."""
    sde, n = lcss_tf.SDES["GeneralizedNormalSDE"](power), 100_000
    draw = tf.function(sde.sample_with_weight, jit_compile=True, autograph=False)
    for time in (1e-5, 0.2, 1.0):
        t = tf.fill([n], time)
        x, w = draw(tf.fill([n, 1], 0.4), t, random.as_seed(3))
        gap = (tf.sin(2 * x) - np.sin(0.8)) * w - 2 * tf.cos(2 * x)
        error = 3 * float(tf.math.reduce_std(gap)) / n**0.5
        assert float(tf.reduce_mean(gap)) == pytest.approx(0, abs=error), time
