"""EDM2's layers: unit magnitude at every depth, filters of unit norm before and after training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.networks import NCSNpp
from lcss_tf.networks import magnitude as mp
from lcss_tf.networks.levels import FAMILIES
from lcss_tf.score import Moments, Score
from lcss_tf.training import Distribution, TrainState, TrainStep

NORMAL = tf.random.stateless_normal([4, 16, 16, 32], [0, 1])
SMALL = {
    "num_features": 8,
    "channel_multipliers": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
    "dropout": 0.0,
    "resblock": "magnitude_preserving",
}


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def inputs(shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 1]), tf.linspace(0.5, 400.0, shape[0])


def moved(network, shape, scale=0.3):
    """With weights that are all random, the gains too."""
    network.build((None, *shape))
    random = np.random.default_rng(0)
    for weight in network.trainable_variables:
        weight.assign(weight + scale * random.normal(size=weight.shape))
    return network


def test_silu_sum_and_pixel_norm_keep_the_mean_square():
    other = tf.random.stateless_normal(NORMAL.shape, [0, 2])
    assert rms(mp.magnitude_silu(NORMAL)) == pytest.approx(1, abs=0.01)
    for t in (0.1, 0.3, 0.5):
        assert rms(mp.magnitude_sum(NORMAL, other, t)) == pytest.approx(1, abs=0.01)
    places = np.sqrt(np.mean(np.square(mp.pixel_norm(7.0 * NORMAL)), axis=-1))
    np.testing.assert_allclose(places, 1, rtol=1e-5)


def test_joined_parts_contribute_alike_whatever_their_channels():
    few, many = NORMAL[..., :4], NORMAL[..., 4:]
    joined = mp.magnitude_cat([few, many]).numpy()
    assert rms(joined) == pytest.approx(1, abs=0.02)
    energies = [np.sum(part**2) for part in (joined[..., :4], joined[..., 4:])]
    assert energies[0] == pytest.approx(energies[1], rel=0.02)
    np.testing.assert_array_equal(mp.magnitude_cat([few]), few)


@pytest.mark.parametrize(("size", "shape"), [(1, (6, 5)), (3, (6, 9, 5)), (3, (6, 4, 4, 4, 5))])
def test_filters_have_norm_one_and_gradients_orthogonal_to_them(size, shape):
    conv = mp.MagnitudeConv(7, kernel_size=size)
    x = tf.random.stateless_normal(shape, [0, 1])
    conv.build(shape)
    with tf.GradientTape() as tape:
        y = conv(x)
        loss = tf.reduce_sum(tf.sin(y))
    gradient = tape.gradient(loss, [conv.kernel.value])[0].numpy().reshape(-1, 7)
    kernel = conv.kernel.numpy().reshape(-1, 7)
    along = np.sum(gradient * kernel, 0)
    assert np.all(np.abs(along) < 1e-3 * np.linalg.norm(gradient, axis=0) * len(kernel) ** 0.5)
    conv.kernel.assign(5.0 * conv.kernel)
    np.testing.assert_allclose(conv(x), y, rtol=1e-3, atol=1e-3)  # their length does not matter
    if size == 1:
        unit = kernel / np.linalg.norm(kernel, axis=0)
        np.testing.assert_allclose(y, x.numpy() @ unit, rtol=1e-3, atol=1e-3)


def test_activations_have_unit_magnitude_at_all_depths():
    """As the paper has it: at initialisation, of inputs of magnitude 1."""
    network = NCSNpp(
        **SMALL | {"num_features": 64, "num_res_blocks": 2, "attention_resolutions": ()},
        embedding="fourier",
    )
    x, _ = inputs((2, 32, 32, 3))
    cond = tf.constant([0.1, 10.0])
    keras.utils.set_random_seed(0)
    network.build((None, 32, 32, 3))
    found = {}

    def record(layer):
        call = layer.call

        def recording(*args, **kwargs):
            y = call(*args, **kwargs)
            found[layer.path] = rms(y)
            return y

        return recording

    family = FAMILIES["magnitude_preserving"]
    kinds = (family.down, family.up, family.input, family.embedding)
    layers = [v for v in network._flatten_layers() if type(v) in kinds]
    for layer in layers:
        layer.call = record(layer)
    y = network(x, cond)
    np.testing.assert_array_equal(y, np.zeros(y.shape))  # the gain of the output is 0
    assert len(found) == len(layers) == 16
    # Zeros beyond the border, and the attention, which is a mean, take a few percent.
    assert all(0.92 < value < 1.05 for value in found.values()), found


def reference_block(block, x, e, encodes):
    """The paper's block in NumPy for one tap: no shared code."""
    unit = lambda layer: (
        layer.kernel.numpy()
        / np.linalg.norm(layer.kernel.numpy().reshape(-1, layer.kernel.shape[-1]), axis=0)
    )
    silu = lambda u: u / (1 + np.exp(-u)) / 0.596

    def conv(layer, u):
        kernel, padded = unit(layer), np.pad(u, ((0, 0), (1, 1), (0, 0)))
        return sum(padded[:, k : k + u.shape[1]] @ kernel[k] for k in range(3))

    skip = (lambda u: u @ unit(block.shortcut)) if block.shortcut is not None else (lambda u: u)
    if encodes:
        x = skip(x)
        x = x / np.sqrt(np.mean(x**2, -1, keepdims=True))
    h = conv(block.conv_0, silu(x))
    h = silu(h * (1 + block.gain.numpy() * (e @ unit(block.noise)))[:, None])
    h = conv(block.conv_1, h)
    return (0.7 * (x if encodes else skip(x)) + 0.3 * h) / np.sqrt(0.7**2 + 0.3**2)


@pytest.mark.parametrize("features", [6, 4])
@pytest.mark.parametrize("encodes", [False, True])
def test_the_block_is_the_formula(encodes, features):
    block = (mp.MagnitudeEncoderBlock if encodes else mp.MagnitudeBlock)(features)
    x = tf.random.stateless_normal([2, 8, 6], [0, 1])
    e = tf.random.stateless_normal([2, 5], [0, 2])
    block(x, e)
    block.gain.assign(0.7)
    expected = reference_block(block, x.numpy(), e.numpy(), encodes)
    np.testing.assert_allclose(block(x, e), expected, rtol=2e-3, atol=2e-3)


def test_attention_is_that_of_normalised_vectors():
    block = mp.MagnitudeAttention()
    y = block(NORMAL[:1, :3, :4])
    x = NORMAL[0, :3, :4].numpy().reshape(12, 32)
    unit = lambda layer: layer.kernel.numpy() / np.linalg.norm(layer.kernel.numpy(), axis=0)
    normed = lambda u: u / np.sqrt(np.mean(u**2, -1, keepdims=True))
    q, k, v = map(normed, np.split(x @ unit(block.qkv), 3, axis=1))
    weights = np.exp(q @ k.T / np.sqrt(32))
    h = weights / weights.sum(1, keepdims=True) @ v @ unit(block.out)
    expected = (0.7 * x + 0.3 * h) / np.sqrt(0.7**2 + 0.3**2)
    np.testing.assert_allclose(tf.reshape(y, (12, 32)), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 8, 1), (2, 4, 8, 5), (2, 4, 4, 8, 2)], ids=str)
def test_any_rank_with_finite_gradients_for_all(shape):
    network = moved(NCSNpp(**SMALL), shape[1:])
    x, cond = inputs(shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(network(x, cond) ** 2)
    values = [v.value for v in network.trainable_variables]
    gradients = tape.gradient(loss, [x, *values])
    assert all(np.isfinite(g).all() and np.any(g) for g in gradients)
    again = NCSNpp.from_config(network.get_config())
    again.build((None, *shape[1:]))
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(again(x, cond), network(x, cond))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"num_classes": 3}, {"condition_channels": 2}], ids=str)
def test_conditions_copies_and_dropout(options):
    network = moved(NCSNpp(**SMALL | options, fir=True), (4, 4, 1))
    x, cond = inputs((4, 4, 4, 1))
    cond = tf.concat([cond[:2]] * 2, 0)
    told = np.array([0, 2]) if "num_classes" in options else NORMAL[:2, :4, :4, :2]
    stacked = network(x, cond, copies=2, condition=told)
    each = network(x, cond, condition=np.concatenate([told] * 2))
    np.testing.assert_allclose(stacked, each, rtol=1e-4, atol=1e-4)
    assert np.abs(each - network(x, cond)).max() > 1e-3
    dropping = NCSNpp.from_config(network.get_config() | {"dropout": 0.3})
    dropping.build((None, 4, 4, 1))
    dropping.set_weights(network.get_weights())
    one = dropping(x, cond, seed=1)
    np.testing.assert_array_equal(one, dropping(x, cond, seed=1))
    assert np.abs(one - network(x, cond)).max() > 1e-2


def test_mixed_policy_gives_float32():
    exact = moved(NCSNpp(**SMALL), (8, 8, 1))
    mixed = moved(NCSNpp(**SMALL, dtype="mixed_bfloat16"), (8, 8, 1))
    mixed.set_weights(exact.get_weights())
    x, cond = inputs((2, 8, 8, 1))
    y, expected = mixed(x, cond), exact(x, cond)
    assert y.dtype == tf.float32
    assert mixed.input_conv.compute_dtype == "bfloat16"
    error = np.linalg.norm(y - expected) / np.linalg.norm(expected)
    assert 1e-5 < error < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_training_forces_the_norms_back_after_each_step(replicas):
    network = NCSNpp(**SMALL | {"channel_multipliers": (1,), "attention_resolutions": ()})
    score = Score(lcss.sdes.VPSDE(), Moments())
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 1)).astype(np.float32)
    score.preconditioning.prepare(score.sde, tf.constant(x))
    distribution = Distribution(replicas)
    state = TrainState(score, network, (4, 4, 1), distribution)
    state.attach(keras.optimizers.Adam(0.05))
    step = TrainStep(state, lcss.losses.LCSSLoss(), 8, seed=0, jit_compile=False)
    batches = distribution.batches(
        lambda shards: tf.data.Dataset.from_tensor_slices(
            np.stack([x[first : first + rows] for first, rows in shards])
        ).repeat(),
        8,
    )
    before = network.get_weights()
    for i in range(4):
        step(next(batches), i)
    kernels = [w for w in network.trainable_variables if w.path.endswith("kernel")]
    assert len(kernels) > 5
    for kernel in kernels:
        flat = kernel.numpy().reshape(-1, kernel.shape[-1])
        np.testing.assert_allclose(np.sqrt(np.mean(flat**2, axis=0)), 1, rtol=1e-3)
    changes = [np.abs(a - b).max() for a, b in zip(before, network.get_weights(), strict=True)]
    assert np.median(changes) > 0.02


def test_pyramids_are_refused():
    with pytest.raises(ValueError, match="goes without pyramids.*'residual'"):
        NCSNpp(resblock="magnitude_preserving", progressive_input="residual")
