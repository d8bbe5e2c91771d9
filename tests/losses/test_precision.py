"""Losses of a bfloat16 network: near the float32 values, with every difference in float32."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.score import Score

BATCH, DIMENSION = 256, 4
GAUSSIAN = {
    estimator: {"smoothing": "gaussian", "estimator": estimator}
    for estimator in ("control_variate", "antithetic")
}
LOSSES = {name: (name, {}) for name in lcss_tf.LOSSES}
LOSSES |= {estimator: ("LCSSLoss", options) for estimator, options in GAUSSIAN.items()}


# One of a kind: by an expectation, by differences, by derivatives of the network.
QUICK = {"LCSSLoss", "control_variate", "SSMLoss"}


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(LOSSES)
    ]
)
def loss(request):
    name, options = LOSSES[request.param]
    return lcss_tf.LOSSES[name](**options)


@pytest.fixture
def model():
    return Score(lcss_tf.SDES["VPSDE"](), lcss_tf.PRECONDITIONINGS["noise"]())


@pytest.fixture
def x0():
    return random.normal(1, (BATCH, DIMENSION))


def _network(policy):
    """The same random weights, which are float32 under either policy; no residual layers.

    (They would double the time of compilation and add no other kind of operation.)
    """
    network = lcss_tf.NETWORKS["MLP"](width=32, depth=0, embedding_features=16, dtype=policy)
    network.build((None, DIMENSION))
    generator = np.random.default_rng(0)
    for weight in network.weights:
        if len(weight.shape) > 1:
            weight.assign(generator.normal(size=weight.shape) / weight.shape[0] ** 0.5)
    return network


def _loss_and_gradient(loss, model, network, x0):
    with tf.GradientTape() as tape:
        values = loss(model.score_fn(network), model.sde, x0, 3)
        mean = tf.reduce_mean(values.per_example)
    gradients = tape.gradient(
        mean, [w.value for w in network.trainable_variables], unconnected_gradients="zero"
    )
    return mean, tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)


def test_loss_and_weight_gradient_are_near_those_of_float32(loss, model, x0):
    # Both under XLA, whose random numbers are its own.
    (expected, expected_gradient), (value, gradient) = tf.function(
        lambda x, networks: [_loss_and_gradient(loss, model, n, x) for n in networks],
        jit_compile=True,
        autograph=False,
    )(x0, (_network("float32"), _network("mixed_bfloat16")))
    assert value.dtype == gradient.dtype == tf.float32
    assert float(value) == pytest.approx(float(expected), rel=0.01)
    error = np.linalg.norm(gradient - expected_gradient) / np.linalg.norm(expected_gradient)
    # Not 0: the network does compute in bfloat16, whose unit roundoff is 0.004.
    assert 1e-4 < error < 0.03


def test_only_the_network_computes_in_bfloat16(loss, model, x0):
    """In the graph of a loss: what is bfloat16 is the network's matrix product and its casts."""
    weight = tf.random.stateless_normal((DIMENSION, DIMENSION), (1, 2), dtype=tf.bfloat16)
    seen = []

    def network(x, cond):
        output = tf.linalg.matmul(tf.cast(x, tf.bfloat16), weight)
        seen.append((x.dtype, output.dtype))
        return output

    score_fn = model.score_fn(network)
    graph = (
        tf.function(lambda x: loss(score_fn, model.sde, x, 3).per_example, autograph=False)
        .get_concrete_function(tf.TensorSpec(x0.shape))
        .graph
    )
    assert set(seen) == {(tf.float32, tf.bfloat16)}
    narrow = {
        operation.type
        for operation in graph.get_operations()
        for tensor in operation.outputs
        if tensor.dtype == tf.bfloat16
    }
    assert {"MatMul"} < narrow <= {"MatMul", "Cast", "Const", "Identity", "Placeholder"}


@pytest.mark.parametrize(
    ("name", "options"),
    [("LCSSLoss", GAUSSIAN[estimator]) for estimator in GAUSSIAN] + [("FDSSMLoss", {})],
)
def test_a_difference_of_scores_keeps_the_bits_that_bfloat16_would_lose(name, options, model, x0):
    """A constant of 256 in the output leaves the trace as it was; bfloat16 has steps of 2 there.

    The difference of two scores is divided by a radius of at most 0.1: in bfloat16 each
    would be wrong by 10 or more.
    """
    network, loss = _network("mixed_bfloat16"), lcss_tf.LOSSES[name](**options)
    trace = lambda: loss(model.score_fn(network), model.sde, x0, 3).terms["trace"]
    before = trace()
    network.last.bias.assign(tf.fill([DIMENSION], 256.0))
    np.testing.assert_allclose(trace(), before, atol=0.01)
