"""Samples from the average of the weights: the same on one replica and on two."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.errors import UsageError
from lcss_tf.inference import Sampling
from lcss_tf.samplers import EulerMaruyama
from tests.inference.helpers import model_of
from tests.training import helpers


@pytest.fixture(scope="module")
def states():
    """{replicas: a state}, with the same weights."""
    return {replicas: helpers.make_state(replicas)[0] for replicas in (1, 2)}


@pytest.fixture(scope="module")
def drawers(states):
    """{replicas: a `Sampling` as a graph}, traced once."""
    return {
        replicas: Sampling(state, EulerMaruyama(num_steps=20), batch_size=8, jit_compile=False)
        for replicas, state in states.items()
    }


def test_one_replica_equals_two_and_a_shorter_call_is_a_prefix(drawers):
    one = drawers[1](21, seed=3, progress=False)
    two = drawers[2](21, seed=3, progress=False)
    assert one.x.shape == (21, 2)
    assert one.nfe == two.nfe == 20
    np.testing.assert_allclose(one.x, two.x, rtol=1e-4, atol=1e-5)
    prefix = drawers[1](5, seed=3, progress=False)
    np.testing.assert_array_equal(prefix.x, one.x[:5])
    assert np.abs(one.x - drawers[1](21, seed=4, progress=False).x).max() > 0


def test_the_prior_is_drawn_for_the_whole_batch(states):
    """Sample i is a function of (seed, batch_size, i): no two of a run are alike."""
    state = states[1]
    sampler = lcss_tf.SAMPLERS["ProbabilityFlowODE"](num_steps=2)
    x = Sampling(state, sampler, 8, jit_compile=False)(24, progress=False).x
    assert len(np.unique(x.round(6), axis=0)) == 24


def test_bad_counts_are_refused(states, drawers):
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        drawers[1](0)
    with pytest.raises(ValueError, match=r"sample.batch_size = 7 is not divisible"):
        Sampling(states[2], batch_size=7)


def test_classes_need_a_network_that_has_them(states, drawers):
    with pytest.raises(ValueError, match="label = 1 was asked of a network without classes"):
        drawers[1](4, condition=1)
    with pytest.raises(ValueError, match="class"):
        Sampling(states[1], guidance=2.0)


# With parts of its own: two steps of noise. One whole program stands for all.
_QUICK = ("PredictorCorrector",)
_SAMPLERS = [
    pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
    for name in sorted(lcss_tf.SAMPLERS)
]


@pytest.mark.parametrize("name", _SAMPLERS)
def test_every_sampler_compiles_whole_and_knows_no_replicas(name, states):
    """One XLA program; the same rows on one replica and on two, and again from the same seed."""
    sampler = lcss_tf.SAMPLERS[name](num_steps=24)
    known = sampler.nfe()
    if known is None:  # it chooses its steps, and 24 are too few
        sampler = lcss_tf.SAMPLERS[name]()
    try:
        sampler.check(states[1].sde)
    except UsageError:  # it reverses processes with a velocity
        sde = lcss_tf.SDES["KineticSDE"]
        states = {r: model_of(1, sde=sde(), replicas=r).state for r in states}
    options = {"seed": 3, "progress": False, "trajectory_steps": 4}
    draw = Sampling(states[1], sampler, batch_size=8, jit_compile=True)
    one = draw(12, **options)
    # Two devices compile again, each for itself; where steps are chosen rounding would choose.
    two = Sampling(states[2], sampler, batch_size=8, jit_compile=known is None)(12, **options)
    np.testing.assert_allclose(two.x, one.x, rtol=1e-4, atol=1e-4)
    assert one.trajectory.shape == two.trajectory.shape == (5, 12, 2)
    np.testing.assert_array_equal(one.trajectory[-1], one.x)
    np.testing.assert_allclose(two.trajectory, one.trajectory, rtol=1e-3, atol=1e-3)
    if known is not None:
        assert one.nfe == two.nfe == known
    np.testing.assert_array_equal(draw(12, **options).x, one.x)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_nan_names_its_sampler_step_and_time(replicas, jit_compile, states, monkeypatch):
    """The score is NaN from t = 0.4 on."""
    state = states[replicas]
    score_fn = state.score.score_fn

    def broken(network, labels=None):
        score = score_fn(network)
        return lambda x, t: tf.where(t[:, None] < 0.41, np.nan, score(x, t))

    monkeypatch.setattr(state.score, "score_fn", broken)
    sampler = EulerMaruyama(num_steps=20)
    draw = Sampling(state, sampler, batch_size=8, jit_compile=jit_compile)
    # Times fall by 0.04995: the ninth-last step begins at t = 0.4006.
    with pytest.raises(FloatingPointError, match=r"step 13 of 20, t = 0\.35") as error:
        draw(5, progress=False)
    assert "EulerMaruyama: 5 of 5 samples are not finite" in str(error.value)


def test_no_trajectory_unless_asked_for(drawers):
    drawn = drawers[1](3, progress=False, trajectory_steps=2)
    assert drawn.trajectory.shape == (3, 3, 2)
    np.testing.assert_array_equal(drawn.trajectory[-1], drawn.x)
    again = drawers[1](3, progress=False)
    assert again.trajectory is None
    np.testing.assert_array_equal(again.x, drawn.x)
    with pytest.raises(ValueError, match="trajectory_steps must not be negative; got -1"):
        drawers[1](3, trajectory_steps=-1)
