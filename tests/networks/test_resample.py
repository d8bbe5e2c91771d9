"""FIR resampling against a dense-matrix reference, and the filterless forms."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.networks import resample

KERNELS = [(1, 3, 3, 1), (1, 2, 3), (1, 1), (2, 1, 5, 4, 1)]


def upfirdn(x, kernel, up, before, after):
    """Zeros inserted, padded, convolved (a true convolution): one axis, by definition."""
    z = np.zeros(up * len(x))
    z[::up] = x
    z = np.concatenate([np.zeros(before), z, np.zeros(after)])
    return np.convolve(z, np.asarray(kernel) / np.sum(kernel) * up, mode="valid")


@pytest.mark.parametrize("kernel", KERNELS)
def test_fir_upsample_is_upfirdn(kernel):
    x = np.random.default_rng(0).normal(size=8)
    spare = len(kernel) - 2
    expected = upfirdn(x, kernel, 2, (spare + 1) // 2 + 1, spare // 2)
    y = resample.fir_upsample(tf.constant(x[None, :, None], tf.float32), kernel)
    np.testing.assert_allclose(y[0, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_fir_downsample_is_upfirdn(kernel):
    x = np.random.default_rng(1).normal(size=8)
    spare = len(kernel) - 2
    expected = upfirdn(x, kernel, 1, (spare + 1) // 2, spare // 2)[::2]
    y = resample.fir_downsample(tf.constant(x[None, :, None], tf.float32), kernel)
    np.testing.assert_allclose(y[0, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_fir_is_separable(rank, direction):
    resampled = {"up": resample.fir_upsample, "down": resample.fir_downsample}[direction]
    factors = [np.random.default_rng(i).normal(size=4 + 2 * i) for i in range(rank)]
    x = factors[0]
    for factor in factors[1:]:
        x = x[..., None] * factor
    expected = 1.0
    for factor in factors:
        y = resampled(tf.constant(factor[None, :, None], tf.float32), (1, 3, 3, 1))
        expected = np.multiply.outer(expected, y.numpy()[0, :, 0])
    y = resampled(tf.constant(x[None, ..., None], tf.float32), (1, 3, 3, 1))
    np.testing.assert_allclose(y[0, ..., 0], expected, atol=1e-5)


def test_fir_is_the_depthwise_convolution():
    x = tf.random.stateless_normal([2, 8, 6, 3], [0, 1])
    taps = np.array([1, 3, 3, 1]) / 8
    kernel = np.tile(np.outer(taps, taps)[:, :, None, None], (1, 1, 3, 1)).astype(np.float32)
    pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
    down = tf.nn.depthwise_conv2d(x, kernel, [1, 2, 2, 1], pads)
    np.testing.assert_allclose(resample.fir_downsample(x, (1, 3, 3, 1)), down, atol=1e-6)
    up = tf.nn.depthwise_conv2d_backprop_input([2, 16, 12, 3], 4 * kernel, x, [1, 2, 2, 1], pads)
    np.testing.assert_allclose(resample.fir_upsample(x, (1, 3, 3, 1)), up, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_without_filter_nearest_and_average(rank):
    x = tf.random.stateless_normal([2, *[4] * rank, 3], [0, 1])
    up = resample.upsample(x)
    assert up.shape == (2, *[8] * rank, 3)
    for corner in itertools.product((0, 1), repeat=rank):
        part = up[(slice(None), *[slice(c, None, 2) for c in corner])]
        np.testing.assert_array_equal(part, x)
    np.testing.assert_allclose(resample.downsample(up), x, atol=1e-6)


def conv_by_definition(x, layer, before, after):
    """A correlation of one axis with the layer's weights, after padding."""
    x = np.pad(x, [(before, after), (0, 0)])
    kernel = layer.conv.kernel.numpy()
    rows = [np.einsum("kc,kcf->f", x[i : i + 3], kernel) for i in range(0, len(x) - 2)]
    return np.array(rows)


@pytest.mark.parametrize("kernel", KERNELS)
def test_upsample_conv_is_a_convolution_of_the_zero_filled_input_then_the_filter(kernel):
    x = np.random.default_rng(2).normal(size=[6, 2]).astype(np.float32)
    layer = resample.UpsampleConv(3, fir_kernel=kernel)
    y = layer(x[None])
    filled = np.zeros([11, 2], np.float32)
    filled[::2] = x
    h = conv_by_definition(filled, layer, 2, 2)  # [13, 3]
    spare = len(kernel) - 4
    before, after = (spare + 1) // 2 + 1, spare // 2 + 1
    padded = np.pad(h, [(max(before, 0), max(after, 0)), (0, 0)])
    padded = padded[max(-before, 0) : len(padded) - max(-after, 0)]
    taps = 2 * np.asarray(kernel) / np.sum(kernel)
    expected = np.stack([np.convolve(c, taps, "valid") for c in padded.T], axis=1)
    np.testing.assert_allclose(y[0], expected, atol=1e-5)


@pytest.mark.parametrize("kernel", [*KERNELS, None])
def test_downsample_conv_filters_then_convolves(kernel):
    x = np.random.default_rng(3).normal(size=[8, 2]).astype(np.float32)
    layer = resample.DownsampleConv(3, fir_kernel=kernel)
    y = layer(x[None])
    h = np.pad(x, [(0, 1), (0, 0)])
    if kernel:
        spare = len(kernel)
        h = np.stack([upfirdn(c, kernel, 1, (spare + 1) // 2, spare // 2) for c in x.T], axis=1)
    np.testing.assert_allclose(y[0], conv_by_definition(h, layer, 0, 0)[::2], atol=1e-5)


def test_the_batch_size_may_be_unknown():
    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 2])])
    def there_and_back(x):
        return resample.downsample(resample.upsample(x, (1, 3, 3, 1)), (1, 3, 3, 1))

    assert there_and_back(tf.ones([3, 4, 4, 2])).shape == (3, 4, 4, 2)
