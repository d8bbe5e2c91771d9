"""NCSNpp on any number of axes, as a pure function, in any precision."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import random
from lcss_tf.networks import NCSNpp
from lcss_tf.registry import NETWORKS

SMALL = {
    "num_features": 8,
    "channel_multipliers": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
    "dropout": 0.0,
    "init_scale": 1.0,
}
NCSN = {
    **SMALL,
    "embedding": "fourier",
    "fir": True,
    "progressive_input": "residual",
    "scale_by_sigma": True,
    "centered": False,
}


def inputs(shape, seed=0):
    x = tf.random.stateless_normal(shape, [seed, 1])
    return x, tf.linspace(0.5, 40.0, shape[0])


def test_is_registered():
    assert NETWORKS["NCSNpp"] is NCSNpp


@pytest.mark.parametrize("shape", [(2, 8, 1), (2, 4, 8, 5), (2, 4, 4, 8, 2)])
@pytest.mark.parametrize("options", [SMALL, NCSN], ids=["ddpmpp", "ncsnpp"])
def test_any_rank_channels_and_sides_with_finite_gradients(shape, options):
    network = NCSNpp(**options)
    network.build((None, *shape[1:]))
    x, cond = inputs(shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = network(x, cond)
        loss = tf.reduce_sum(y**2)
    grads = tape.gradient(loss, [x, *[v.value for v in network.trainable_variables]])
    assert y.shape == shape
    assert all(np.all(np.isfinite(g)) for g in grads)
    assert np.linalg.norm(grads[0]) > 0
    names = [v.path for v in network.trainable_variables]
    dead = [n for n, g in zip(names, grads[1:], strict=True) if not np.any(g)]
    # The keys' biases shift all logits of a query alike: the softmax does not see them.
    assert all("key/bias" in name for name in dead)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("progressive_output", "progressive_input", "resblock", "fir"),
    [
        pytest.param(*options, marks=pytest.mark.slow if "ddpm" in options else ())
        for options in itertools.product(
            ["none", "output_skip", "residual"],
            ["none", "input_skip", "residual"],
            ["biggan", "ddpm"],
            [False, True],
        )
    ],
)
def test_every_configuration_runs(progressive_output, progressive_input, resblock, fir):
    network = NCSNpp(
        num_features=4,
        channel_multipliers=(1, 2),
        num_res_blocks=1,
        init_scale=1.0,
        progressive_output=progressive_output,
        progressive_input=progressive_input,
        resblock=resblock,
        fir=fir,
        combine="cat",
        conditional=not fir,
    )
    y = network(*inputs((1, 4, 3)))
    assert y.shape == (1, 4, 3)
    assert np.all(np.isfinite(y))
    assert np.any(y)


def test_begins_at_zero_by_default():
    network = NCSNpp(**{**SMALL, "init_scale": 0.0})
    assert np.max(np.abs(network(*inputs((2, 8, 8, 3))))) < 1e-3


def test_output_depends_on_the_label_unless_unconditional():
    x, _ = inputs((1, 8, 8, 1))
    for conditional in (True, False):
        network = NCSNpp(**SMALL, conditional=conditional)
        outputs = [network(x, tf.constant([t])) for t in (10.0, 500.0)]
        assert np.allclose(*outputs, atol=1e-6) != conditional


def test_uncentred_data_is_mapped_and_sigma_divides():
    x, sigma = inputs((2, 8, 8, 3))
    plain = NCSNpp(**{**NCSN, "scale_by_sigma": False, "centered": True})
    expected = plain(2.0 * x - 1.0, sigma) / tf.reshape(sigma, [-1, 1, 1, 1])
    network = NCSNpp(**NCSN)
    network(x, sigma)
    network.set_weights(plain.get_weights())
    np.testing.assert_allclose(network(x, sigma), expected, atol=1e-6)


def test_examples_do_not_influence_each_other():
    network = NCSNpp(**SMALL)
    x, cond = inputs((3, 8, 8, 1))
    together = network(x, cond)
    np.testing.assert_allclose(together[1:2], network(x[1:2], cond[1:2]), atol=1e-5)


@pytest.fixture(scope="module")
def dropping():
    network = NCSNpp(**{**SMALL, "dropout": 0.3})
    x, cond = inputs((8, 4, 4, 1))
    network(x, cond)
    return network, x, cond


def test_stochastic_says_whether_a_seed_matters(dropping):
    assert dropping[0].stochastic
    network = NCSNpp(**SMALL)
    assert not network.stochastic
    x, cond = inputs((2, 8, 8, 1))
    np.testing.assert_array_equal(network(x, cond, seed=3), network(x, cond))


def test_dropout_is_a_function_of_the_seed(dropping):
    network, x, cond = dropping
    a = network(x, cond, seed=1)
    np.testing.assert_array_equal(a, network(x, cond, seed=random.as_seed(1)))
    assert np.abs(a - network(x, cond, seed=2)).max() > 1e-2


@pytest.mark.slow
def test_compiled_by_xla_copies_and_rows_hold_too():
    network = NCSNpp(
        num_features=4, channel_multipliers=(1,), num_res_blocks=1, dropout=0.3, init_scale=1.0
    )
    x, cond = inputs((8, 2, 1))
    network.build((None, 2, 1))

    @tf.function(jit_compile=True)
    def outputs(x, cond, seed):
        stacked = [tf.concat([v, v], 0) for v in (x, cond)]
        return (
            network(*stacked, seed=seed, copies=2),
            network(x[4:], cond[4:], seed=random.at_row(seed, 4)),
        )

    whole, half = outputs(x, cond, random.as_seed(1))
    np.testing.assert_allclose(whole[:8], whole[8:], atol=1e-5)
    np.testing.assert_allclose(half, whole[4:8], atol=1e-5)
    assert np.abs(whole[:8] - network(x, cond)).max() > 1e-2


def test_without_a_seed_there_is_no_dropout(dropping):
    network, x, cond = dropping
    np.testing.assert_array_equal(network(x, cond), network(x, cond))
    still = NCSNpp(**SMALL)
    still(x, cond)
    still.set_weights(network.get_weights())
    np.testing.assert_array_equal(network(x, cond, training=True), still(x, cond))


def test_blocks_have_masks_of_their_own(dropping):
    network, x, cond = dropping
    seeds = []

    def record(block):
        call = block.call

        def recording(*args, seed=None, **kwargs):
            seeds.append(tuple(np.asarray(seed)))
            return call(*args, seed=seed, **kwargs)

        return recording

    blocks = [
        block
        for block in network._flatten_layers()
        if hasattr(block, "norm_0")  # the residual blocks
    ]
    for block in blocks:
        block.call = record(block)
    try:
        network(x, cond, seed=5)
    finally:
        for block in blocks:
            del block.call
    assert len(seeds) == len(blocks) == 10
    assert len(set(seeds)) == len(blocks)


def test_copies_share_their_masks(dropping):
    network, x, cond = dropping
    stacked = network(tf.concat([x, x], 0), tf.concat([cond, cond], 0), seed=4, copies=2)
    single = network(x, cond, seed=4)
    np.testing.assert_allclose(stacked, tf.concat([single, single], 0), atol=1e-5)


def test_half_a_batch_at_its_row_equals_that_half(dropping):
    network, x, cond = dropping
    whole = network(x, cond, seed=4)
    half = network(x[4:], cond[4:], seed=random.at_row(4, 4))
    np.testing.assert_allclose(half, whole[4:], atol=1e-5)


def test_config_round_trip():
    network = NCSNpp(**NCSN, name="named")
    x, cond = inputs((2, 8, 8, 3))
    y = network(x, cond)
    again = NCSNpp.from_config(network.get_config())
    again(x, cond)
    assert again.get_config() == network.get_config()
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(again(x, cond), y)


@pytest.mark.parametrize("output", ["none", "output_skip", "residual"])
def test_mixed_policy_gives_float32(output):
    options = {**SMALL, "progressive_output": output, "progressive_input": "input_skip"}
    mixed = NCSNpp(**options, dtype="mixed_bfloat16")
    exact = NCSNpp(**options)
    x, cond = inputs((2, 8, 8, 3))
    expected = exact(x, cond)
    mixed(x, cond)
    mixed.set_weights(exact.get_weights())
    y = mixed(x, cond)
    assert y.dtype == tf.float32
    assert mixed.input_conv.compute_dtype == "bfloat16"
    error = np.linalg.norm(y - expected) / np.linalg.norm(expected)
    # Close, yet not equal: some of it did run in bfloat16.
    assert 1e-5 < error < 0.05


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 9, 8, 3), r"multiples of 2; got \(9, 8\)"),
        ((2, 0, 8, 3), "multiples of 2"),
        ((2, 3), "use the MLP"),
        ((2, None, 8, 3), "known size"),
    ],
)
def test_sizes_that_do_not_fit(shape, message):
    with pytest.raises(ValueError, match=message):
        NCSNpp(**SMALL).build(shape)


def test_another_number_of_channels_after_building(dropping):
    with pytest.raises(ValueError, match="built for x of shape"):
        dropping[0](*inputs((2, 4, 4, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": "sine"}, "embedding must be one of"),
        ({"resblock": "resnet"}, "resblock must be one of"),
        ({"progressive_input": "skip"}, "progressive_input must be one of"),
        ({"progressive_output": "skip"}, "progressive_output must be one of"),
        ({"combine": "mean"}, "combine must be one of"),
        ({"dropout": 1.0}, "rate in"),
        ({"scale_by_sigma": True}, "Set scale_by_sigma=False"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with pytest.raises(ValueError, match=message):
        NCSNpp(**options)
