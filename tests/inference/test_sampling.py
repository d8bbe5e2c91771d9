"""Samples from the EMA weights: the same on one replica and on two."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.experiment.generation import Generation
from lcss_tf.samplers import EulerMaruyama
from tests.training import helpers


def _generation(replicas, sampler=None, **options):
    state, distribution = helpers.make_state(replicas)
    sampler = sampler or EulerMaruyama(num_steps=20)
    return Generation(state, (2,), distribution, sampler, batch_size=8, **options)


def test_one_replica_equals_two_and_a_shorter_call_is_a_prefix():
    one = _generation(1, jit_compile=False)(21, seed=3, progress=False)
    two = _generation(2, jit_compile=False)(21, seed=3, progress=False)
    assert one.shape == (21, 2)
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    prefix = _generation(1, jit_compile=False)(5, seed=3, progress=False)
    np.testing.assert_array_equal(prefix, one[:5])
    assert np.abs(one - _generation(1)(21, seed=4, progress=False)).max() > 0


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        _generation(1)(0)
    state, distribution = helpers.make_state(2)
    with pytest.raises(ValueError, match=r"sample.batch_size = 7 is not divisible"):
        Generation(state, (2,), distribution, batch_size=7)


# Those with parts of their own: two steps of noise, a history.
_QUICK = ("EulerMaruyama", "PredictorCorrector", "DPMSolverPP")
_SAMPLERS = [
    pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
    for name in sorted(lcss_tf.SAMPLERS)
]


@pytest.mark.parametrize("name", _SAMPLERS)
def test_every_sampler_compiles_whole_and_knows_no_replicas(name):
    """One XLA program; the same rows on one replica and on two, and again from the same seed."""
    sampler = lcss_tf.SAMPLERS[name](num_steps=24)
    known = sampler.evaluations()
    if known is None:  # it chooses its steps, and 24 are too few
        sampler = lcss_tf.SAMPLERS[name]()
    first = _generation(1, sampler, jit_compile=True)
    one = first(12, seed=3, progress=False, frames=4)
    # Two devices compile again, each for itself; where steps are chosen rounding would choose.
    two = _generation(2, sampler, jit_compile=known is None)
    np.testing.assert_allclose(two(12, seed=3, progress=False, frames=4), one, rtol=1e-4, atol=1e-4)
    assert first.film.shape == two.film.shape == (5, 12, 2)
    np.testing.assert_array_equal(first.film[-1], one)
    np.testing.assert_allclose(two.film, first.film, rtol=1e-3, atol=1e-3)
    if known is not None:
        assert first.evaluations == two.evaluations == known
    np.testing.assert_array_equal(first(12, seed=3, progress=False, frames=4), one)


def test_a_nan_names_its_sampler_step_and_time():
    """In the score of one replica's rows alone, from t = 0.4 on."""
    for replicas in (1, 2):
        generation = _generation(replicas, jit_compile=True)
        score_fn = generation._state.model.score_fn

        def broken(network, labels, score_fn=score_fn):
            score = score_fn(network)
            return lambda x, t: tf.where(t[:, None] < 0.41, np.nan, score(x, t))

        generation._state.model.score_fn = broken
        # Times fall by 0.04995: the ninth-last step begins at t = 0.4006.
        with pytest.raises(FloatingPointError, match=r"step 13 of 20, t = 0\.35") as error:
            generation(5, progress=False)
        assert "EulerMaruyama: 5 of 5 samples are not finite" in str(error.value)


def test_no_film_unless_asked_for():
    generation = _generation(1, jit_compile=False)
    generation(3, progress=False, frames=2)
    assert generation.film.shape == (3, 3, 2)
    generation(3, progress=False)
    assert generation.film is None
    with pytest.raises(ValueError, match="frames must not be negative; got -1"):
        generation(3, frames=-1)
