"""The noise label's embeddings."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import layers


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
