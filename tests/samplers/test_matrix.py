"""Every registered sampler on every registered SDE: it works, or the error names one that does."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.ops import like
from tests.siblings import siblings

STEPS = 100  # a drift of |x|³ at β = 20 needs as many


def gaussian_score(sde):
    """∇log p_t for data N(½, ¼) on an affine SDE; else that of the prior, for data like it."""

    def affine(x, t):
        alpha_t, sigma_t = (like(level, x) for level in sde.marginal(t))
        return (0.5 * alpha_t - x) / (0.25 * alpha_t**2 + sigma_t**2)

    def prior(x, t):
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_prob = sde.prior_log_prob(x)
        return tape.gradient(log_prob, x)

    return affine if sde.has_marginal else prior


def refusal(sampler, sde):
    """The message of the ValueError by which `check` refuses the SDE; None: it does not."""
    try:
        sampler.check(sde)
    except ValueError as error:
        return str(error)
    return None


# Every sampler on VPSDE, and every SDE by one sampler; the rest of the product is slow.
_BY_ALL, _FOR_ALL = "VPSDE", "EulerMaruyama"


def _cases():
    for kind in siblings(lcss_tf.SDES):
        plain = isinstance(kind, str)
        kind, marks = (kind, ()) if plain else (kind.values[0], kind.marks)
        for name in sorted(lcss_tf.SAMPLERS):
            told = name == _FOR_ALL or kind == _BY_ALL
            yield pytest.param(kind, name, marks=marks if told else pytest.mark.slow)


@pytest.mark.parametrize(("kind", "name"), _cases())
def test_it_works_or_the_error_names_one_that_does(kind, name):
    sde, sampler = lcss_tf.SDES[kind](), lcss_tf.SAMPLERS[name](num_steps=STEPS)
    sde.expect((3,) if kind != "KineticSDE" else (6,))
    score_fn = gaussian_score(sde)
    message = refusal(sampler, sde)
    if message is not None:
        # Nothing but a sampler of states with a velocity refuses an affine SDE.
        assert not sde.has_marginal or name in NEED_A_VELOCITY, message
        assert kind in message
        assert name in message
        assert any(other in message for other in WORKS_FOR_ALL), message
        with pytest.raises(ValueError, match=kind):
            sampler.sample(score_fn, sde, (4, 3), 1)
        return

    @tf.function(autograph=False)
    def run():
        return sampler.sample(score_fn, sde, (4, 3), random.as_seed(1), trajectory_steps=3)

    samples = run()
    assert samples.x.shape == (4, 3)
    assert np.isfinite(samples.x).all()
    assert samples.failure.numpy()[0] == -1
    assert samples.trajectory.shape == (4, 4, 3)
    assert np.isfinite(samples.trajectory).all()
    np.testing.assert_array_equal(samples.trajectory[-1], samples.x)


NEED_A_VELOCITY = {"SymmetricSplitting"}
WORKS_FOR_ALL = {
    "EulerMaruyama",
    "ReverseDiffusion",
    "PredictorCorrector",
    "StochasticHeun",
    "ProbabilityFlowODE",
}


@pytest.mark.parametrize("name", sorted(WORKS_FOR_ALL))
def test_the_recommended_samplers_take_every_sde(name):
    for kind in lcss_tf.SDES:
        assert refusal(lcss_tf.SAMPLERS[name](num_steps=STEPS), lcss_tf.SDES[kind]()) is None


@pytest.mark.parametrize(
    "name", ["DDIM", "DEIS", "DPMSolverPP", "EDMHeun", "Ancestral", "Restart", "UniPC"]
)
def test_affine_samplers_refuse_sdes_without_a_marginal(name):
    for kind in ("GeneralizedNormalSDE", "PearsonSDE"):
        assert refusal(lcss_tf.SAMPLERS[name](num_steps=STEPS), lcss_tf.SDES[kind]()) is not None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "StochasticHeun" else pytest.mark.slow)
        for name in sorted(WORKS_FOR_ALL)
    ],
)
def test_noise_that_grows_with_x_leaves_the_prior_alone(name):
    """On the Pearson SDE, data distributed as the prior stay so: its ∂(g²) is not forgotten."""
    sde = lcss_tf.SDES["PearsonSDE"]()
    sampler = lcss_tf.SAMPLERS[name](num_steps=200, denoise=False)
    score_fn = gaussian_score(sde)

    @tf.function(jit_compile=True, autograph=False)
    def run(x_T):
        return sampler.sample_from(score_fn, sde, x_T, random.as_seed(3)).x

    x_T = sde.broadcast_prior_sample((40_000, 1), random.as_seed(2))
    levels = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]
    truth = np.quantile(sde.broadcast_prior_sample((400_000, 1), random.as_seed(5)), levels)
    np.testing.assert_allclose(np.quantile(run(x_T), levels), truth, atol=0.05)


@pytest.mark.parametrize("name", sorted(lcss_tf.SAMPLERS))
def test_bad_input(name):
    sde, make = lcss_tf.SDES["VPSDE"](), lcss_tf.SAMPLERS[name]
    for steps in (0, -3):
        with pytest.raises(ValueError, match=f"{name} expects num_steps >= 1; got {steps}"):
            make(num_steps=steps)
    for end in (-0.1, 1.0, 2.0):
        message = refusal(make(num_steps=STEPS, t_end=end), sde)
        assert f"{name}.t_end must lie in [0, 1)" in message
        assert f"got {end:g}" in message


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("DDIM", {"eta": 1.5}, "0 <= eta <= 1; got 1.5"),
        ("DDIM", {"eta": -0.5}, "0 <= eta <= 1; got -0.5"),
        ("DPMSolverPP", {"order": 4}, "order must be a whole number from 1 to 3; got 4"),
        ("DPMSolverPP", {"order": 3, "stochastic": True}, "Use order = 2"),
        ("UniPC", {"order": 0}, "order must be a whole number from 1 to 3; got 0"),
        ("UniPC", {"variant": "bh3"}, r"variant must be one of \('bh1', 'bh2'\); got 'bh3'"),
        ("DEIS", {"order": 5}, "order must be a whole number from 1 to 4; got 5"),
        ("DEIS", {"variable": "lambda"}, "variable must be one of .*; got 'lambda'"),
        ("Restart", {"noise_min": 0.5}, "0 < noise_min < noise_max"),
        ("Restart", {"num_restarts": -1}, "num_restarts >= 0"),
        ("Restart", {"restart_steps": 0}, "restart_steps >= 1"),
        ("EDMHeun", {"s_churn": -1.0}, "s_churn >= 0"),
        ("EDMHeun", {"s_min": 2.0, "s_max": 1.0}, "0 <= s_min < s_max"),
        ("EDMHeun", {"s_noise": 0.0}, "s_noise > 0"),
        ("ReverseDiffusion", {"schedule": lcss_tf.SCHEDULES["UniformSchedule"]()}, "T/num_steps"),
        ("Ancestral", {"schedule": lcss_tf.SCHEDULES["UniformSchedule"]()}, r"DDIM\(eta=1\)"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        lcss_tf.SAMPLERS[name](**options)


@pytest.mark.parametrize("name", ["DDIM", "DEIS", "DPMSolverPP", "EDMHeun", "Restart", "UniPC"])
def test_no_noise_at_the_end_is_refused(name):
    message = refusal(lcss_tf.SAMPLERS[name](t_end=0.0), lcss_tf.SDES["VPSDE"]())
    assert "Set t_end > 0" in message
    assert refusal(lcss_tf.SAMPLERS[name](t_end=0.0), lcss_tf.SDES["VESDE"]()) is None


_OF_EACH_KIND = ("Ancestral", "DormandPrince", "EDMHeun", "EulerMaruyama", "Restart", "UniPC")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _OF_EACH_KIND else pytest.mark.slow)
        for name in sorted(set(lcss_tf.SAMPLERS) - NEED_A_VELOCITY)
    ],
)
def test_failure_is_the_first_step_with_a_nan_and_its_time(name):
    sde = lcss_tf.SDES["VPSDE"]()
    score = gaussian_score(sde)
    broken = lambda x, t: tf.where(t[:, None] < 0.52, np.nan, score(x, t))
    discrete = ("Ancestral", "ReverseDiffusion", "PredictorCorrector")
    schedule = {} if name in discrete else {"schedule": UNIFORM}
    sampler = lcss_tf.SAMPLERS[name](num_steps=24, **schedule)
    step, t = sampler.sample(broken, sde, (4, 2), 1).failure.numpy()
    if not sampler.fixed_steps:  # its steps end where they become too short
        assert t == pytest.approx(0.52, abs=0.02)
        return
    times = sampler.times(sde)
    assert t == pytest.approx(times[int(step) + 1], abs=1e-6)
    # One-stage samplers evaluate at the step's start, two-stage ones at its end as well.
    first = int(np.argmax(times < 0.52))
    assert int(step) in (first - 1, first)


UNIFORM = lcss_tf.SCHEDULES["UniformSchedule"]()
