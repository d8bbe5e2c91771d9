"""The network for vectors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import random
from lcss_tf.networks import MLP
from lcss_tf.registry import NETWORKS


@pytest.mark.parametrize("embedding", ["positional", "fourier"])
def test_begins_at_zero(embedding):
    network = NETWORKS["MLP"](embedding=embedding)
    y = network(tf.random.stateless_normal([5, 3], [0, 1]), tf.linspace(0.01, 999.0, 5))
    np.testing.assert_array_equal(y, np.zeros([5, 3]))
    assert not network.stochastic


@pytest.mark.slow
@pytest.mark.parametrize(
    ("embedding", "labels"),
    [("positional", (0.0, 999.0)), pytest.param("fourier", (0.01, 1348.0), marks=pytest.mark.slow)],
)
def test_fits_a_function_of_both_arguments(embedding, labels):
    keras.utils.set_random_seed(0)
    network = MLP(width=64, depth=2, embedding=embedding)
    optimizer = keras.optimizers.Adam(3e-3)
    low, high = labels
    x = tf.random.stateless_normal([512, 2], [0, 1])
    u = tf.random.stateless_uniform([512], [0, 2])
    cond = low + (high - low) * u
    if embedding == "fourier":
        cond = low * (high / low) ** u
    target = tf.sin(3.0 * x) * (2.0 * u[:, None] - 1.0)
    network(x, cond)

    @tf.function
    def loss_and_gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network(x, cond) - target) ** 2)
        return loss, tape.gradient(loss, network.trainable_variables)

    optimizer.build(network.trainable_variables)
    step = tf.function(lambda g: optimizer.apply(g, network.trainable_variables))
    losses = []
    for _ in range(200):
        loss, gradients = loss_and_gradients()
        step(gradients)
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]


def test_config_round_trip():
    network = MLP(width=16, depth=2, embedding_features=8, embedding="fourier", fourier_scale=2.0)
    again = MLP.from_config(network.get_config())
    assert again.get_config() == network.get_config()
    x, cond = tf.ones([2, 3]), tf.ones([2])
    network(x, cond)
    again(x, cond)
    assert [w.shape for w in again.weights] == [w.shape for w in network.weights]


def test_seed_and_copies_change_nothing():
    network = MLP(width=16)
    x, cond = random.normal(1, [6, 3]), tf.tile([10.0, 500.0], [3])
    network(x, cond)
    network.last.kernel.assign(random.normal(2, [16, 3]))
    stacked = network(x, cond, seed=1, copies=3)  # three copies of the same two labels
    np.testing.assert_allclose(stacked, network(x, cond), rtol=1e-5, atol=1e-5)


def test_mixed_policy_gives_float32():
    network = MLP(width=16, dtype="mixed_bfloat16")
    assert network(tf.ones([2, 3]), tf.ones([2])).dtype == tf.float32
    assert network.first.compute_dtype == "bfloat16"


def test_errors():
    with pytest.raises(ValueError, match="use NCSNpp"):
        MLP()(tf.ones([2, 4, 4, 1]), tf.ones([2]))
    network = MLP(width=8)
    network(tf.ones([2, 3]), tf.ones([2]))
    with pytest.raises(ValueError, match="built for x"):
        network(tf.ones([2, 4]), tf.ones([2]))
    with pytest.raises(ValueError, match="embedding must be one of"):
        MLP(embedding="sine")
