"""The multistep samplers' weights, what they have in common, and their few-step regime."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad

import lcss_tf
from lcss_tf import random
from lcss_tf.samplers import DDIM, DEIS, DormandPrince, DPMSolverPP, LogSNRSchedule, UniPC
from lcss_tf.samplers.multistep import Past
from lcss_tf.samplers.schedules import log_noise, times_of_log_noise
from tests.samplers.test_gaussian import exact_score
from tests.samplers.test_multistep_parity import score_of

AFFINE = [
    pytest.param(name, marks=() if name == "VPSDE" else pytest.mark.slow)
    for name in lcss_tf.SDES
    if lcss_tf.SDES[name]().has_marginal
]


def marginal(sde, t):
    return (float(v[0]) for v in sde.marginal(tf.constant([t], tf.float32)))


def lagrange(j, nodes, y):
    others = np.delete(nodes, j)
    return np.prod((y - others) / (nodes[j] - others))


def weights_of(sampler, sde, times, s, order):
    """What a step from times[0] to s takes of each of the values at `times`, by the code."""
    found = []
    for j in range(len(times)):
        values = np.zeros((len(times), 1, 1), np.float32)
        values[j] = 1.0
        past = Past(
            tf.constant(values), tf.constant(times, tf.float32), tf.constant(order),
            tf.constant(order),
        )  # fmt: skip
        pair = tf.constant([times[0]], tf.float32), tf.constant([s], tf.float32)
        found.append(float(sampler.move(sde, tf.zeros([1, 1]), pair, past, 0).x[0, 0]))
    return np.array(found)


@pytest.mark.parametrize("kind", AFFINE)
def test_weights_of_deis_are_the_papers_integrals(kind):
    """∫ ½ Ψ(s, τ) g(τ)²/σ_τ ℓ_j(τ) dτ, ℓ_j Lagrange's in t; the steps have unequal lengths."""
    sde = lcss_tf.SDES[kind]()
    unit = np.array([0.5, 0.62, 0.7, 0.85])
    times, s = sde.sampling_t_min + (sde.T - sde.sampling_t_min) * unit, 0.42 * sde.T

    def rate(tau):
        alpha, sigma = marginal(sde, tau)
        g = float(tf.reshape(sde.diffusion(tf.zeros([1, 1]), tf.constant([tau], tf.float32)), []))
        return 0.5 * list(marginal(sde, s))[0] / alpha * g**2 / sigma

    for order in (1, 3, 4):
        nodes = times[:order]
        expected = [
            quad(lambda tau, *given: rate(tau) * lagrange(*given, tau), times[0], s, (j, nodes))[0]
            for j in range(order)
        ]
        got = weights_of(DEIS(order=order), sde, nodes, s, order)
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("make", [DPMSolverPP, UniPC])
def test_weights_of_order_three_are_integrals_in_log_snr(make):
    """alpha_s ∫ e^{λ − λ_s} ℓ_j(λ) dλ; at order 2 D̄ = D + (h/2h')(D − D')."""
    sde = lcss_tf.SDES["VPSDE"]()
    times, s = np.array([0.5, 0.62, 0.85]), 0.42
    nodes, end = -log_noise(sde, times), -log_noise(sde, np.array([s]))[0]
    alpha_s, _ = marginal(sde, s)
    expected = [
        alpha_s * quad(lambda u, j=j: np.exp(u - end) * lagrange(j, nodes, u), nodes[0], end)[0]
        for j in range(3)
    ]
    got = weights_of(make(order=3), sde, times, s, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    h, before = end - nodes[0], nodes[0] - nodes[1]
    ratio = h / (2 * before)
    expected = -alpha_s * np.expm1(-h) * np.array([1 + ratio, -ratio])
    got = weights_of(make(order=2), sde, times[:2], s, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def run(sampler, sde, score_fn, x_T):
    sample = lambda x_T: sampler.sample_from(score_fn, sde, x_T, random.as_seed(0)).x
    return tf.function(sample, autograph=False)(x_T).numpy()


def test_unipc_without_its_corrector_is_dpm_solver(monkeypatch):
    """UniP-2 with B(h) of bh2, and UniP-3, whose first steps have orders 1 and 2."""
    sde, x_T = lcss_tf.SDES["VPSDE"](), random.normal(1, (16, 2))
    monkeypatch.setattr(UniPC, "correct", lambda self, sde, x, before, past: x)
    for order in (2, 3):
        options = {"num_steps": 8, "schedule": LogSNRSchedule()}
        predictor = run(UniPC(order, "bh2", **options), sde, exact_score(sde), x_T)
        solver = run(DPMSolverPP(order, **options), sde, exact_score(sde), x_T)
        np.testing.assert_allclose(predictor, solver, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("make", [DEIS, DPMSolverPP, UniPC])
def test_order_one_and_every_first_step_are_ddim(make):
    """UniPC's corrector acts from the second step on, so of one step alone nothing is left."""
    sde, x_T = lcss_tf.SDES["VPSDE"](), random.normal(4, (8, 2))
    one = {"num_steps": 1, "t_end": 0.3, "denoise": False}
    expected = run(DDIM(**one), sde, exact_score(sde), x_T)
    found = run(make(**one), sde, exact_score(sde), x_T)
    np.testing.assert_allclose(found, expected, atol=2e-4)  # alpha_T is small, and float32
    if make is not UniPC:
        many = {"num_steps": 9, "schedule": LogSNRSchedule()}
        expected = run(DDIM(**many), sde, exact_score(sde), x_T)
        found = run(make(order=1, **many), sde, exact_score(sde), x_T)
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize(
    ("make", "options"),
    [(DPMSolverPP, {"order": 3}), (UniPC, {}), (DEIS, {"variable": "log_rho"})],
)
def test_affine_sdes_differ_by_their_scale_alone(make, options):
    """At equal levels sigma/alpha, VP and EDM's SDE go through the same x/alpha."""
    vp, edm = lcss_tf.SDES["VPSDE"](), lcss_tf.SDES["EDMSDE"](0.005, 100.0)
    low, high = 0.01, 80.0
    x = high * random.normal(2, (8, 2))

    class Levels(lcss_tf.samplers.Schedule):
        def times(self, sde, end, num_steps):
            levels = np.linspace(high ** (1 / 3), low ** (1 / 3), num_steps + 1) ** 3
            return times_of_log_noise(sde, np.log(levels), sde.t_min)

    found = []
    for sde in (vp, edm):
        sampler = make(
            num_steps=12, t_end=Levels().times(sde, 0, 12)[-1], schedule=Levels(), **options
        )
        alpha, _ = marginal(sde, Levels().times(sde, 0, 12)[0])
        found.append(run(sampler, sde, score_of(sde), alpha * x))
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-3)


def test_few_steps():
    """Against the ODE solved to 1e-6, from the same x_T: a higher order pays from some 10 NFE."""
    sde, x_T = lcss_tf.SDES["VPSDE"](), random.normal(3, (256, 2))
    score_fn = score_of(sde)
    exact = run(DormandPrince(rtol=1e-6, atol=1e-6), sde, score_fn, x_T)

    def error(make, **options):
        sampler = make(denoise=False, first_order_end=False, **options)
        return float(np.sqrt(np.mean((run(sampler, sde, score_fn, x_T) - exact) ** 2)))

    errors = {n: [error(DPMSolverPP, num_steps=n, order=k) for k in (1, 2, 3)] for n in (5, 12)}
    assert errors[12][0] > 3 * errors[12][1] > 6 * errors[12][2]
    assert errors[5][1] < errors[5][2]  # of five values, three are too few to extrapolate
    assert error(DEIS, num_steps=12) < 0.6 * errors[12][1]
    assert error(UniPC, num_steps=12) < 0.6 * errors[12][1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_steps": 14}, False),
        ({"num_steps": 14, "denoise": False}, True),
        ({"num_steps": 14, "order": 3}, True),
        ({"num_steps": 15, "order": 3}, False),
        ({"num_steps": 15, "denoise": False}, False),
        ({"num_steps": 5, "order": 3, "first_order_end": False}, False),
    ],
)
def test_when_the_last_orders_are_lowered(options, expected):
    assert DPMSolverPP(**options).first_order_end == expected


@pytest.mark.parametrize("make", [DPMSolverPP, UniPC, DEIS])
def test_the_batch_may_be_of_any_size_in_a_graph(make):
    """As an exported sampler has it: one graph for batches of 2 and of 5."""
    sde, sampler = lcss_tf.SDES["VPSDE"](), make(num_steps=3)
    draw = tf.function(
        lambda x: sampler.sample_from(lambda x, t: -x, sde, x, 1).x, autograph=False,
        input_signature=[tf.TensorSpec((None, 2))],
    )  # fmt: skip
    x = random.normal(3, (5, 2))
    np.testing.assert_allclose(draw(x)[:2], draw(x[:2]), rtol=1e-5)
