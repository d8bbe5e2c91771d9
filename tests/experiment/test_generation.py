"""Samples from the EMA weights: the same on one replica and on two."""

import numpy as np
import pytest

from lcss_tf.experiment.generation import Generation
from lcss_tf.samplers import EulerMaruyama
from tests.training import helpers


def _generation(replicas, **options):
    state, distribution = helpers.make_state(replicas)
    sampler = EulerMaruyama(num_steps=20)
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
