"""Operators × methods × samplers × SDEs: each works, or its error names what does."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.control import InverseProblem, Mask, NullSpace, Replacement, TimeTravel
from lcss_tf.control.methods import forward, route
from lcss_tf.ops import like
from lcss_tf.samplers.base import Sampler, Samples, no_failure

SHAPE = (4, 4, 3)
SDES = {
    "VPSDE": {"beta_max": 3.0},  # so that its discrete process has no more than 4 steps
    "VESDE": {"sigma_max": 5.0},
    "GeneralizedNormalSDE": {"beta_max": 2.0, "simulation_steps": 8},
}


def score_of(sde):
    """The exact score of N(0, 0.3² I) where the SDE has a marginal; else ∇log p_T."""

    def affine(x, t):
        alpha_t, sigma_t = (like(level, x) for level in sde.marginal(t))
        return -x / (0.09 * alpha_t**2 + sigma_t**2)

    def of_prior(x, t):
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_prob = sde.prior_log_prob(x)
        return tape.gradient(log_prob, x)

    return affine if sde.has_marginal else of_prior


def new_sampler(name, num_steps=4):
    make = lcss_tf.SAMPLERS[name]
    sampler = make(num_steps=num_steps)
    # One that chooses its steps takes as many as it needs.
    return sampler if sampler.nfe() is not None else make(rtol=1e-2, atol=1e-2)


def works(sde, sampler):
    """Whether the sampler takes the SDE; if not, the message must hold a remedy."""
    message = "use it"
    try:
        sampler.check(sde)
    except ValueError as error:
        message = str(error)
    assert "use " in message.lower()
    return message == "use it"


ONE_OF_EACH_KIND = ("DPMSolverPP", "DormandPrince", "PredictorCorrector")
# VE is treated as VP is; these methods take long.
_LONG = ("TimeTravel", "TweedieGuidance", "PseudoinverseGuidance", "NullSpace")
_CASES = [
    pytest.param(
        kind,
        method,
        marks=pytest.mark.slow if kind == "VESDE" or method in _LONG else (),
    )
    for kind in SDES
    for method in sorted(lcss_tf.METHODS)
]


@pytest.mark.parametrize(("kind", "method"), _CASES)
def test_matrix(kind, method):
    sde = lcss_tf.SDES[kind](**SDES[kind])
    truth = 0.3 * random.normal(1, (2, *SHAPE))
    worked = set()
    for operator_name in lcss_tf.OPERATORS:
        operator = lcss_tf.OPERATORS[operator_name]()
        y = operator.apply(truth)
        # Masks meet every sampler; the other operators one of each kind.
        for name in lcss_tf.SAMPLERS if operator.selects else ONE_OF_EACH_KIND:
            controlled = lcss_tf.METHODS[method]().control(
                new_sampler(name), InverseProblem(operator, y)
            )
            if not works(sde, controlled):
                continue
            samples = controlled.sample(score_of(sde), sde, truth.shape, 1, trajectory_steps=2)
            assert np.isfinite(samples.x).all(), (operator_name, name)
            np.testing.assert_allclose(operator.apply(samples.x), y, atol=1e-4)
            if operator_name == "Mask":
                known = operator.known(SHAPE)
                np.testing.assert_array_equal(samples.x.numpy()[:, known], truth.numpy()[:, known])
            assert samples.trajectory.shape == (3, *truth.shape)
            np.testing.assert_array_equal(samples.trajectory[-1], samples.x)
            worked.add((operator_name, name))
    everywhere = {"Replacement", "TimeTravel"}
    if kind != "GeneralizedNormalSDE":
        assert len({operator for operator, _ in worked}) == len(lcss_tf.OPERATORS)
    elif method in everywhere:
        assert {operator for operator, _ in worked} == {"Mask"}
    else:
        assert not worked


def test_nfe_is_the_number_of_calls():
    sde = lcss_tf.SDES["VPSDE"]()
    y = Mask("half").apply(random.normal(1, (2, *SHAPE)))
    for method in lcss_tf.METHODS:
        calls = []

        def score_fn(x, t, calls=calls):
            tf.py_function(lambda: calls.append(1), [], [])
            return -x

        problem = InverseProblem(Mask("half"), y)
        for name in ("EulerMaruyama", "ProbabilityFlowODE", "DDIM"):
            controlled = lcss_tf.METHODS[method]().control(new_sampler(name, 6), problem)
            calls.clear()
            samples = controlled.sample(score_fn, sde, y.shape, 1)
            assert samples.nfe == len(calls), (method, name)


@pytest.mark.slow
def test_a_method_compiles_and_is_a_function_of_the_seed():
    sde = lcss_tf.SDES["VPSDE"]()
    y = Mask("half").apply(random.normal(1, (2, *SHAPE)))
    for method in lcss_tf.METHODS:
        problem = InverseProblem(Mask("half"), y)
        sampler = lcss_tf.METHODS[method]().control(new_sampler("DPMSolverPP", 6), problem)

        def run(seed, sampler=sampler):
            return sampler.sample(lambda x, t: -x, sde, y.shape, seed).x

        compiled = tf.function(run, jit_compile=True, autograph=False)
        np.testing.assert_allclose(
            compiled(random.as_seed(3)), run(random.as_seed(3)), rtol=1e-3, atol=1e-3
        )
        assert np.abs(run(random.as_seed(3)) - run(random.as_seed(4))).max() > 0.01


class Adaptive(Sampler):
    """A sampler that chooses its steps."""

    fixed_steps = False

    def run(self, reverse, x_T, seed, trajectory_steps=0):
        score = reverse.score_fn(x_T, tf.fill([x_T.shape[0]], 0.5))
        return Samples(x_T + 0.0 * score, 1, None, no_failure())


def test_a_sampler_that_chooses_its_steps():
    sde = lcss_tf.SDES["VPSDE"]()
    x = random.normal(1, (2, *SHAPE))
    problem = InverseProblem(Mask("half"), Mask("half").apply(x))
    samples = NullSpace().control(Adaptive(), problem).sample(lambda x, t: -x, sde, x.shape, 1)
    known = Mask("half").known(SHAPE)
    np.testing.assert_array_equal(samples.x.numpy()[:, known], x.numpy()[:, known])
    for method in (Replacement(), TimeTravel(), TimeTravel(NullSpace())):
        controlled = method.control(Adaptive(), problem)
        with pytest.raises(ValueError, match="Adaptive chooses its own: use NullSpace"):
            controlled.check(sde)


def test_refusals():
    sampler, mask = new_sampler("EulerMaruyama"), Mask("half")
    vp, power = lcss_tf.SDES["VPSDE"](), lcss_tf.SDES["GeneralizedNormalSDE"]()
    pooled = InverseProblem(lcss_tf.OPERATORS["AveragePooling"](), None)
    with pytest.raises(ValueError, match="GeneralizedNormalSDE has none .* use Replacement"):
        NullSpace().control(sampler, InverseProblem(mask, None)).check(power)
    with pytest.raises(ValueError, match="AveragePooling mixes coordinates.* use a Mask"):
        Replacement().control(sampler, pooled).check(power)
    with pytest.raises(ValueError, match="noise of standard deviation 0.1: use NullSpace"):
        Replacement().control(sampler, InverseProblem(mask, None, 0.1)).check(vp)
    with pytest.raises(ValueError, match="noise_std must be at least 0; got -1"):
        Replacement().control(sampler, InverseProblem(mask, None, -1))
    with pytest.raises(ValueError, match="data_std must be > 0"):
        NullSpace(0.0)
    with pytest.raises(ValueError, match="got 0 and 4"):
        TimeTravel(num_travels=0)
    small = Replacement().control(sampler, InverseProblem(mask, tf.zeros([2, 4, 4, 1])))
    with pytest.raises(ValueError, match=r"of shape \(4, 4, 3\).* got \(4, 4, 1\)"):
        small.sample(lambda x, t: -x, vp, (2, *SHAPE), 1)


def test_route():
    assert route(5, 1, 2).tolist() == [0, 1, 2, 3, 4, 5]
    assert route(5, 2, 2).tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 2, 3, 4, 5, 4, 5]


@pytest.mark.parametrize("kind", SDES)
def test_jumping_forward_is_the_sde(kind):
    """From x_s drawn given x_0, a jump to t has the moments of x_t drawn given x_0."""
    sde = lcss_tf.SDES[kind](**SDES[kind])
    x0 = tf.fill([20_000, 1], 0.8)
    s, t = tf.fill([20_000], 0.3), tf.fill([20_000], 0.5)
    jumped = forward(sde, sde.sample_xt(x0, s, random.as_seed(1)), s, t, random.as_seed(2)).numpy()
    direct = sde.sample_xt(x0, t, random.as_seed(3)).numpy()
    scale = direct.std()
    assert abs(jumped.mean() - direct.mean()) < 0.04 * scale
    assert abs(jumped.std() / scale - 1) < 0.03
