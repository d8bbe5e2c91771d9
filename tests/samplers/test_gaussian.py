"""With a Gaussian's exact score every sampler gives its mean and covariance; contracts."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.samplers import (
    DDIM,
    DEIS,
    Ancestral,
    AncestralPredictor,
    AnnealedLangevin,
    DormandPrince,
    DPMSolverPP,
    EDMHeun,
    EulerMaruyama,
    EulerMaruyamaPredictor,
    Langevin,
    PowerSchedule,
    PredictorCorrector,
    ProbabilityFlowODE,
    Restart,
    ReverseDiffusion,
    StochasticHeun,
    UniformSchedule,
    UniPC,
)

MEAN, STD = np.float32([1.0, -0.5]), np.float32(0.5)
SAMPLERS = {
    "ddim": lambda: DDIM(num_steps=200),
    "ddim_eta_half": lambda: DDIM(eta=0.5, num_steps=200),
    "ddim_eta_one": lambda: DDIM(eta=1.0, num_steps=500),
    "deis": lambda: DEIS(num_steps=40),
    "dpm_solver": lambda: DPMSolverPP(num_steps=60),
    "dpm_solver_3": lambda: DPMSolverPP(order=3, num_steps=40),
    "dpm_solver_sde": lambda: DPMSolverPP(stochastic=True, num_steps=200),
    "dormand_prince": lambda: DormandPrince(rtol=1e-3, atol=1e-3),
    "edm": lambda: EDMHeun(num_steps=60),
    "edm_churn": lambda: EDMHeun(s_churn=20.0, s_min=0.05, s_max=20.0, num_steps=100),
    "euler_maruyama": lambda: EulerMaruyama(num_steps=500),
    "euler_maruyama_quadratic": lambda: EulerMaruyama(num_steps=500, schedule=PowerSchedule(2.0)),
    "ode": lambda: ProbabilityFlowODE(num_steps=100),
    "restart": lambda: Restart(num_steps=30),
    "restart_dpm_solver": lambda: Restart(DPMSolverPP, num_steps=30, num_restarts=4),
    "unipc": lambda: UniPC(num_steps=30),
    "reverse_diffusion": lambda: ReverseDiffusion(num_steps=500),
    "ancestral": lambda: Ancestral(num_steps=500),
    "stochastic_heun": lambda: StochasticHeun(num_steps=100),
    "corrected": lambda: PredictorCorrector(
        EulerMaruyamaPredictor(), Langevin(snr=0.1), num_steps=300
    ),
    "annealed": lambda: PredictorCorrector(
        EulerMaruyamaPredictor(), AnnealedLangevin(snr=0.1), num_steps=300
    ),
}


# Those that reverse any SDE; tests/sdes/test_kinetic.py has the other.
PLAIN = sorted(set(lcss_tf.SAMPLERS) - {"SymmetricSplitting"})


def test_every_registered_sampler_is_here():
    assert {type(make()) for make in SAMPLERS.values()} == {
        lcss_tf.SAMPLERS[name] for name in PLAIN
    }


def exact_score(sde):
    def score_fn(x, t):
        alpha_t, sigma_t = sde.marginal(t)
        variance = (alpha_t * STD) ** 2 + sigma_t**2
        return -(x - alpha_t[:, None] * MEAN) / variance[:, None]

    return score_fn


# On the other affine SDEs one of each kind; tests/samplers/test_orders.py covers the rest exactly.
ON_ALL = (
    *("ancestral", "corrected", "dpm_solver", "edm_churn", "ode", "restart", "stochastic_heun"),
    *("deis", "unipc"),
)
VARIANTS = (
    *("reverse_diffusion", "ddim", "ddim_eta_one", "dormand_prince", "stochastic_heun"),
    *("ancestral", "corrected"),
    "annealed",
    "ddim_eta_half",
    "dpm_solver_3",
    "dpm_solver_sde",
    "edm_churn",
    "restart_dpm_solver",
    "euler_maruyama_quadratic",
)
CASES = [
    pytest.param(kind, "VPSDE", marks=pytest.mark.slow if kind in VARIANTS else ())
    for kind in sorted(SAMPLERS)
]
CASES += [
    pytest.param(kind, name, marks=pytest.mark.slow)
    for kind in ON_ALL
    for name in ("SubVPSDE", "VESDE")
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_gaussian_is_sampled(kind, name):
    sde, sampler = lcss_tf.SDES[name](), SAMPLERS[kind]()
    count = 8_000

    @tf.function(jit_compile=True)
    def run(seed):
        return sampler.sample(exact_score(sde), sde, (count, 2), seed).x

    x = run(random.as_seed(1)).numpy()
    # VE's prior is off by the data's mean and by sampling N(0, σ_max²) at all: a little wider.
    np.testing.assert_allclose(x.mean(0), MEAN, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), STD**2 * np.eye(2), atol=0.03)
    np.testing.assert_array_equal(x, run(random.as_seed(1)).numpy())


def test_per_sample_norms_sample_a_gaussian_of_many_dimensions():
    """In two, ‖score‖ varies so much from sample to sample that the distribution widens."""
    sde = lcss_tf.SDES["VPSDE"]()
    corrector = Langevin(snr=0.1, norms="sample")
    sampler = PredictorCorrector(EulerMaruyamaPredictor(), corrector, num_steps=200)
    score_fn = lambda x, t: exact_score(sde)(tf.reshape(x, [-1, 2]), tf.repeat(t, 32))

    @tf.function(jit_compile=True, autograph=False)
    def run(seed):
        wrapped = lambda x, t: tf.reshape(score_fn(x, t), x.shape)
        return sampler.sample(wrapped, sde, (1_000, 64), seed).x

    x = run(random.as_seed(1)).numpy()
    np.testing.assert_allclose(x.mean(0), np.tile(MEAN, 32), atol=0.1)
    assert x.var(0).mean() == pytest.approx(STD**2, rel=0.06)


@pytest.mark.parametrize("name", PLAIN)
def test_contract(name):
    """Every registered sampler: shape, seed, NFE counted as they happen."""
    sampler = lcss_tf.SAMPLERS[name](num_steps=30)
    sde = lcss_tf.SDES["VPSDE"]()
    calls = []

    def score_fn(x, t):
        tf.py_function(lambda: calls.append(1), [], [])
        return exact_score(sde)(x, t)

    samples = sampler.sample(score_fn, sde, (16, 2), 1)
    assert samples.x.shape == (16, 2)
    assert np.isfinite(samples.x).all()
    assert samples.nfe == len(calls)
    other = sampler.sample(score_fn, sde, (16, 2), 2)
    assert np.abs(samples.x - other.x).max() > 0
    with pytest.raises(ValueError, match="num_steps >= 1"):
        lcss_tf.SAMPLERS[name](num_steps=0)


def test_ode_is_second_order():
    """Heun's error against the exact map of a Gaussian falls by 4 when steps double."""
    sde = lcss_tf.SDES["VPSDE"]()
    x_T = random.normal(1, (64, 2))
    alpha, sigma = sde.marginal(tf.constant([1.0, 0.1]))
    spread = tf.sqrt((alpha * STD) ** 2 + sigma**2)
    exact = MEAN * alpha[1] + (x_T - MEAN * alpha[0]) * spread[1] / spread[0]

    def error(steps):
        sampler = ProbabilityFlowODE(schedule=UniformSchedule(), num_steps=steps, t_end=0.1)
        x = sampler.sample_from(exact_score(sde), sde, x_T, random.as_seed(0)).x
        return np.abs(x - exact).max()

    order = np.log2(error(32) / error(64))
    assert 1.7 < order < 2.4


def test_ancestral_refuses_an_sde_without_a_kernel():
    class Free(lcss_tf.SDE):
        def prior_sample(self, shape, seed):
            return tf.random.stateless_normal(shape, seed)

    sampler = PredictorCorrector(AncestralPredictor(), num_steps=30)
    with pytest.raises(ValueError, match="Free has none"):
        sampler.sample(lambda x, t: -x, Free(), (4, 2), 1)


def test_per_sample_norms_leave_other_samples_alone():
    """Langevin with norms='sample': a sample does not depend on its batch; 'batch' does."""
    sde = lcss_tf.SDES["VPSDE"]()
    x = random.normal(1, (8, 2))
    z = random.normal(2, (8, 2))
    from lcss_tf.samplers.base import Reverse

    reverse = Reverse(exact_score(sde), sde, 100)
    for norms, same in (("sample", True), ("batch", False)):
        corrector = Langevin(norms=norms)
        whole = corrector.step(reverse, x, tf.fill([8], 0.5), z).x[:4]
        half = corrector.step(reverse, x[:4], tf.fill([4], 0.5), z[:4]).x
        assert np.allclose(whole, half, atol=1e-6) == same
