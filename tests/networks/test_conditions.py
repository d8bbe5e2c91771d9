"""Networks that are told numbers or images: the null condition, copies, the configuration."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.conditioning import ConditionSpec, spec_of
from lcss_tf.errors import UsageError
from lcss_tf.networks import default_network
from lcss_tf.networks.conditions import ImageCondition

NCSNPP = {"num_features": 4, "channel_multipliers": (1, 1), "num_res_blocks": 1, "init_scale": 1.0}
DIT = {"width": 8, "depth": 1, "num_heads": 2}
CASES = {
    "MLP, a vector": ("MLP", {"width": 8, "depth": 1, "condition_size": 2}, (3,)),
    "NCSNpp, a vector": ("NCSNpp", NCSNPP | {"condition_size": 2}, (4, 1)),
    "1 axis": ("NCSNpp", NCSNPP | {"condition_channels": 2}, (4, 1)),
    "2 axes, pyramids": (
        "NCSNpp",
        NCSNPP | {"condition_channels": 3, "progressive_input": "residual"},
        (4, 4, 2),
    ),
    "2 axes, unconditional blocks": (
        "NCSNpp",
        NCSNPP | {"condition_channels": 1, "conditional": False, "progressive_input": "input_skip"},
        (4, 4, 1),
    ),
    "DiT, a vector": ("DiT", DIT | {"condition_size": 2}, (4, 1)),
    "DiT, an image": ("DiT", DIT | {"condition_channels": 3}, (4, 6, 2)),
    "3 axes": ("NCSNpp", NCSNPP | {"condition_channels": 1}, (2, 4, 4, 1)),
}


def made(case, moved=True):
    name, options, shape = CASES[case]
    network = lcss_tf.NETWORKS[name](**options)
    network.build((None, *shape))
    random = np.random.default_rng(0)
    for weight in network.trainable_variables if moved else ():
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    x = random.normal(size=(4, *shape)).astype(np.float32)
    condition = random.normal(size=(4, *spec_of(network).shape(shape))).astype(np.float32)
    return network, x, np.ones(4, np.float32), condition


@pytest.mark.parametrize("case", CASES)
def test_a_condition_matters_and_none_is_the_null_one(case):
    network, x, cond, condition = made(case)
    given, null = network(x, cond, condition=condition), network(x, cond)
    assert (np.abs(given - null).reshape(4, -1).max(axis=1) > 1e-3).all()
    nulls = spec_of(network).nulls(4, x.shape[1:])
    np.testing.assert_array_equal(network(x, cond, condition=nulls), null)
    mixed = condition.copy()
    mixed[1::2] = np.nan
    expected = np.where(np.arange(4).reshape(-1, *[1] * (x.ndim - 1)) % 2, null, given)
    found = network(x, cond, condition=mixed)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_copies_share_their_condition(case):
    network, x, cond, condition = made(case)
    stacked = network(x, cond, copies=2, condition=condition[:2])
    each = network(x, cond, condition=np.concatenate([condition[:2]] * 2))
    np.testing.assert_allclose(stacked, each, rtol=1e-4, atol=1e-5)


def test_a_null_condition_leaves_no_nan_in_gradients():
    """Not even of weights that are still zero, and under XLA."""
    network, x, cond, condition = made("MLP, a vector", moved=False)
    colours = ImageCondition(2)
    colours.build((None,))
    picture = np.ones((4, 3, 2), np.float32)
    condition[0] = picture[0] = np.nan

    @tf.function(jit_compile=True)
    def gradients(condition, picture):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((network(x, cond, condition=condition) - 1.0) ** 2)
            loss += tf.reduce_sum((colours(picture) - 1.0) ** 2)
        values = [v.value for v in (*network.trainable_variables, colours.null)]
        return tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    found = gradients(condition, picture)
    assert all(np.isfinite(g).all() for g in found)
    np.testing.assert_allclose(found[-1], [-6.0, -6.0])  # of one example's three places


def test_an_untrained_vector_changes_nothing():
    network, x, cond, condition = made("MLP, a vector", moved=False)
    np.testing.assert_array_equal(network(x, cond, condition=condition), network(x, cond))


@pytest.mark.parametrize("case", ["MLP, a vector", "DiT, an image", "3 axes"])
def test_the_configuration_keeps_the_condition(case):
    network, x, cond, condition = made(case)
    again = type(network).from_config(network.get_config())
    again.build((None, *x.shape[1:]))
    again.set_weights(network.get_weights())
    expected = network(x, cond, condition=condition)
    np.testing.assert_array_equal(again(x, cond, condition=condition), expected)


def test_default_networks_take_what_they_are_asked_for():
    assert spec_of(default_network((2,), condition_size=3)) == ConditionSpec("condition_size", 3)
    image = default_network((8, 8, 1), condition_channels=2)
    assert spec_of(image) == ConditionSpec("condition_channels", 2)
    assert spec_of(default_network((2,))) is None
    with pytest.raises(UsageError, match="needs examples with spatial axes; got.*(2,)"):
        default_network((2,), condition_channels=1)


@pytest.mark.parametrize(
    ("case", "shape", "message"),
    [
        (
            "MLP, a vector",
            (4, 3),
            r"\[N, 2\] \(condition_size = 2\); got float32 of shape \(4, 3\)",
        ),
        ("3 axes", (4, 2, 4, 2, 1), r"\[N, 2, 4, 4, 1\].*got float32 of shape \(4, 2, 4, 2, 1\)"),
    ],
)
def test_other_shapes_are_refused(case, shape, message):
    network, x, cond, _ = made(case, moved=False)
    with pytest.raises(UsageError, match=message):
        network(x, cond, condition=np.zeros(shape, np.float32))


def test_options_that_do_not_go_together():
    networks = lcss_tf.networks
    with pytest.raises(UsageError, match="one kind of condition; got num_classes = 2, condition_s"):
        networks.MLP(num_classes=2, condition_size=1)
    with pytest.raises(UsageError, match="condition_channels must be at least 1, or None; got 0"):
        networks.NCSNpp(condition_channels=0)
    with pytest.raises(UsageError, match="condition_size needs conditional=True"):
        networks.NCSNpp(condition_size=2, conditional=False)
