"""Pieces: the same numbers as one program and as a graph, at every order of derivative."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random, xla
from lcss_tf.networks.normalization import normalised

OPTIONS = {
    "one level": {"channel_multipliers": (1,), "attention_resolutions": (8,), "dropout": 0.1},
    "ddpmpp": {"dropout": 0.1},
    "ncsnpp": {
        "dropout": 0.1,
        "embedding": "fourier",
        "fir": True,
        "progressive_input": "residual",
        "progressive_output": "output_skip",
    },
    "ddpm": {"dropout": 0.0, "resblock": "ddpm", "fir": True, "progressive_output": "residual"},
}


def network_of(**options):
    levels = {"channel_multipliers": (1, 2), "attention_resolutions": (4,)}
    network = lcss_tf.NETWORKS["NCSNpp"](
        num_features=8, num_res_blocks=1, init_scale=1.0, **(levels | options)
    )
    network.build((None, 8, 8, 2))
    generator = np.random.default_rng(0)
    for weight in network.trainable_variables:
        weight.assign(weight + 0.1 * generator.normal(size=weight.shape))
    return network


def loss_and_gradients(network, in_pieces, second_order):
    """A loss of the output, or of its product with the input's gradient, and its gradients."""
    x, v = (random.normal(seed, (3, 8, 8, 2)) for seed in (1, 2))
    cond = tf.constant([0.3, 1.0, 20.0])

    def compute():
        with xla.in_pieces(in_pieces), tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = network(x, cond, seed=5)
            loss = tf.reduce_sum(tf.sin(y))
            if second_order:
                product = inner.gradient(y, x, output_gradients=v)
                loss += tf.reduce_sum(tf.square(product))
        sources = [x, *(w.value for w in network.trainable_variables)]
        return loss, outer.gradient(loss, sources)

    loss, gradients = tf.function(compute, autograph=False)()
    return float(loss), np.concatenate([g.numpy().ravel() for g in gradients])


_CASES = [
    pytest.param(
        name, second, marks=() if (name, second) == ("one level", False) else pytest.mark.slow
    )
    for name in sorted(OPTIONS)
    for second in (False, True)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "second_order"), _CASES)
def test_pieces_equal_the_graph(name, second_order):
    network = network_of(**OPTIONS[name])
    graph = loss_and_gradients(network, False, second_order)
    pieces = loss_and_gradients(network, True, second_order)
    assert pieces[0] == pytest.approx(graph[0], rel=2e-5, abs=1e-4)
    gap = np.linalg.norm(pieces[1] - graph[1])
    assert gap < 5e-5 * np.linalg.norm(graph[1])


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_norm_s_written_gradient_is_the_automatic_one(silu, dtype):
    """In float64's stead: a function of the output that no symmetry makes vanish."""
    x = tf.cast(2.0 + random.normal(0, (2, 5, 3, 8)), dtype)
    gamma, beta = tf.linspace(0.5, 2.0, 8), tf.linspace(-1.0, 1.0, 8)

    def gradients(in_pieces):
        with xla.in_pieces(in_pieces), tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            y = normalised(x, gamma, beta, 2, 1e-6, silu, dtype)
            assert y.dtype == dtype
            y = tf.cast(y, tf.float32)
            loss = tf.reduce_sum(
                y**3 * tf.reshape(tf.linspace(0.0, 1.0, y.shape[1] * 3), [5, 3, 1])
            )
        return tape.gradient(loss, [x, gamma, beta])

    for written, automatic in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_allclose(written, automatic, rtol=2e-4, atol=2e-4)


def test_pieces_of_one_shape_share_one_program():
    calls = []

    @xla.piece
    def doubled(x):
        calls.append(x.shape)
        return 2 * x

    @tf.function
    def use(x):
        with xla.in_pieces():
            return doubled(doubled(x)) + doubled(x[:2])[0]

    np.testing.assert_array_equal(use(tf.ones([4, 3])), 6 * np.ones([4, 3]))
    assert calls == [(4, 3), (2, 3)]


def test_outside_of_pieces_it_is_a_plain_call():
    assert not xla.is_in_pieces()
    with xla.in_pieces():
        assert xla.call(lambda x: xla.is_in_pieces(), tf.constant(0)) is not True
        assert xla.is_in_pieces()


def test_modes():
    assert xla.mode(None, True) == "pieces"  # no GPU here
    assert xla.mode(None, False) is True
    assert xla.mode(False, True) is False
    with pytest.raises(ValueError, match="jit_compile must be True, 'pieces'"):
        xla.mode("parts", True)
