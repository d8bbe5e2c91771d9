"""Rematerialisation: the same numbers from less memory, whatever compiles it."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random, xla
from lcss_tf.training.memory import peak_bytes

OPTIONS = {
    "num_features": 8,
    "channel_multipliers": (1, 2),
    "num_res_blocks": 2,
    "attention_resolutions": (4,),
    "dropout": 0.2,
    "init_scale": 1.0,
    "fir": True,
    "progressive_input": "input_skip",
    "progressive_output": "output_skip",
}


def pair(size=8):
    """The same network without and with rematerialisation."""
    networks = []
    for rematerialise in (False, True):
        network = lcss_tf.NETWORKS["NCSNpp"](**OPTIONS, rematerialise=rematerialise)
        network.build((None, size, size, 2))
        networks.append(network)
    generator = np.random.default_rng(0)
    values = [w + 0.1 * generator.normal(size=w.shape) for w in networks[0].get_weights()]
    for network in networks:
        network.set_weights(values)
    return networks


def gradients(network, size=8, **options):
    x, cond = random.normal(1, (4, size, size, 2)), tf.constant([0.1, 5.0, 100.0, 700.0])
    in_pieces = options.pop("in_pieces", False)

    def compute(x):
        with xla.in_pieces(in_pieces), tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(network(x, cond, seed=3, copies=2)))
        return loss, tape.gradient(loss, [x, *(w.value for w in network.trainable_variables)])

    function = tf.function(compute, autograph=False, **options)
    loss, parts = function(x)
    flat = np.concatenate([part.numpy().ravel() for part in parts])
    return float(loss), flat, function.get_concrete_function(x).graph


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"in_pieces": True}, marks=pytest.mark.slow),
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_same_loss_and_gradients(options):
    kept, again = (gradients(network, **options) for network in pair())
    assert again[0] == pytest.approx(kept[0], rel=1e-5)
    assert np.linalg.norm(again[1] - kept[1]) < 2e-5 * np.linalg.norm(kept[1])


@pytest.mark.slow
def test_it_takes_less_memory():
    kept, again = (peak_bytes(gradients(network, 32)[2]) for network in pair(32))
    assert again < 0.6 * kept
