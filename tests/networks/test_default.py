"""The network chosen by the shape of the examples."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.networks import MLP, NCSNpp, default_network

SHAPES = [(2,), (64,), (8, 8, 1), (28, 28, 1), (32, 32, 3), (7, 7, 1), (100, 2), (8, 8, 8, 1)]
FEW = [(2,), (8, 8, 1), (100, 2), (8, 8, 8, 1)]


@pytest.mark.parametrize(
    "shape",
    [s if s in FEW else pytest.param(s, marks=pytest.mark.slow) for s in SHAPES],
    ids=str,
)
def test_it_takes_examples_of_the_shape(shape):
    network = default_network(shape, num_classes=3)
    network.build((None, *shape))
    assert isinstance(network, MLP if len(shape) == 1 else NCSNpp)
    spec = tf.TensorSpec((2, *shape))
    traced = tf.function(lambda x, cond, labels: network(x, cond, condition=labels))
    traced = traced.get_concrete_function(spec, tf.TensorSpec([2]), tf.TensorSpec([2], tf.int32))
    assert traced.output_shapes == (2, *shape)
    if len(shape) > 1:
        halved = len(network.channel_multipliers) - 1
        coarsest = [side / 2**halved for side in shape[:-1]]
        assert all(side == int(side) and side >= 4 for side in coarsest)
        # No further level would fit.
        assert any(side % 2 or side < 8 for side in coarsest)


@pytest.mark.slow
def test_its_size_follows_the_data():
    sizes = []
    for shape in SHAPES:
        network = default_network(shape)
        network.build((None, *shape))
        sizes.append(network.count_params())
    sizes = dict(zip(SHAPES, sizes, strict=True))
    assert sizes[(2,)] < sizes[(64,)] < 1e6
    assert sizes[(7, 7, 1)] < sizes[(8, 8, 1)] < 3e5
    assert sizes[(8, 8, 1)] < sizes[(28, 28, 1)] < sizes[(32, 32, 3)] < 4e6


def test_the_embedding_can_be_that_of_noise_levels():
    for shape in ((3,), (8, 8, 1)):
        assert default_network(shape, embedding="fourier").embedding == "fourier"
        assert default_network(shape).embedding == "positional"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), r"got \(\)"),
        ((2, 2, 2, 2, 1), "1 to 3 spatial axes"),
        ((None, 3), "all sizes known"),
        ((0,), "positive"),
        ((101, 101, 3), "can be halved 0 times only.*Pad or crop"),
    ],
)
def test_shapes_that_no_network_takes(shape, message):
    with pytest.raises(ValueError, match=message):
        default_network(shape)


@pytest.mark.slow
def test_it_learns_to_denoise_small_images():
    """A few hundred steps on 8×8 images: the noise is predicted far better than by 0."""
    keras.utils.set_random_seed(0)
    network = default_network((8, 8, 1))
    network.build((None, 8, 8, 1))
    optimizer = keras.optimizers.Adam(2e-3)
    optimizer.build(network.trainable_variables)
    stripes = np.sign(np.sin(np.arange(8) * np.pi / 2 + 0.1))[:, None] * np.ones(8)
    x0 = tf.constant(np.stack([stripes, stripes.T]), tf.float32)[..., None]

    @tf.function
    def loss_and_gradients(seed):
        x = tf.repeat(x0, 16, axis=0)
        noise = random.normal(seed, x.shape)
        with tf.GradientTape() as tape:
            found = network(x + noise, tf.fill([32], 500.0))
            loss = tf.reduce_mean((found - noise) ** 2)
        return loss, tape.gradient(loss, [v.value for v in network.trainable_variables])

    update = tf.function(lambda g: optimizer.apply(g, network.trainable_variables))
    losses = []
    for i in range(200):
        loss, gradients = loss_and_gradients(random.as_seed(i))
        update(gradients)
        losses.append(float(loss))
    assert np.mean(losses[-20:]) < 0.2 < 0.8 < losses[0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: lcss_tf.networks.MLP(widht=3), "MLP has no argument 'widht'. Did you mean width?"),
        (lambda: lcss_tf.networks.NCSNpp(num_feature=3), "Did you mean num_features?"),
        (lambda: lcss_tf.networks.DiT(dept=2), "Did you mean depth?"),
        (lambda: lcss_tf.networks.DiT(frobnicate=2), "Its arguments: patch_size, width"),
    ],
)
def test_an_unknown_argument_is_named(make, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        make()
    assert lcss_tf.networks.MLP(name="mine", dtype="float32").name == "mine"
