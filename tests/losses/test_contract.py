"""What every registered loss must keep; new ones enter by themselves."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random

SHAPE = (32, 4)


@pytest.fixture(params=sorted(lcss_tf.LOSSES))
def loss(request):
    return lcss_tf.LOSSES[request.param]()


@pytest.fixture
def sde():
    return lcss_tf.SDES["VPSDE"]()


@pytest.fixture
def x0():
    return random.normal(1, SHAPE)


def score_fn(x, t):
    return -tf.sin(x) * (1 + t[:, None])


def test_values_are_per_example_and_functions_of_the_seed(loss, sde, x0):
    first, again, other = (loss(score_fn, sde, x0, seed) for seed in (1, 1, 2))
    assert first.per_example.shape == first.t.shape == (SHAPE[0],)
    np.testing.assert_array_equal(first.per_example, again.per_example)
    assert np.abs(first.per_example - other.per_example).max() > 0
    np.testing.assert_allclose(sum(first.terms.values()), first.per_example, rtol=1e-5, atol=1e-5)


def test_two_halves_of_a_batch_are_the_whole(loss, sde, x0):
    """Replicas: each sees its rows, and together the values of one device."""
    whole = loss(score_fn, sde, x0, random.at_row(3, 0), 32)
    halves = [loss(score_fn, sde, x0[r : r + 16], random.at_row(3, r), 32) for r in (0, 16)]
    np.testing.assert_allclose(np.concatenate([h.t for h in halves]), whole.t, rtol=1e-6)
    joined = np.concatenate([h.per_example for h in halves])
    np.testing.assert_allclose(joined, whole.per_example, rtol=1e-4, atol=1e-4)


def test_times_are_stratified_over_the_global_batch(loss, sde, x0):
    t = loss(score_fn, sde, x0, 5).t.numpy()
    slices = np.floor((t - sde.t_min) / (sde.T - sde.t_min) * SHAPE[0]).astype(int)
    assert sorted(slices.clip(0, SHAPE[0] - 1)) == list(range(SHAPE[0]))


def test_compiles_under_xla(loss, sde, x0):
    compiled = tf.function(
        lambda x: tf.reduce_mean(loss(score_fn, sde, x, 1).per_example), jit_compile=True
    )
    assert np.isfinite(compiled(x0))


def test_reduction_and_weighting(sde, x0):
    for name in lcss_tf.LOSSES:
        by_sum = lcss_tf.LOSSES[name](reduction="sum")(score_fn, sde, x0, 1)
        by_mean = lcss_tf.LOSSES[name](reduction="mean")(score_fn, sde, x0, 1)
        np.testing.assert_allclose(
            by_mean.per_example, by_sum.per_example * 2 / SHAPE[1], rtol=1e-5, atol=1e-5
        )
        own = lcss_tf.LOSSES[name](weighting=lambda sde, t: 0 * t, reduction="sum")
        assert np.abs(own(score_fn, sde, x0, 1).per_example).max() == 0


def test_unknown_names_are_refused():
    loss = lcss_tf.LOSSES["LCSSLoss"]
    with pytest.raises(KeyError, match="noise_scale"):
        loss(weighting="nope")
    with pytest.raises(ValueError, match="UniformTimes"):
        loss(times="nope")
    with pytest.raises(ValueError, match="mean"):
        loss(reduction="nope")


def test_a_loss_must_define_something():
    with pytest.raises(TypeError, match="must define"):

        class Empty(lcss_tf.losses.Loss):
            pass


def test_a_users_loss_needs_per_example_alone(sde, x0):
    class Mine(lcss_tf.losses.Loss):
        def per_example(self, score_fn, sde, x0, t, seed):
            return tf.reduce_sum(score_fn(x0, t) ** 2, axis=1)

    values = Mine()(score_fn, sde, x0, 1)
    assert set(values.terms) == {"loss"}
    assert np.isfinite(values.per_example).all()
