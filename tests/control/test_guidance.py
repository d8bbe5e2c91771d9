"""Classifier-free guidance: w = 1 and w = 0 are the two scores, and other w lie on their line."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.control import check_guidance, guided_score
from lcss_tf.score import NoPreconditioning, Score

LABELS = tf.constant([0, 2, 1, 2], tf.int32)


def network(num_classes=3):
    made = lcss_tf.NETWORKS["MLP"](width=8, depth=1, num_classes=num_classes)
    made.build((None, 3))
    generator = np.random.default_rng(0)
    for weight in made.trainable_variables:
        weight.assign(weight + 0.3 * generator.normal(size=weight.shape))
    return made


def score_fn_for(made, calls=None):
    model = Score(lcss_tf.SDES["VPSDE"](), NoPreconditioning())

    def make(labels):
        if calls is not None:
            calls.append(int(labels.shape[0]))
        return model.score_fn(made, condition=labels)

    return make


def test_scales():
    made, calls = network(), []
    x, t = random.normal(1, (4, 3)), tf.constant([0.1, 0.4, 0.7, 1.0])
    make = score_fn_for(made, calls)
    at = {w: guided_score(make, LABELS, 3, w)(x, t).numpy() for w in (0, 1, 2.5, 0.999999)}
    assert calls == [4, 4, 8, 8]  # the plain scores cost one batch
    conditional = make(LABELS)(x, t).numpy()
    unconditional = make(tf.fill([4], 3))(x, t).numpy()
    np.testing.assert_array_equal(at[1], conditional)
    np.testing.assert_array_equal(at[0], unconditional)
    np.testing.assert_allclose(at[0.999999], conditional, atol=1e-5)
    expected = unconditional + 2.5 * (conditional - unconditional)
    np.testing.assert_allclose(at[2.5], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(at[2.5] - conditional).max() > 1e-2


def test_guided_gaussians_are_the_tilted_distribution():
    """Of N(±1, 1) and their mixture's moments as null: the guided score is linear in w."""
    means = tf.constant([[1.0], [-1.0], [0.0]])

    def make(labels):
        return lambda x, t: tf.gather(means, labels) - x

    labels, x = tf.constant([0, 1]), tf.zeros([2, 1])
    guided = guided_score(make, labels, 2, 3.0)(x, tf.ones([2]))
    np.testing.assert_allclose(guided, [[3.0], [-3.0]])


def test_refusals(caplog):
    with pytest.raises(ValueError, match="guidance = 2 was asked of a network without classes"):
        check_guidance(2.0, network(None))
    with pytest.raises(ValueError, match="finite number; got nan"):
        check_guidance(float("nan"), network())
    check_guidance(1.0, network(None))
    made = network()
    check_guidance(2.0, made)
    assert not caplog.records
    table = made.condition_layer.table
    table.assign(table * np.float32([[1], [1], [1], [0]]))
    with caplog.at_level(logging.WARNING):
        check_guidance(2.0, made)
    assert "condition_dropout" in caplog.text
