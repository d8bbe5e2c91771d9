"""What every registered SDE must keep; new ones enter by themselves."""

from pathlib import Path

import gin
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.commands._gin import import_user_module
from lcss_tf.sdes import SDE, noise
from tests.siblings import siblings

# An author's SDE, which has no closed form, keeps the contract too.
import_user_module(str(Path(__file__).parent / "logistic.py"))

SHAPE = (4096, 3)


@pytest.fixture(params=siblings(set(lcss_tf.SDES) - {"KineticSDE"}))  # see test_kinetic
def sde(request):
    return lcss_tf.SDES[request.param]()


@pytest.fixture
def x():
    return random.normal(5, SHAPE)


@pytest.fixture
def t(sde):
    return sde.t_min + (sde.T - sde.t_min) * random.uniform(6, SHAPE[:1])


def test_shapes(sde, x, t):
    assert sde.drift(x, t).shape == SHAPE
    assert noise.apply(sde.diffusion(x, t), x).shape == SHAPE
    for vector in (sde.noise_scale(t), sde.noise_label(t), sde.prior_log_prob(x)):
        assert vector.shape == SHAPE[:1]
        assert np.isfinite(vector).all()
    assert sde.sample_xt(x, t, 0).shape == SHAPE


def test_noise_scale_is_positive_and_grows(sde):
    t = tf.linspace(sde.t_min, sde.T, 200)
    scale = sde.noise_scale(t).numpy()
    assert (scale > 0).all()
    assert (np.diff(scale) >= -1e-6 * scale.max()).all()


def test_its_methods_agree(sde, x):
    """Its own check finds nothing; a short step has its drift and its diffusion."""
    sde.expect(SHAPE[1:])
    sde.check()
    sde.check_weights()
    h, n = 0.002, 100_000
    start = tf.repeat(x[:3], n, axis=0)
    s = tf.fill([3 * n], 0.4)
    step = tf.function(sde.simulation_step, jit_compile=True, autograph=False)
    change = step(start, s, s + h, random.as_seed(1)) - start
    change = tf.reshape(change, (3, n, -1)).numpy().astype(float)
    here = x[:3], tf.fill([3], 0.4 + h / 2)
    drift, g = (part(*here).numpy() for part in (sde.drift, sde.diffusion))
    if g.ndim == 3:  # a matrix: the standard deviation of each coordinate
        g = np.linalg.norm(g, axis=2)
    np.testing.assert_allclose(change.std(1) / h**0.5, np.broadcast_to(g, x[:3].shape), rtol=0.1)
    error = 5 * g / (h * n) ** 0.5 + 0.1 * np.abs(drift) + 0.1 * g
    assert (np.abs(change.mean(1) / h - drift) < error).all()


def test_stein_weights(sde, x, t):
    """E[tr ∇S(x_t)] = E[S(x_t)·w] for the weights of the path and of the last step."""
    z = random.normal(3, SHAPE)
    std = tf.minimum(0.9 * sde.noise_scale(t), min(sde.kernel_cap, 1e6) ** 0.5 * sde.prior_std())
    draws = {"last step": sde.last_step(x, t, std, 1).at(z)}
    draws["path"] = sde.sample_with_weight(x, t, 2)
    same = sde.sample_xt(x, t, 2)
    np.testing.assert_allclose(draws["path"][0], same, rtol=1e-5, atol=1e-5)
    unit = sde.noise_scale(t)[:, None]
    for name, (x_t, w) in draws.items():
        gap = unit * (tf.sin(x_t) * w - tf.cos(x_t))  # in units in which the weights are O(1)
        error = 5 * float(tf.math.reduce_std(gap)) / np.sqrt(np.prod(SHAPE))
        assert float(tf.reduce_mean(gap)) == pytest.approx(0, abs=error), name


def test_the_marginal_solves_the_equations_of_its_moments(sde):
    """α' = f α and (σ²)' = 2 f σ² + g² for drift f x, in float64."""
    if not sde.has_marginal:
        return
    t = np.linspace(0.05, 0.95, 7) * sde.T
    h = 1e-3 * sde.T
    marginal = lambda t: (v.numpy().astype(float) for v in sde.marginal(tf.constant(t, tf.float32)))
    (a0, s0), (a1, s1), (a2, s2) = (marginal(t + k * h) for k in (-1, 0, 1))
    ones = tf.ones((7, 1))
    f, g = (
        np.broadcast_to(part(ones, tf.constant(t, tf.float32)), (7, 1))[:, 0]
        for part in (sde.drift, sde.diffusion)
    )
    np.testing.assert_allclose((a2 - a0) / (2 * h), f * a1, rtol=0.01, atol=2e-4 / sde.T)
    slope = (s2**2 - s0**2) / (2 * h)
    np.testing.assert_allclose(slope, 2 * f * s1**2 + g**2, rtol=0.01, atol=1e-3 * slope.max())


def test_the_path_needs_no_shape_but_the_datas_own(sde):
    """Whatever is measured, an author's methods are called with the data's shape alone."""
    seen = set()

    def watching(method, place):
        def watched(*arguments):
            value = arguments[place]
            seen.add(tuple(getattr(value, "shape", value))[1:])
            return method(*arguments)

        return watched

    for name, place in (("drift", 0), ("diffusion", 0), ("prior_sample", 0), ("prior_log_prob", 0)):
        setattr(sde, name, watching(getattr(sde, name), place))
    x0, t = random.normal(1, (16, 5)), tf.linspace(0.1, 1.0, 16) * sde.T
    sde.prepare(x0)
    sde.sample_with_weight(x0, t, 1)
    sde.noise_scale(t), sde.noise_rate(t), sde.prior_std()
    sde.check_weights()
    sde.reverse_drift(x0, t, x0)
    assert seen <= {(5,)}


def test_draws_are_functions_of_the_seed(sde, x, t):
    first, again, other = (sde.sample_xt(x, t, seed).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_rows_of_a_seed_are_rows_of_the_global_batch(sde, x, t):
    whole = sde.sample_xt(x, t, (7, 8)).numpy()
    half = sde.sample_xt(x[2048:], t[2048:], random.at_row((7, 8), 2048)).numpy()
    np.testing.assert_allclose(half, whole[2048:], rtol=1e-5, atol=1e-5)


def test_prior_sample_has_the_density_it_states(sde):
    """The integral of the stated density is 1, by importance sampling from a wider law."""
    draws = sde.prior_sample((20_000, 1), random.as_seed(3))
    width = 1.5 * float(tf.math.reduce_std(draws))
    y = width * random.normal(4, (200_000, 1))
    log_proposal = -0.5 * (y[:, 0] / width) ** 2 - np.log(width * np.sqrt(2 * np.pi))
    log_weights = sde.prior_log_prob(y) - log_proposal
    assert float(tf.reduce_mean(tf.exp(log_weights))) == pytest.approx(1.0, abs=0.02)
    # The entropy by its own samples and by the proposal's agree: same law.
    own = -float(tf.reduce_mean(sde.prior_log_prob(draws)))
    weighted = -float(tf.reduce_mean(tf.exp(log_weights) * sde.prior_log_prob(y)))
    assert own == pytest.approx(weighted, abs=0.03)


def test_the_data_end_up_as_the_prior(sde, x):
    """Mean and deviation of x_T from unit-variance data against the prior's."""
    x_T = sde.sample_xt(x, sde.T * tf.ones(SHAPE[:1]), 11)
    prior = sde.prior_sample(SHAPE, random.as_seed(12))
    spread = float(tf.math.reduce_std(prior))
    assert abs(float(tf.reduce_mean(x_T))) < 0.05 * spread
    assert float(tf.math.reduce_std(x_T)) == pytest.approx(spread, rel=0.05)


def test_simulation_agrees_with_the_marginal(sde, x, t):
    """The general chain's mean and variance are the closed form's, where there is one."""
    if not sde.has_marginal:
        with pytest.raises(ValueError, match="no closed-form marginal"):
            sde.marginal(t)
        return
    t = tf.fill([SHAPE[0]], 0.3)
    x0 = tf.ones(SHAPE)
    sde.simulation_steps = 40
    draw = lambda x0, t, seed: SDE.sample_xt(sde, x0, t, seed)
    simulated = tf.function(draw, jit_compile=True, autograph=False)(x0, t, random.as_seed(1))
    alpha_t, sigma_t = (float(v[0]) for v in sde.marginal(t))
    # VE's closed form counts sigma_min at time 0, which a path from x_0 has not.
    expected = np.sqrt(sigma_t**2 - float(sde.marginal(tf.zeros(1))[1][0]) ** 2)
    error = 4 * expected / np.sqrt(np.prod(SHAPE))
    assert float(tf.reduce_mean(simulated)) == pytest.approx(alpha_t, abs=error + 0.01)
    assert float(tf.math.reduce_std(simulated)) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    "radius", [0.5, *(pytest.param(radius, marks=pytest.mark.slow) for radius in (0.1, 1.0))]
)
def test_last_step_composes(sde, x, t, radius):
    """Its points are distributed as x_t, by mean and deviation in units of the noise."""
    std = radius * sde.noise_scale(t)
    if not sde.has_marginal:
        std = tf.minimum(std, sde.kernel_cap**0.5 * sde.prior_std())
    through, weight = sde.last_step(x, t, std, 1).at(random.normal(2, SHAPE))
    assert through.shape == weight.shape == SHAPE
    direct = sde.sample_xt(x, t, 3)
    scale = tf.sqrt(1 + sde.noise_scale(t)[:, None] ** 2)
    a, b = (through / scale).numpy(), (direct / scale).numpy()
    assert a.std() == pytest.approx(b.std(), rel=0.03)
    assert a.mean() == pytest.approx(b.mean(), abs=0.03)


def test_reverse_drift_carries_the_divergence_of_state_dependent_noise():
    """For g(x) = √(1 + x²), ∂(g²) = 2x joins g² score, halved for the ODE."""

    class Multiplicative(lcss_tf.SDE):
        def drift(self, x, t):
            return -x

        def diffusion(self, x, t):
            return tf.sqrt(1 + x**2)

    x, t, score = random.normal(1, (8, 2)), tf.ones(8), random.normal(2, (8, 2))
    whole = (1 + x**2) * score + 2 * x
    sde = Multiplicative()
    np.testing.assert_allclose(sde.reverse_drift(x, t, score), -x - whole, rtol=1e-5, atol=1e-6)
    ode = sde.reverse_drift(x, t, score, probability_flow=True)
    np.testing.assert_allclose(ode, -x - 0.5 * whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("VPSDE", {"beta_min": -1.0}), ("SubVPSDE", {"beta_max": 0.0}), ("VESDE", {"sigma_min": 60})],
)
def test_impossible_parameters_are_refused(name, arguments):
    with pytest.raises(ValueError, match="expects .* got"):
        lcss_tf.SDES[name](**arguments)


class Bare(lcss_tf.SDE):
    """An SDE as an author writes it, without a constructor."""


class Built(lcss_tf.SDE):
    """With a constructor that knows nothing of simulation, and calls no other."""

    def __init__(self, rate=2.0, *, name="built"):
        self.rate, self.name = rate, name


class Derived(Built):
    """Whose own constructor calls its base's, by other arguments."""

    simulation_steps = 30

    def __init__(self, half_rate, **options):
        super().__init__(2 * half_rate, **options)


def test_every_sde_takes_the_options_of_simulation_and_remembers_its_arguments():
    assert Bare(simulation_steps=50).simulation_steps == 50
    assert Bare().arguments() == {"simulation_steps": 50, "simulation_spacing": 1.0}
    built = Built(3.0, simulation_spacing=0.5)
    assert (built.rate, built.simulation_spacing, built.simulation_steps) == (3.0, 0.5, 50)
    assert built.arguments() == {
        "rate": 3.0,
        "name": "built",
        "simulation_steps": 50,
        "simulation_spacing": 0.5,
    }
    derived = Derived(1.0, name="x", simulation_steps=7)
    assert derived.arguments() == {
        "half_rate": 1.0,
        "name": "x",
        "simulation_steps": 7,
        "simulation_spacing": 1.0,
    }
    assert (derived.rate, derived.simulation_steps) == (2.0, 7)
    assert Derived(1.0).simulation_steps == 30
    with pytest.raises(ValueError, match="simulation_steps >= 1"):
        Built(simulation_steps=0)
    with pytest.raises(TypeError, match="nonsense"):
        Built(nonsense=1)


def test_arguments_make_an_equal_sde(sde):
    again = type(sde)(**sde.arguments())
    assert again.arguments() == sde.arguments()
    assert {"simulation_steps", "simulation_spacing"} <= set(sde.arguments())


def test_gin_binds_the_options_of_simulation_of_an_sde_without_a_constructor():
    lcss_tf.SDES.register("BareForGin")(Bare)
    try:
        gin.parse_config("BareForGin.simulation_steps = 50")
        bound = gin.get_configurable("sdes.BareForGin")()
        assert bound.simulation_steps == 50
        assert bound.arguments()["simulation_steps"] == 50
    finally:
        lcss_tf.SDES._parts.pop("BareForGin")
