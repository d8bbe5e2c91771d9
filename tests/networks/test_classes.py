"""Class-conditional networks: the null class, shared copies, the configuration."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf

NETWORKS = {
    "NCSNpp": (
        {"num_features": 4, "channel_multipliers": (1, 1), "num_res_blocks": 1, "init_scale": 1.0},
        (4, 4, 1),
    ),
    "MLP": ({"width": 8, "depth": 1}, (3,)),
    "DiT": ({"width": 8, "depth": 1, "num_heads": 2}, (4, 4, 1)),
}


def made(name, **options):
    given, shape = NETWORKS[name]
    network = lcss_tf.NETWORKS[name](**given, **options)
    network.build((None, *shape))
    random = np.random.default_rng(0)
    for weight in network.trainable_variables:
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    return network, random.normal(size=(6, *shape)).astype(np.float32), np.ones(6, np.float32)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_labels_matter_and_none_is_the_null_class(name):
    network, x, cond = made(name, num_classes=3)
    by_label = [network(x, cond, condition=np.full(6, label)) for label in range(4)]
    for i in range(4):
        for j in range(i):
            assert np.abs(by_label[i] - by_label[j]).max() > 1e-3
    np.testing.assert_allclose(network(x, cond), by_label[3], rtol=1e-6)
    mixed = network(x, cond, condition=np.array([0, 1, 2, 3, 0, 1]))
    np.testing.assert_allclose(mixed[2], by_label[2][2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_copies_share_their_labels(name):
    network, x, cond = made(name, num_classes=3)
    labels = np.array([0, 1, 2])
    stacked = network(x, cond, copies=2, condition=labels)
    np.testing.assert_allclose(
        stacked, network(x, cond, condition=np.tile(labels, 2)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_classes_begin_as_no_classes(name):
    """An untrained class changes nothing: one may be added to a trained network."""
    given, shape = NETWORKS[name]
    network = lcss_tf.NETWORKS[name](**given, num_classes=2)
    network.build((None, *shape))
    x, cond = tf.ones((2, *shape)), tf.ones(2)
    np.testing.assert_array_equal(network(x, cond, condition=np.array([0, 1])), network(x, cond))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_configuration_keeps_the_classes(name):
    network, x, cond = made(name, num_classes=3)
    again = type(network).from_config(network.get_config())
    again.build((None, *x.shape[1:]))
    again.set_weights(network.get_weights())
    labels = np.array([0, 1, 2, 3, 0, 1])
    np.testing.assert_array_equal(
        again(x, cond, condition=labels), network(x, cond, condition=labels)
    )


def test_errors_say_what_to_do():
    network, x, cond = made("MLP")
    with pytest.raises(ValueError, match="takes no condition, and got one"):
        network(x, cond, condition=np.zeros(6, int))
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        made("MLP", num_classes=0)
    with pytest.raises(ValueError, match="conditional=True"):
        made("NCSNpp", num_classes=2, conditional=False)
