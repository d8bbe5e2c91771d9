"""Operators × methods × samplers × SDEs: each works, or its error names what does."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.control import (
    DPS,
    Clipping,
    DiffPIR,
    GaussianBlur,
    Identity,
    InverseProblem,
    Linear,
    Mask,
    NullSpace,
    Replacement,
    SDEdit,
    TimeTravel,
)
from lcss_tf.control.travel import forward, route
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
_LONG = ("TimeTravel", "TweedieGuidance", "PseudoinverseGuidance", "NullSpace", "DPS", "DiffPIR")
UNBOUND = ("SDEdit",)  # samples begin at y, and need not agree with it
NONLINEAR = ("DPS", "SDEdit")  # take every operator
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
    for operator_name, make in lcss_tf.OPERATORS.items():
        if not make.__module__.startswith("lcss_tf"):  # another test's
            continue
        operator = make()
        y = operator.apply(truth)
        # Masks meet every sampler; the other operators one of each kind.
        for name in lcss_tf.SAMPLERS if operator.selects else ONE_OF_EACH_KIND:
            controlled = lcss_tf.METHODS[method]().control(
                new_sampler(name), InverseProblem(operator, y)
            )
            if not works(sde, controlled):
                continue
            parts = 1 if method in UNBOUND else 2  # of few steps an edit takes fewer
            samples = controlled.sample(score_of(sde), sde, truth.shape, 1, parts)
            assert np.isfinite(samples.x).all(), (operator_name, name)
            worked.add((operator_name, name))
            assert samples.trajectory.shape == (parts + 1, *truth.shape)
            np.testing.assert_array_equal(samples.trajectory[-1], samples.x)
            if method in UNBOUND or not operator.is_linear:
                continue
            # Where A has small singular values, A⁺ leaves them out.
            close = 1e-4 if operator.gain(SHAPE) is not None else 5e-3
            np.testing.assert_allclose(operator.apply(samples.x), y, atol=close)
            if operator_name == "Mask":
                known = operator.known(SHAPE)
                np.testing.assert_array_equal(samples.x.numpy()[:, known], truth.numpy()[:, known])
    everywhere = {"Replacement", "TimeTravel"}
    operators = {operator for operator, _ in worked}
    ours = {n: o for n, o in lcss_tf.OPERATORS.items() if o.__module__.startswith("lcss_tf")}
    linear = {name for name, operator in ours.items() if operator.is_linear}
    if method == "SDEdit":
        assert operators == set(ours)
    elif kind != "GeneralizedNormalSDE":
        assert operators == (set(ours) if method in NONLINEAR else linear)
    elif method in everywhere:
        assert operators == {"Mask"}
    else:
        assert not worked


@pytest.mark.slow
def test_every_combination_is_taken_or_refused_with_a_remedy():
    """All SDEs, operators, methods and samplers, with and without noise: asked, not run."""
    taken = {name: set() for name in lcss_tf.METHODS}
    for sde_name in lcss_tf.SDES:
        if sde_name == "MatrixOUSDE":  # of vectors
            continue
        sde = lcss_tf.SDES[sde_name]()
        sde.expect(sde.state_shape(SHAPE))
        for operator_name, make in lcss_tf.OPERATORS.items():
            if not make.__module__.startswith("lcss_tf"):  # another test's
                continue
            operator = make()
            for method in lcss_tf.METHODS:
                for name in lcss_tf.SAMPLERS:
                    for noise_std in (0.0, 0.1) if name == "EulerMaruyama" else (0.0,):
                        problem = InverseProblem(operator, None, noise_std)
                        sampler = new_sampler(name, 40)
                        controlled = lcss_tf.METHODS[method]().control(sampler, problem)
                        if works(sde, controlled):
                            taken[method].add((sde_name, operator_name, noise_std))
    affine = {name for name in lcss_tf.SDES if lcss_tf.SDES[name].has_marginal}
    for method in ("DPS", "DiffPIR", "NullSpace", "PseudoinverseGuidance", "TweedieGuidance"):
        assert {sde for sde, _, _ in taken[method]} == affine, method
        operators = {operator for _, operator, _ in taken[method]}
        assert ("Clipping" in operators) == (method in NONLINEAR)
    # Under these, what is hidden drives what is known.
    by_itself = {sde for sde, operator, _ in taken["Replacement"] if operator == "Mask"}
    assert {"RotatingSDE", "KineticSDE"}.isdisjoint(by_itself)
    assert affine | {"PearsonSDE", "GeneralizedNormalSDE", "MirafzaliSDE"} <= by_itself
    matrix, mixture = lcss_tf.SDES["MatrixOUSDE"](), lcss_tf.SDES["MixtureSDE"]()
    matrix.expect((3,))
    mixture.prepare(tf.sign(random.normal(1, (64, 1))) + random.normal(2, (64, 3)))
    mask = InverseProblem(Mask(np.array([1, 0, 1])), None)
    for sde in (matrix, mixture):
        with pytest.raises(ValueError, match="what is hidden drives what is known"):
            Replacement().control(new_sampler("EulerMaruyama"), mask).check(sde)
    edited = {sde for sde, _, _ in taken["SDEdit"]}
    assert edited >= by_itself | {"MixtureSDE"}
    assert "KineticSDE" not in edited


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", sorted(name for name in lcss_tf.SDES if lcss_tf.SDES[name].has_marginal)
)
def test_every_affine_sde_is_sampled_by_every_method_that_takes_it(kind):
    """On isotropic Gaussians: the posterior's mean, where it is known, within sampling error."""
    sde, count = lcss_tf.SDES[kind](), 512
    x = tf.repeat(0.3 * random.normal(1, (1, *SHAPE)), count, axis=0)
    blur = GaussianBlur(0.7)
    y = blur.apply(x)
    for method in (NullSpace(0.3), DiffPIR(1.0, 1.0), DPS(0.05)):
        sampler = lcss_tf.SAMPLERS["DDIM"](num_steps=24, eta=1.0)
        controlled = method.control(sampler, InverseProblem(blur, y, 0.2))
        run = tf.function(
            lambda seed, c=controlled: c.sample(score_of(sde), sde, x.shape, seed).x,
            jit_compile=True,
        )
        found = run(random.as_seed(2)).numpy().mean(0)
        expected = blur.wiener(y, SHAPE, 0.09, 0.04).numpy()[0]
        rough = 0.05 if type(method) is NullSpace else 0.15
        assert np.abs(found - expected).mean() < rough, (kind, type(method).__name__)


def test_nfe_is_the_number_of_calls():
    sde = lcss_tf.SDES["VPSDE"]()
    y = Mask("half").apply(random.normal(1, (2, *SHAPE)))
    for method in lcss_tf.METHODS:
        calls = []

        def score_fn(x, t, calls=calls):
            tf.py_function(lambda: calls.append(1), [], [])
            return -x

        problem = InverseProblem(Mask("half"), y)
        churned = lcss_tf.SAMPLERS["EDMHeun"](num_steps=3, s_churn=3.0)
        samplers = [
            new_sampler(name, 3) for name in ("EulerMaruyama", "ProbabilityFlowODE", "DDIM")
        ]
        for sampler in [*samplers, churned]:
            name = type(sampler).__name__
            controlled = lcss_tf.METHODS[method]().control(sampler, problem)
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


def test_refusals_of_operators_and_of_methods_in_methods():
    sampler, vp = new_sampler("EulerMaruyama"), lcss_tf.SDES["VPSDE"]()
    clipped = InverseProblem(Clipping(), None)
    for name in sorted(set(lcss_tf.METHODS) - set(NONLINEAR)):
        with pytest.raises(ValueError, match="Clipping is not linear.*use DPS"):
            lcss_tf.METHODS[name]().control(sampler, clipped).check(vp)
    kinetic = lcss_tf.SDES["KineticSDE"]()
    for name in lcss_tf.METHODS:
        with pytest.raises(ValueError, match="KineticSDE hold a velocity.*VPSDE"):
            lcss_tf.METHODS[name]().control(sampler, InverseProblem(Identity(), None)).check(
                kinetic
            )
    with pytest.raises(ValueError, match=r"SDEdit\(method=TimeTravel\(\)\)"):
        TimeTravel(SDEdit())
    with pytest.raises(ValueError, match="begins once"):
        SDEdit(method=SDEdit())
    for wrong in (0.0, 1.2):
        with pytest.raises(ValueError, match=r"lie in \(0, 1\]"):
            SDEdit(wrong)
    with pytest.raises(ValueError, match="lies below all of the sampler's 4 times"):
        SDEdit(0.1).control(sampler, InverseProblem(Identity(), None)).check(vp)
    with pytest.raises(ValueError, match="step_size must be > 0"):
        DPS(0.0)
    with pytest.raises(ValueError, match="0 <= fresh <= 1"):
        DiffPIR(1.0, 1.5)
    sums = Linear(lambda x: tf.reduce_sum(x, axis=[1, 2, 3])[:, None])
    edit = SDEdit().control(sampler, InverseProblem(sums, tf.zeros([2, 2])))
    with pytest.raises(ValueError, match=r"Linear makes observations of shape \(1,\)"):
        edit.sample(lambda x, t: -x, vp, (2, *SHAPE), 1)


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
