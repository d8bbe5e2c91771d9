"""Blocks: shapes, initial values, configs, precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.networks import blocks, dit, layers, magnitude, normalization, resample

X = tf.random.stateless_normal([2, 4, 6, 8], [0, 1])
E = tf.random.stateless_normal([2, 5], [0, 2])

LAYERS = [
    (blocks.ResidualBlock(12, resample="up", dropout=0.2, fir_kernel=(1, 3, 3, 1)), (X, E)),
    (blocks.ResidualBlock(resample="down", skip_rescale=False), (X, E)),
    (blocks.DDPMResidualBlock(12, init_scale=0.5), (X, E)),
    (blocks.AttentionBlock(skip_rescale=False, init_scale=1.0), (X,)),
    (blocks.Combine("cat"), (X[..., :3], X)),
    (blocks.OutputHead(3, scale=0.5), (X,)),
    (resample.UpsampleConv(5, fir_kernel=(1, 3, 3, 1)), (X,)),
    (resample.DownsampleConv(), (X,)),
    (layers.Conv(4, kernel_size=1, strides=2, padding="valid", scale=0.1), (X,)),
    (normalization.GroupNorm(epsilon=1e-5), (X,)),
    (layers.GaussianFourier(4, scale=3.0), (E[:, 0],)),
    (dit.TransformerBlock(2, mlp_ratio=1.5, dropout=0.1), (X[:, 0], E)),
    (magnitude.MagnitudeBlock(12, resample="up", dropout=0.2), (X, E)),
    (magnitude.MagnitudeEncoderBlock(resample="down", fir_kernel=(1, 3, 3, 1)), (X, E)),
    (magnitude.MagnitudeAttention(), (X,)),
    (magnitude.MagnitudeConv(5, kernel_size=1), (X,)),
    (magnitude.MagnitudeInput(5), (X,)),
    (magnitude.MagnitudeHead(3, scale=0.5), (X,)),
    (magnitude.MagnitudeEmbedding(4, units=7, kind="fourier", fourier_scale=2.0), (tf.ones([2]),)),
    (layers.NoiseEmbedding(4, units=7, kind="fourier", fourier_scale=2.0), (tf.ones([2]),)),
]


@pytest.mark.parametrize(("layer", "inputs"), LAYERS, ids=lambda v: getattr(v, "name", ""))
def test_config_and_weights_reproduce_the_layer(layer, inputs):
    expected = layer(*inputs)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    again(*inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(*inputs), expected)
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("resample", "size"), [("none", 4), ("up", 8), ("down", 2)])
def test_residual_block_shapes(rank, resample, size):
    block = blocks.ResidualBlock(6, resample=resample, fir_kernel=(1, 3, 3, 1))
    y = block(tf.ones([2, *[4] * rank, 8]), E)
    assert y.shape == (2, *[size] * rank, 6)


def test_blocks_begin_as_the_rescaled_identity():
    for block in (blocks.ResidualBlock(), blocks.DDPMResidualBlock(), blocks.AttentionBlock()):
        np.testing.assert_allclose(block(X), X / np.sqrt(2.0), atol=1e-4)


def test_shortcuts_begin_at_the_scales_of_the_reference():
    def bound(block):
        block(X, E)
        return np.abs(block.shortcut.kernel).max() / np.sqrt(3.0 / 100)

    np.testing.assert_allclose(bound(blocks.ResidualBlock(192)), 1.0, atol=0.02)
    np.testing.assert_allclose(bound(blocks.DDPMResidualBlock(192)), np.sqrt(0.1), atol=0.02)


def test_convolutions_are_fan_average_uniform():
    conv = layers.Conv(56)
    conv(X)
    bound = np.sqrt(3.0 / (9 * (8 + 56) / 2))
    kernel = conv.kernel.numpy()
    np.testing.assert_allclose(np.abs(kernel).max(), bound, rtol=0.01)
    np.testing.assert_allclose(np.var(kernel), bound**2 / 3, rtol=0.05)


def test_attention_is_softmax_of_inner_products():
    block = blocks.AttentionBlock(init_scale=1.0, skip_rescale=False)
    y = block(X)
    h = block.norm(X).numpy().reshape(2, 24, 8)
    q, k, v = (h @ layer.kernel.numpy() for layer in (block.query, block.key, block.value))
    logits = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(8))
    weights = logits / logits.sum(-1, keepdims=True)
    expected = X.numpy() + (weights @ v @ block.out.kernel.numpy()).reshape(X.shape)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    "block", [blocks.ResidualBlock(12, resample="down"), blocks.AttentionBlock()]
)
def test_mixed_policy_computes_in_bfloat16_and_keeps_float32_variables(block):
    config = {**block.get_config(), "dtype": "mixed_bfloat16", "init_scale": 1.0}
    mixed = type(block).from_config(config)
    exact = type(block).from_config({**config, "dtype": "float32"})
    inputs = (X, E)[: 2 if "resample" in config else 1]
    exact(*inputs)
    y = mixed(*[tf.cast(value, tf.bfloat16) for value in inputs])
    mixed.set_weights(exact.get_weights())
    y = mixed(*[tf.cast(value, tf.bfloat16) for value in inputs])
    assert y.dtype == tf.bfloat16
    assert {keras.backend.standardize_dtype(w.dtype) for w in mixed.weights} == {"float32"}
    np.testing.assert_allclose(tf.cast(y, tf.float32), exact(*inputs), atol=0.06)


def test_a_ddpm_block_does_not_resample():
    with pytest.raises(ValueError, match="UpsampleConv"):
        blocks.DDPMResidualBlock(8, resample="up")
