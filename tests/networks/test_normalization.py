"""Group normalisation: its formula, its ε, its precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.networks import normalization


@pytest.mark.parametrize(
    ("channels", "groups"), [(128, 32), (16, 4), (384, 32), (3, 1), (1, 1), (18, 3), (7, 1)]
)
def test_num_groups_follows_the_rule_and_divides(channels, groups):
    assert normalization.num_groups(channels) == groups


@pytest.mark.parametrize("shape", [(3, 10, 12), (2, 6, 4, 16), (2, 2, 3, 4, 8)])
def test_formula(shape):
    x = np.random.default_rng(0).normal(3.0, 2.0, shape).astype(np.float32)
    layer = normalization.GroupNorm()
    layer.build(shape)
    layer.gamma.assign(np.linspace(0.5, 2.0, shape[-1]))
    layer.beta.assign(np.linspace(-1.0, 1.0, shape[-1]))
    grouped = x.astype(np.float64).reshape(shape[0], -1, layer.groups, shape[-1] // layer.groups)
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    expected = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + 1e-6)
    expected = expected.reshape(shape) * layer.gamma.numpy() + layer.beta.numpy()
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_epsilon_is_that_of_the_reference():
    # On a signal of variance 1e-6 an ε of 1e-6 leaves a variance of a half.
    x = 1e-3 * np.tile([1.0, -1.0], 32).reshape(1, 8, 8, 1).astype(np.float32)
    np.testing.assert_allclose(np.var(normalization.GroupNorm()(x)), 0.5, rtol=1e-3)


def test_is_computed_in_float32_under_bfloat16():
    x = np.random.default_rng(0).normal(100.0, 1.0, (2, 8, 8, 8)).astype(np.float32)
    exact = normalization.GroupNorm()(x)
    mixed = normalization.GroupNorm(dtype="mixed_bfloat16")
    result = mixed(x)
    assert result.dtype == tf.bfloat16
    assert keras.backend.standardize_dtype(mixed.gamma.dtype) == "float32"
    np.testing.assert_allclose(tf.cast(result, tf.float32), exact, atol=0.02)
