"""What each registered network keeps: its call, copies, precision, derivatives, description."""

import json

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.networks import deserialize, serialize

_NCSNPP = {"num_features": 8, "channel_multipliers": (1,), "num_res_blocks": 1, "init_scale": 1.0}
SMALL = {
    "MLP": ("MLP", {"width": 8, "depth": 1}, (3,)),
    "NCSNpp": ("NCSNpp", _NCSNPP | {"dropout": 0.2}, (4, 4, 2)),
    "NCSNpp, magnitude-preserving": (
        "NCSNpp",
        _NCSNPP | {"dropout": 0.2, "resblock": "magnitude_preserving"},
        (4, 4, 2),
    ),
    "DiT": ("DiT", {"width": 8, "depth": 1, "num_heads": 2, "dropout": 0.2}, (4, 4, 2)),
}
OPTIONS = {"num_classes": 3, "condition_size": 2, "condition_channels": 2, "augmentation_size": 4}


def made(case, **options):
    """A network of random weights, four examples, and two labels twice."""
    name, given, shape = SMALL[case]
    network = lcss_tf.NETWORKS[name](**given | options)
    network.build((None, *shape))
    random = np.random.default_rng(0)
    for weight in network.trainable_variables:
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    x = tf.constant(random.normal(size=(4, *shape)), tf.float32)
    return network, x, tf.constant([0.5, 20.0, 0.5, 20.0])


def test_every_network_is_here():
    ours = {n for n, part in lcss_tf.NETWORKS.items() if part.__module__.startswith("lcss_tf.")}
    assert {name for name, *_ in SMALL.values()} == ours


@pytest.mark.parametrize("case", SMALL)
def test_it_is_a_pure_function_whose_copies_share_what_is_random(case):
    network, x, cond = made(case)
    y = network(x, cond)
    assert (y.shape, y.dtype) == (x.shape, tf.float32)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(network(x, cond), y)
    np.testing.assert_allclose(network(x[:1], cond[:1]), y[:1], rtol=1e-4, atol=1e-4)
    seeded = network(x, cond, seed=3)
    assert (np.abs(seeded - y).max() > 1e-3) == network.stochastic
    twice = tf.concat([x[:2], x[:2]], 0)
    parts = tf.split(network(twice, cond, seed=3, copies=2), 2)
    np.testing.assert_allclose(parts[0], parts[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow if "NCSN" in c else ()) for c in SMALL]
)
def test_xla_gives_its_value_and_two_derivatives(case):
    """As losses that differentiate the score take them."""
    network, x, cond = made(case)
    v = tf.reverse(x, [0])

    def product_and_gradient(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = network(x, cond)
            product = inner.gradient(y, x, output_gradients=v)
            loss = tf.reduce_sum(product * v)
        return y, product, outer.gradient(loss, x)

    compiled = tf.function(product_and_gradient, jit_compile=True, autograph=False)(x)
    for found, expected in zip(compiled, product_and_gradient(x), strict=True):
        scale = np.abs(expected).max()
        assert scale > 1e-3
        np.testing.assert_allclose(found, expected, atol=1e-4 * scale)


@pytest.mark.parametrize("case", SMALL)
def test_mixed_precision_gives_float32_near_the_exact(case):
    network, x, cond = made(case)
    mixed, *_ = made(case, dtype="mixed_bfloat16")
    mixed.set_weights(network.get_weights())
    y, expected = mixed(x, cond), network(x, cond)
    assert y.dtype == tf.float32
    assert {w.dtype for w in mixed.weights} == {"float32"}
    assert 1e-5 < np.linalg.norm(y - expected) / np.linalg.norm(expected) < 0.05


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("case", SMALL)
def test_its_description_makes_it_again_with_each_kind_of_condition(case, option):
    if option not in lcss_tf.NETWORKS[SMALL[case][0]]().get_config():
        pytest.skip("it takes no such condition")
    network, x, cond = made(case, **{option: OPTIONS[option]})
    again = deserialize(json.loads(json.dumps(serialize(network))))
    again.set_weights(network.get_weights())
    told = {
        "num_classes": np.array([0, 1, 2, 3]),
        "condition_size": x.numpy().reshape(4, -1)[:, :2],
        "condition_channels": x[..., :2],
        "augmentation_size": x.numpy().reshape(4, -1)[:, :4],
    }[option]
    name = "augmentation" if option == "augmentation_size" else "condition"
    y = again(x, cond, **{name: told})
    np.testing.assert_array_equal(y, network(x, cond, **{name: told}))
    assert np.abs(y - network(x, cond)).max() > 1e-3
