"""Embeddings of the noise label; dropout, whose masks are functions of the seed."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import random
from lcss_tf.networks import layers


@pytest.mark.parametrize("features", [2, 8, 9])
def test_positional_values(features):
    u = np.array([0.0, 3.0, 999.0])
    half = features // 2
    angle = u[:, None] * 10_000.0 ** (-np.arange(half) / max(half - 1, 1))
    expected = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    expected = np.pad(expected, [(0, 0), (0, features % 2)])
    result = layers.positional(tf.constant(u, tf.float32), features)
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_fourier_values_and_frozen_frequencies():
    layer = layers.GaussianFourier(500, scale=16.0)
    u = tf.constant([-2.0, 0.0, 0.5])
    result = layer(u).numpy()
    angle = 2 * np.pi * u.numpy()[:, None] * layer.w.numpy()
    np.testing.assert_allclose(result[:, :500], np.sin(angle), atol=1e-3)
    np.testing.assert_allclose(result[:, 500:], np.cos(angle), atol=1e-3)
    assert layer.trainable_variables == []
    assert len(layer.non_trainable_variables) == 1
    np.testing.assert_allclose(np.std(layer.w), 16.0, rtol=0.15)


@pytest.mark.parametrize("kind", ["positional", "fourier"])
def test_noise_embedding_stays_float32_under_bfloat16(kind):
    layer = layers.NoiseEmbedding(8, kind=kind, dtype="mixed_bfloat16")
    # Labels that bfloat16 cannot tell apart.
    result = layer(tf.constant([900.0, 901.0]))
    assert result.dtype == tf.float32
    assert result.shape == (2, 32)
    assert np.any(np.abs(result[0] - result[1]) > 1e-5)


def test_unknown_kind():
    with pytest.raises(ValueError, match="'positional', 'fourier'; got 'sine'"):
        layers.NoiseEmbedding(8, kind="sine")


X = tf.ones([4, 5, 3])


def test_dropout_s_rate_and_mean():
    y = layers.dropout(tf.ones([2000, 10]), 0.3, seed=1).numpy()
    np.testing.assert_allclose(np.mean(y == 0), 0.3, atol=0.015)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)


def test_no_seed_no_dropout():
    np.testing.assert_array_equal(layers.dropout(X, 0.5), X)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_mask_is_a_function_of_the_seed(jit_compile):
    # XLA's generator gives other numbers than TensorFlow's: compare like with like.
    @tf.function(jit_compile=jit_compile)
    def drop(seed):
        return layers.dropout(X, 0.5, seed=seed)

    first = drop(random.as_seed(7))
    np.testing.assert_array_equal(first, drop(random.as_seed(7)))
    assert np.any(first != drop(random.as_seed(8)))


def test_copies_share_their_dropout_masks():
    y = layers.dropout(tf.concat([X, X, X], 0), 0.5, seed=7, copies=3).numpy()
    np.testing.assert_array_equal(y, np.tile(layers.dropout(X, 0.5, seed=7), [3, 1, 1]))


def test_a_row_seed_gives_the_rows_of_the_global_batch():
    whole = layers.dropout(X, 0.5, seed=7)
    part = layers.dropout(X[:2], 0.5, seed=random.at_row(7, 2))
    np.testing.assert_array_equal(part, whole[2:])


def test_the_batch_must_hold_whole_copies():
    with pytest.raises(ValueError, match="copies=3"):
        layers.dropout(X, 0.5, seed=7, copies=3)
