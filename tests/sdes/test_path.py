"""The Stein weights of a path: any drift, any noise; the schedule; reverse drifts; bad input."""

import json
import re
import warnings

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import random
from lcss_tf.sdes import SDE
from tests.conftest import FIXTURES

PATHS = 100_000
D = 3
SPIN = np.float32([[0, -1, 0.5], [1, 0, 0], [-0.5, 0, 0]])
MIX = np.float32([[1.0, 0.4, 0.0], [0.0, 0.8, -0.3], [0.2, 0.0, 0.6]])


def column(t):
    return t[:, None]


class Coupled(SDE):
    """dx = −½(1 + 9t)(|x|²x/3 + spin) dt + noise; the prior is not its own, and need not be."""

    simulation_steps = 20

    def drift(self, x, t):
        square = tf.reduce_sum(x**2, 1, keepdims=True)
        return -0.5 * (1 + 9 * column(t)) * (x * square / 3 - tf.linalg.matvec(SPIN, x))

    def diffusion(self, x, t):
        return tf.sqrt(1 + 9 * column(t))

    def prior_sample(self, shape, seed):
        return random.normal(seed, shape)

    def prior_log_prob(self, x):
        return -0.5 * tf.reduce_sum(x**2, 1) - 0.5 * D * np.log(2 * np.pi)


class Scalar(Coupled):
    """One number an example, which depends on all of x."""

    def diffusion(self, x, t):
        square = tf.reduce_sum(x**2, 1, keepdims=True)
        return tf.sqrt((1 + 9 * column(t)) * (1 + 0.2 * square))


class Diagonal(Coupled):
    """One number a coordinate, which depends on the others."""

    def diffusion(self, x, t):
        others = tf.tanh(tf.linalg.matvec(MIX, x))
        return tf.sqrt(1 + 9 * column(t)) * (1 + 0.3 * others)


class Matrix(Coupled):
    """A constant matrix."""

    def diffusion(self, x, t):
        return tf.sqrt(1 + 9 * t)[:, None, None] * MIX


class MovingMatrix(Coupled):
    """A matrix that depends on x."""

    def diffusion(self, x, t):
        change = tf.einsum("bi,jk->bijk", tf.tanh(x), SPIN)
        return tf.sqrt(1 + 9 * t)[:, None, None] * (MIX + 0.2 * tf.reduce_sum(change, 1))


class Linear(Coupled):
    """VP, of which the library knows no kernel."""

    def drift(self, x, t):
        return -0.5 * (1 + 9 * column(t)) * x


# The last has all at once: a coupled drift, and a matrix that depends on x.
KINDS = [Coupled, Scalar, Diagonal, Matrix, MovingMatrix]
SIBLINGS = [pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[:-1]]
START = np.float32([0.9, -1.2, 0.3])


def field(x):
    """A smooth vector field S and its divergence, both of x [B, D]."""
    inner = tf.linalg.matvec(MIX, x)
    S = tf.sin(inner) + 0.5 * x
    trace = tf.reduce_sum(tf.cos(inner) * np.diag(MIX), 1) + 0.5 * D
    return S, trace


def compiled(method):
    return tf.function(method, jit_compile=True, autograph=False)


@pytest.mark.parametrize("kind", [*SIBLINGS, MovingMatrix], ids=lambda k: k.__name__)
def test_the_identity(kind):
    """E[S(x_t)·w] = E[tr ∇S(x_t)] within 3 standard errors, on 10⁵ paths, at several times."""
    sde = kind()
    draw, x0 = compiled(sde.sample_with_weight), tf.tile(START[None], [PATHS, 1])
    for t in (1e-5, 0.1, 1.0):
        times = tf.fill([PATHS], t)
        x, w = draw(x0, times, random.as_seed(3))
        S, trace = field(x)
        # S(x) − S(start) has the same expectation as S(x), and less variance.
        gap = tf.reduce_sum((S - field(START[None])[0]) * w, 1) - trace
        error = float(tf.math.reduce_std(gap)) / PATHS**0.5
        assert float(tf.reduce_mean(gap)) == pytest.approx(0, abs=3 * error), t
        scale = float(sde.noise_scale(times)[0])
        size = float(tf.sqrt(tf.reduce_mean((w * scale) ** 2)))
        assert 0.3 < size < 5, "in units of the noise"


@pytest.mark.slow
def test_the_weight_and_the_plain_sample_are_of_one_path():
    for sde in (Coupled(), MovingMatrix()):
        x0, t = random.normal(1, (64, D)), tf.linspace(0.01, 1.0, 64)
        x, _ = sde.sample_with_weight(x0, t, 5)
        np.testing.assert_allclose(x, sde.sample_xt(x0, t, 5), rtol=1e-5, atol=1e-5)


def test_on_a_linear_sde_it_is_the_target_of_denoising_score_matching():
    """w = (x_t − E[x_t|x_0])/Var[x_t|x_0], example by example, also at t_min in float32."""
    sde = Linear(simulation_steps=100)  # with few, the tamed flow is not quite linear
    sde.prepare(random.normal(9, (512, D)))
    x0, draw = random.normal(1, (2_000, D)), compiled(sde.sample_with_weight)
    for time in (1e-5, 1e-3, 0.3, 1.0):
        t = tf.fill([2_000], time)
        x, w = (v.numpy().astype(float) for v in draw(x0, t, random.as_seed(2)))
        basis = np.stack([x.ravel(), x0.numpy().ravel()], 1)
        coefficients, *_ = np.linalg.lstsq(basis, w.ravel(), rcond=None)
        scale = float(sde.noise_scale(t)[0])
        np.testing.assert_allclose(scale * basis @ coefficients, scale * w.ravel(), atol=5e-3)
        log_alpha = -0.5 * (time + 4.5 * time**2)
        variance = -np.expm1(2 * log_alpha)
        np.testing.assert_allclose(variance * coefficients, [1, -np.exp(log_alpha)], rtol=5e-3)


@pytest.mark.slow
def test_the_best_linear_score_of_a_coupled_linear_sde():
    """dx = −A x dt + B dw from N(0, I): E[x wᵀ] = I, and −E[w | x_t] = −Σ_t⁻¹ x."""

    class Rotated(Matrix):
        def drift(self, x, t):
            return -tf.linalg.matvec(np.eye(3, dtype=np.float32) - SPIN, x)

        def diffusion(self, x, t):
            return tf.ones_like(t)[:, None, None] * MIX

    sde, t = Rotated(), tf.fill([PATHS], 0.7)
    draw = compiled(sde.sample_with_weight)
    x, w = (v.numpy() for v in draw(random.normal(1, (PATHS, D)), t, random.as_seed(2)))
    covariance, A = np.eye(3), np.eye(3) - SPIN
    for _ in range(7_000):
        covariance += 1e-4 * (MIX @ MIX.T - A @ covariance - covariance @ A.T)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.02)
    predicted, *_ = np.linalg.lstsq(x, w, rcond=None)
    np.testing.assert_allclose(predicted, np.linalg.inv(covariance), atol=0.06)


def test_weights_are_finite_far_in_the_tails():
    sde = Coupled()
    x0 = tf.constant([[50.0, -80.0, 3.0], [0.0, 0.0, 0.0]])
    for time in (1e-5, 0.05, 1.0):
        x, w = sde.sample_with_weight(x0, tf.fill([2], time), 1)
        assert np.isfinite(x).all()
        assert np.isfinite(w).all()


@pytest.mark.slow
def test_a_schedule_without_data_costs_little():
    """The prior's schedule against the data's, by the rms of w: at most a fifth more."""
    x0 = 1.3 + 0.1 * random.normal(1, (4_000, D))
    measured, default = Coupled(), Coupled()
    measured.prepare(x0)
    assert np.isfinite(np.stack(list(measured.measured.values()))).all()
    for time in (0.02, 0.3, 1.0):
        t = tf.fill([4_000], time)
        sizes = [
            float(tf.reduce_mean(sde.sample_with_weight(x0, t, 4)[1] ** 2))
            for sde in (measured, default)
        ]
        assert sizes[0] < 1.03 * sizes[1]
        assert sizes[1] < 1.44 * sizes[0]


@pytest.mark.slow
def test_a_schedule_measured_while_a_graph_is_traced_is_the_same():
    inside, outside = Coupled(), Coupled()
    x0, t = random.normal(1, (4, D)), tf.ones(4)
    compiled(inside.sample_with_weight)(x0, t, random.as_seed(1))
    outside.expect((D,))
    for name, values in outside.schedule().items():
        np.testing.assert_allclose(inside.schedule()[name], values, rtol=1e-5)
    assert outside.schedule()["slope"][-1] < -5


def test_the_schedule_is_no_worse_than_the_last_step_alone():
    """The Riccati recursion minimises E‖w‖² over all schedules."""
    sde = Coupled(simulation_steps=12)
    x0, t = random.normal(1, (4_000, D)), tf.fill([4_000], 0.5)
    _, w = sde.sample_with_weight(x0, t, 2)
    last = sde.schedule() | {"slope_variance": np.full_like(sde.schedule()["time"], 1e9)}
    sde.measured = last
    _, alone = sde.sample_with_weight(x0, t, 2)
    assert tf.reduce_mean(w**2) < 0.3 * tf.reduce_mean(alone**2)


@pytest.mark.parametrize(
    "name",
    ["coupled_rotating", pytest.param("coupled_swirl_moons", marks=pytest.mark.slow)],
)
def test_the_fokker_planck_score_of_a_coupled_sde(name):
    """E[w h(x_t)] = −E[∇log p_t h] for several h, and x_t's own distribution, against a grid's."""
    archive = np.load(FIXTURES / f"{name}.npz")
    meta = json.loads(bytes(archive["meta.json"]))
    sde = Turning(meta["omega"], swirl=meta["q"] == 0)
    generator = np.random.RandomState(0)
    means = np.array(meta["means"])[generator.randint(len(meta["means"]), size=PATHS)]
    x0 = np.float32(means + meta["component_std"] * generator.normal(size=(PATHS, 2)))
    draw = compiled(sde.sample_with_weight)
    for i in (1, 4):
        t = tf.fill([PATHS], np.float32(archive["t"][i]))
        x, w = (v.numpy() for v in draw(x0, t, random.as_seed(i)))
        truth, score = archive[f"t{i}.x"], archive[f"t{i}.score"]
        for h in (np.tanh, lambda x: np.sin(2 * x), lambda x: x[:, ::-1]):
            ours, theirs = w * h(x), -score * h(truth)
            error = np.hypot(ours.std(0) / len(x) ** 0.5, theirs.std(0) / len(truth) ** 0.5)
            assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all(), (name, i)
            error = h(x).std(0) * np.hypot(len(x) ** -0.5, len(truth) ** -0.5)
            assert (np.abs(h(x).mean(0) - h(truth).mean(0)) < 4 * error).all(), (name, i)


class Turning(SDE):
    """The SDEs of the fixtures, in the plane."""

    simulation_spacing = 0.5

    def __init__(self, omega, swirl):
        self.omega, self.swirl = omega, swirl

    def beta(self, t):
        return (0.1 + 19.9 * t)[:, None]

    def drift(self, x, t):
        square = tf.reduce_sum(x**2, 1, keepdims=True)
        turned = tf.stack([-x[:, 1], x[:, 0]], 1)
        if self.swirl:
            return -0.5 * self.beta(t) * (x + self.omega * tf.tanh(square / 2) * turned)
        return self.beta(t) * (self.omega * turned - 0.5 * square * x)

    def diffusion(self, x, t):
        return tf.sqrt(self.beta(t))

    def prior_sample(self, shape, seed):
        return random.normal(seed, shape)

    def prior_log_prob(self, x):
        return -0.5 * tf.reduce_sum(x**2, 1)


# Reverse time -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_the_reverse_drift_of_any_noise(kind):
    """f − ∇·(GGᵀ) − GGᵀ s, the divergence by the whole Jacobian of GGᵀ."""
    sde, x, t = kind(), random.normal(1, (5, D)), tf.linspace(0.1, 1.0, 5)
    score = random.normal(2, (5, D))
    with tf.GradientTape() as tape:
        tape.watch(x)
        g = sde.diffusion(x, t)
        if len(g.shape) == 2:
            g = tf.linalg.diag(tf.broadcast_to(g, x.shape))
        covariance = tf.linalg.matmul(g, g, transpose_b=True)
    jacobian = tape.batch_jacobian(covariance, x)
    divergence = 0.0 if jacobian is None else tf.einsum("bijj->bi", jacobian)
    whole = tf.linalg.matvec(covariance, score) + divergence
    for flow, share in ((False, 1.0), (True, 0.5)):
        got = sde.reverse_drift(x, t, score, flow)
        np.testing.assert_allclose(got, sde.drift(x, t) - share * whole, rtol=1e-4, atol=1e-4)


def test_many_dimensions_of_coupled_noise_ask_for_a_closed_form():
    class Wide(Diagonal):
        def drift(self, x, t):
            return -x

        def diffusion(self, x, t):
            return 1 + tf.tanh(tf.roll(x, 1, 1)) / 2

    x, t = tf.zeros((1, 300)), tf.ones(1)
    with pytest.raises(ValueError, match="300; .*noise_divergence"):
        Wide().reverse_drift(x, t, x)
    Wide.noise_divergence = lambda self, x, t: (self.diffusion(x, t), tf.zeros_like(x))
    assert Wide().reverse_drift(x, t, x).shape == (1, 300)


# What is refused ----------------------------------------------------------------------------


def test_noise_that_cannot_be_inverted_names_the_direction():
    class Flat(Matrix):
        def diffusion(self, x, t):
            return tf.ones_like(t)[:, None, None] * np.float32(np.diag([1, 0, 1]))

    class Still(Coupled):
        def diffusion(self, x, t):
            return tf.concat([tf.ones_like(x[:, :2]), tf.zeros_like(x[:, 2:])], 1)

    for kind, where in ((Flat, "direction"), (Still, "coordinate 2")):
        sde = kind()
        sde.expect((D,))
        with pytest.raises(ValueError, match=rf"{kind.__name__}.diffusion puts no noise.*{where}"):
            sde.check_weights()


def test_a_path_that_explodes_names_time_and_step():
    class Exploding(Coupled):
        def flow(self, y, s, t):
            return y * 1e20

    with pytest.raises(ValueError, match="not finite at t = .*, step 2 of 64"):
        Exploding().prepare(random.normal(1, (16, D)))


def test_steps_too_long_for_the_drift_are_said_with_the_number_that_would_do():
    x0 = random.normal(1, (512, D))
    few = r"simulation_steps = 2 are too few .* About [\d,]+ steps"
    with pytest.warns(UserWarning, match=few) as caught:
        Coupled(simulation_steps=2).prepare(x0)
    enough = int(re.search(r"About ([\d,]+)", str(caught[0].message))[1].replace(",", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Coupled(simulation_steps=enough).prepare(x0)


def test_a_very_stiff_drift_is_said_at_once():
    class Stiff(Coupled):
        def drift(self, x, t):
            return -1e7 * x

    with pytest.warns(UserWarning, match=r"Stiff: .* About \d+,\d{3},\d{3}"):
        Stiff().prepare(random.normal(1, (64, D)))


def test_a_drift_without_a_derivative_is_refused():
    class Kinked(Coupled):
        def drift(self, x, t):
            return tf.sqrt(tf.maximum(x, 0.0)) * np.inf

    sde = Kinked()
    sde.expect((D,))
    with pytest.raises(ValueError, match="Kinked.drift or its derivative is not finite"):
        sde.check_weights()
