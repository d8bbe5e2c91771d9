"""Measured orders against theory, without Monte Carlo.

With a Gaussian's exact score a sampler is affine in x_T and in every z_k, so its whole loop, run
on unit vectors, gives the exact distribution of its samples, and the exact coupling to the noise.
"""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.samplers import (
    DDIM,
    DEIS,
    AncestralPredictor,
    DPMSolverPP,
    EDMHeun,
    EulerMaruyama,
    ProbabilityFlowODE,
    ReverseDiffusionPredictor,
    StochasticHeun,
    UniformSchedule,
    UniPC,
)
from lcss_tf.samplers.base import Reverse
from lcss_tf.sdes.affine import AffineSDE
from tests.samplers.test_multistep_parity import with_half_of_the_second_derivative

MEAN, STD, END = 0.7, 0.5, 0.1
OPTIONS = {"schedule": UniformSchedule(), "t_end": END, "denoise": False}


def gentle(name):
    """An SDE whose steps are short at 16 of them."""
    return {
        "VPSDE": lambda: lcss_tf.SDES["VPSDE"](0.5, 4.0),
        "SubVPSDE": lambda: lcss_tf.SDES["SubVPSDE"](0.5, 4.0),
        "VESDE": lambda: lcss_tf.SDES["VESDE"](0.1, 2.0),
    }[name]()


def moments(sde, t):
    """(mean, variance) of x_t, data N(MEAN, STD²)."""
    alpha_t, sigma_t = (np.float64(v) for v in sde.marginal(tf.constant(t, tf.float32)))
    return alpha_t * MEAN, (alpha_t * STD) ** 2 + sigma_t**2


def exact_score(sde):
    def score_fn(x, t):
        alpha_t, sigma_t = sde.marginal(t)
        variance = (alpha_t * STD) ** 2 + sigma_t**2
        return -(x - alpha_t[:, None] * MEAN) / variance[:, None]

    return score_fn


def linear_parts(sampler, sde, monkeypatch):
    """(A, [B_k], C) of x = A x_T + Σ B_k z_k + C, by the sampler's own loop on unit vectors."""
    steps = sampler.num_steps
    unit = np.eye(steps + 2, dtype=np.float32)
    drawn = iter(unit[:, 2:].T[:, :, None])
    with monkeypatch.context() as patch:
        patch.setattr(random, "normal", lambda seed, shape: tf.constant(next(drawn)))
        x_T = tf.constant(unit[:, 1:2])
        run = lambda: sampler.sample_from(exact_score(sde), sde, x_T, random.as_seed(0)).x
        x = (tf.function(run, autograph=False) if sampler.deterministic else run)()
    x = np.float64(x)[:, 0]
    return x[1] - x[0], x[2:] - x[0], x[0]


def weak_errors(make, sde, monkeypatch, all_steps=(16, 32), end=END):
    """Errors of (mean, standard deviation) at t_end = end, for each number of steps."""
    mean_T, variance_T = moments(sde, 1.0)
    mean, variance = moments(sde, end)
    errors = []
    for steps in all_steps:
        A, B, C = linear_parts(make(steps), sde, monkeypatch)
        std = np.sqrt(A**2 * variance_T + np.sum(B**2))
        errors.append((abs(A * mean_T + C - mean), abs(std - np.sqrt(variance))))
    return np.array(errors)


WEAK = {
    "Euler-Maruyama": (lambda n: EulerMaruyama(num_steps=n, **OPTIONS), 1),
    "stochastic Heun": (lambda n: StochasticHeun(num_steps=n, **OPTIONS), 2),
    "ODE, Heun": (lambda n: ProbabilityFlowODE(num_steps=n, **OPTIONS), 2),
    "EDM": (lambda n: EDMHeun(num_steps=n, **OPTIONS), 2),
    "DDIM": (lambda n: DDIM(num_steps=n, **OPTIONS), 1),
    "DDIM, eta 1": (lambda n: DDIM(eta=1.0, num_steps=n, **OPTIONS), 1),
    "DPM-Solver++, 1": (lambda n: DPMSolverPP(order=1, num_steps=n, **OPTIONS), 1),
    "DPM-Solver++": (lambda n: DPMSolverPP(first_order_end=False, num_steps=n, **OPTIONS), 2),
    "DPM-Solver++, SDE": (
        lambda n: DPMSolverPP(first_order_end=False, stochastic=True, num_steps=n, **OPTIONS),
        2,
    ),
}


@pytest.mark.parametrize(
    "kind", ["VPSDE", *(pytest.param(k, marks=pytest.mark.slow) for k in ("SubVPSDE", "VESDE"))]
)
@pytest.mark.parametrize("name", sorted(WEAK))
def test_weak_order(name, kind, monkeypatch):
    make, order = WEAK[name]
    # The multistep solver starts at order 1, and shows its own only later.
    all_steps = (32, 64) if name.startswith("DPM-Solver++") and order == 2 else (16, 32)
    coarse, fine = weak_errors(make, gentle(kind), monkeypatch, all_steps)
    measured = np.log2(coarse.max() / fine.max())
    assert order - 0.3 < measured < order + 0.9, (measured, coarse, fine)
    assert fine.max() < 0.1


MULTISTEP = {
    "DPM-Solver++, 2": (DPMSolverPP, {"order": 2}, 2),
    "DPM-Solver++, 3": (DPMSolverPP, {"order": 3}, 3),
    "UniPC, 1": (UniPC, {"order": 1}, 2),
    "UniPC, 2, bh1": (UniPC, {"order": 2, "variant": "bh1"}, 3),
    "UniPC, 3": (UniPC, {"order": 3}, 4),
    "DEIS, 1": (DEIS, {"order": 1}, 1),
    "DEIS, 2": (DEIS, {"order": 2}, 2),
    "DEIS, 3": (DEIS, {"order": 3}, 3),
    "DEIS, 4": (DEIS, {"order": 4}, 4),
    "DEIS in ρ, 3": (DEIS, {"order": 3, "variable": "rho"}, 3),
    "DEIS in log ρ, 3": (DEIS, {"order": 3, "variable": "log_rho"}, 3),
}


def multistep_errors(make, kind, monkeypatch, all_steps, end=END, **options):
    """Those of whole runs from the prior, on the methods' own times."""
    new = lambda n: make(num_steps=n, t_end=end, denoise=False, first_order_end=False, **options)
    return weak_errors(new, lcss_tf.SDES[kind](), monkeypatch, all_steps, end).max(axis=1)


# Beyond order 3 the error of VE's and sub-VP's float32 soon shows.
_SOME = ("DPM-Solver++, 2", "UniPC, 1", "UniPC, 2, bh1", "DEIS, 1", "DEIS, 2", "DEIS, 3")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "VPSDE") for name in MULTISTEP),
        *(
            pytest.param(name, kind, marks=pytest.mark.slow)
            for name in _SOME
            for kind in ("SubVPSDE", "VESDE")
        ),
    ],
)
def test_order_of_the_multistep_methods(name, kind, monkeypatch):
    """The first steps have lower orders. Near the prior D hardly changes, so they hardly err."""
    make, options, order = MULTISTEP[name]
    all_steps = (16, 32) if order == 4 else (32, 64)  # before float32's rounding
    coarse, fine = multistep_errors(make, kind, monkeypatch, all_steps, **options)
    measured = np.log2(coarse / fine)
    assert order - 0.35 < measured < order + 0.9, (measured, coarse, fine)


def test_half_of_the_second_derivative_leaves_order_two(monkeypatch):
    """What diffusers takes for DPM-Solver++ of order 3 (see test_multistep_parity.py)."""
    given = (DPMSolverPP, "VPSDE", monkeypatch, (32, 64), 1e-3)
    whole = multistep_errors(*given, order=3)
    monkeypatch.setattr(DPMSolverPP, "weights", with_half_of_the_second_derivative())
    half = multistep_errors(*given, order=3)
    assert np.log2(whole[0] / whole[1]) > 2.8
    assert 1.7 < np.log2(half[0] / half[1]) < 2.4
    assert half[1] > 5 * whole[1]


@pytest.mark.parametrize("make", [EulerMaruyama, StochasticHeun])
def test_strong_order_is_one(make, monkeypatch):
    """E(x − X)² along the same Brownian path, exactly.

    Backwards from t the reverse SDE's solution is X_s = Φ x_t + ∫ Φ g dw + …, with
    Φ = (α_t/α_s)(v_s/v_t) on VP, v the variance of x_t; and z_k is Δw_k/√h.
    """
    sde = gentle("VPSDE")
    grid = lambda t: sde.marginal(tf.constant(t, tf.float32))[0].numpy().astype(np.float64)
    spread = lambda t: moments(sde, t)[1]
    beta = lambda t: sde.beta_min + t * (sde.beta_max - sde.beta_min)
    flow = lambda t: grid(t) / grid(END) * spread(END) / spread(t)
    nodes, weights = np.polynomial.legendre.leggauss(6)

    def error(steps):
        sampler = make(num_steps=steps, **OPTIONS)
        A, B, C = linear_parts(sampler, sde, monkeypatch)
        times = sampler.times(sde)
        square = (A - flow(1.0)) ** 2 * spread(1.0)
        for k, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
            h = t - s
            inside = s + 0.5 * h * (1 + nodes)
            kernel, weight = flow(inside) * np.sqrt(beta(inside)), 0.5 * h * weights
            overlap = np.sum(weight * kernel) / np.sqrt(h)
            square += B[k] ** 2 - 2 * B[k] * overlap + np.sum(weight * kernel**2)
        mean = A * moments(sde, 1.0)[0] + C - moments(sde, END)[0]
        return np.sqrt(square + mean**2)

    order = np.log2(error(16) / error(32))
    assert 0.85 < order < 1.3


class Geometric(lcss_tf.SDE):
    """dx = −μ x dt + b x dw; with the score −c/x its reverse is a geometric Brownian motion."""

    mu, b, c = 0.3, 0.6, 1.0

    def drift(self, x, t):
        return -self.mu * x

    def diffusion(self, x, t):
        return self.b * x

    def rate(self):
        """a of the reverse dx = a x dτ + b x dw, from f − ∂(g²) − g² score."""
        return self.mu + 2 * self.b**2 - self.c * self.b**2


def test_stochastic_heun_is_of_weak_order_two_for_noise_that_grows_with_x():
    """E x and E x² after time 1, against e^a and e^{2a + b²}: Itô's, not Stratonovich's.

    A step multiplies x by R(z), whose moments Gauss–Hermite quadrature gives.
    """
    sde = Geometric()
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    weights = weights / weights.sum()
    z = tf.constant(nodes[:, None], tf.float32)
    truth = np.exp([sde.rate(), 2 * sde.rate() + sde.b**2])

    def error(steps):
        reverse = Reverse(lambda x, t: -sde.c / x, sde, steps)
        t = tf.ones([12])
        step = StochasticHeun(num_steps=steps).step_with(
            reverse, tf.ones([12, 1]), t, t - 1.0 / steps, z
        )
        factor = np.float64(step.x[:, 0])
        moments = np.array([weights @ factor, weights @ factor**2])
        return np.abs(moments**steps / truth - 1).max()

    assert error(16) < 0.01
    assert 1.7 < np.log2(error(8) / error(16)) < 2.5


@pytest.mark.parametrize("kind", ["VPSDE", "SubVPSDE", "VESDE"])
def test_ddim_at_eta_one_is_the_ancestral_step(kind):
    sde, steps = lcss_tf.SDES[kind](), 50
    x, z = random.normal(1, (16, 3)), random.normal(2, (16, 3))
    t = tf.fill([16], 0.6)
    score_fn = exact_score(sde)
    step = DDIM(eta=1.0, num_steps=steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "normal", lambda seed, shape: z)
        taken = step.step(Reverse(score_fn, sde, steps), x, t, t - 1 / steps, 0)
    mean, std = AffineSDE.ancestral(sde, x, t, score_fn(x, t), steps)
    np.testing.assert_allclose(taken.mean, mean, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(taken.x, mean + std * z, rtol=2e-4, atol=2e-5)


def test_ancestral_and_reverse_diffusion_are_their_predictors():
    sde = lcss_tf.SDES["VPSDE"]()
    reverse = Reverse(exact_score(sde), sde, 40)
    x, t = random.normal(1, (8, 2)), tf.fill([8], 0.4)
    for name, predictor in (
        ("Ancestral", AncestralPredictor()),
        ("ReverseDiffusion", ReverseDiffusionPredictor()),
    ):
        sampler = lcss_tf.SAMPLERS[name](num_steps=40)
        z = random.normal(random.fold_in(7, "predictor"), (8, 2))
        expected = predictor.step(reverse, x, t, t - 1 / 40, z)
        np.testing.assert_array_equal(sampler.step(reverse, x, t, t, 7).x, expected.x)


def test_edm_without_churn_is_heun_in_sigma():
    """Algorithm 1 of Karras et al. in their own variables: d = (x − D(x; σ))/σ, on VE."""
    sde = lcss_tf.SDES["VESDE"](0.01, 20.0)
    sampler = EDMHeun(num_steps=12)
    x_T = random.normal(4, (8, 2)) * 20.0
    sigmas = sde.marginal(tf.constant(sampler.times(sde), tf.float32))[1].numpy().astype(float)
    ends = np.array([sigmas[0], sigmas[-1]]) ** (1 / 7)
    np.testing.assert_allclose(sigmas, np.linspace(*ends, 13) ** 7, rtol=1e-4)
    denoised = lambda x, sigma: (x * STD**2 + MEAN * sigma**2) / (STD**2 + sigma**2)
    x = x_T.numpy().astype(float)
    for sigma, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        d = (x - denoised(x, sigma)) / sigma
        euler = x + (after - sigma) * d
        x = x + (after - sigma) * (d + (euler - denoised(euler, after)) / after) / 2
    samples = sampler.sample_from(exact_score(sde), sde, x_T, random.as_seed(0))
    np.testing.assert_allclose(samples.x, denoised(x, sigmas[-1]), rtol=1e-3, atol=1e-4)
    assert samples.nfe == 2 * 12 + 1


def test_dpm_solver_takes_its_first_step_as_ddim_does():
    sde = lcss_tf.SDES["VPSDE"]()
    x_T = random.normal(4, (8, 2))
    one = {"num_steps": 1, "t_end": 0.3, "denoise": False}
    first = DPMSolverPP(**one).sample_from(exact_score(sde), sde, x_T, random.as_seed(0)).x
    ddim = DDIM(**one).sample_from(exact_score(sde), sde, x_T, random.as_seed(0)).x
    np.testing.assert_allclose(first, ddim, rtol=1e-4, atol=1e-4)


def test_the_last_step_of_few_is_of_first_order():
    """With few steps and no last evaluation: the same as order 1 from the state before."""
    sde = lcss_tf.SDES["VPSDE"]()
    x_T = random.normal(4, (8, 2))
    run = lambda **options: (
        DPMSolverPP(num_steps=6, **options)
        .sample_from(exact_score(sde), sde, x_T, random.as_seed(0), trajectory_steps=6)
        .trajectory.numpy()
    )
    careful, bold = run(denoise=False), run(denoise=False, first_order_end=False)
    np.testing.assert_array_equal(careful[:-1], bold[:-1])
    assert np.abs(careful[-1] - bold[-1]).max() > 1e-4
    sampler = DPMSolverPP(num_steps=6, order=1)
    t, s = sampler.times(sde)[-2:]
    fill = lambda value: tf.fill([8], tf.constant(value, tf.float32))
    reverse, x = Reverse(exact_score(sde), sde, 6), tf.constant(careful[-2])
    alone, _ = sampler.advance(reverse, x, (fill(t), fill(s)), 0, sampler.begin(reverse, x))
    np.testing.assert_allclose(careful[-1], alone.x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["VPSDE", "SubVPSDE", "VESDE"])
def test_the_time_of_a_noise_level(kind):
    """`time_of_log_noise` inverts the marginal, in the graph; beyond T it is T."""
    sde = lcss_tf.SDES[kind]()
    t = tf.constant([1e-3, 0.02, 0.3, 0.7, 0.999])
    alpha_t, sigma_t = sde.marginal(t)
    levels = tf.math.log(sigma_t) - tf.math.log(alpha_t)
    found = tf.function(sde.time_of_log_noise, jit_compile=True)(levels)
    np.testing.assert_allclose(found, t, rtol=1e-4)
    assert sde.time_of_log_noise(levels[-1:] + 1.0) == 1.0
