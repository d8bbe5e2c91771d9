"""Guidance: w = 1 and w = 0 are the two scores, other w lie on their line; intervals; Gaussians."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.control import Guidance, autoguided_score, check_guidance, guided_score
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


T = tf.constant([0.05, 0.2, 0.45, 0.9])  # of which an interval takes the two in the middle


def levels(t):
    """sigma_t/alpha_t under VP."""
    alpha_t, sigma_t = lcss_tf.SDES["VPSDE"]().marginal(tf.constant(t))
    return (sigma_t / alpha_t).numpy()


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_guidance_in_an_interval_and_the_conditional_score_outside(compiled):
    """Sample by sample, each with a time of its own, as an adaptive sampler has them."""
    made, x, sde = network(), random.normal(1, (4, 3)), lcss_tf.SDES["VPSDE"]()
    make = score_fn_for(made)
    middle = tuple(levels(np.float32([0.1, 0.6])).tolist())
    for w in (2.5, 0.0):
        score_fn = guided_score(make, LABELS, 3, Guidance(w, interval=middle), sde)
        score_fn = tf.function(score_fn, jit_compile=True) if compiled else score_fn
        guided, plain = guided_score(make, LABELS, 3, w)(x, T), make(LABELS)(x, T)
        found = score_fn(x, T).numpy()
        np.testing.assert_allclose(found[1:3], guided[1:3], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[[0, 3]], plain.numpy()[[0, 3]], rtol=1e-4, atol=1e-5)
        assert np.abs(guided - plain)[[0, 3]].max() > 1e-2
    everywhere = guided_score(make, LABELS, 3, Guidance(2.5, interval=(0.0, np.inf)), sde)
    np.testing.assert_array_equal(everywhere(x, T), guided_score(make, LABELS, 3, 2.5)(x, T))
    none = guided_score(make, LABELS, 3, Guidance(1.0, interval=middle), sde)
    np.testing.assert_array_equal(none(x, T), make(LABELS)(x, T))


def test_outside_the_interval_the_conditional_score_alone_is_evaluated():
    sizes = []

    def make(labels):
        def score_fn(x, t):
            tf.py_function(lambda: sizes.append(int(labels.shape[0])), [], [])
            return -x

        return score_fn

    sde, x = lcss_tf.SDES["VPSDE"](), tf.zeros([4, 3])
    score_fn = tf.function(guided_score(make, LABELS, 3, Guidance(2.0, interval=(0.3, 1.0)), sde))
    for t, expected in ((0.01, [4]), (0.2, [8]), (0.9, [4])):
        sizes.clear()
        score_fn(x, tf.fill([4], t))
        assert sizes == expected, (t, levels(np.float32([t])))


@pytest.mark.parametrize(
    ("w", "interval"), [(1.0, None), (2.0, None), (0.0, None), (3.0, (0.5, 4.0))]
)
def test_guiding_a_gaussian_by_a_wider_one_has_the_closed_form(w, interval):
    """EDM's ODE by the scores of N(0, v_1) and N(0, v_2):

        d log x/dς = ς [w/(v_1 + ς²) + (1 − w)/(v_2 + ς²)].

    So x_0/x_T = Π ((v + a²)/(v + b²))^(w/2) over the stretches [a, b]: with w = 2 the guided
    distribution is narrower than the main one, by √(v_1/v_2).
    """
    sde, v_1, v_2 = lcss_tf.SDES["EDMSDE"](), 0.25, 1.0
    of = lambda v: lambda x, t: -x / (v + t[:, None] ** 2)
    score_fn = autoguided_score(of(v_1), of(v_2), Guidance(w, interval, weaker=of), sde)
    sampler = lcss_tf.SAMPLERS["DormandPrince"](rtol=1e-5, atol=1e-5, t_end=0.002)
    x_T = tf.constant([[80.0], [-40.0]])
    x = tf.function(lambda: sampler.sample_from(score_fn, sde, x_T, 0).x)().numpy()

    def log_shrinkage(v, low, high):
        return 0.5 * np.log((v + low**2) / (v + high**2))

    low, high = interval or (0.002, 80.0)
    total = w * log_shrinkage(v_1, low, high) + (1 - w) * log_shrinkage(v_2, low, high)
    total += log_shrinkage(v_1, 0.002, low) + log_shrinkage(v_1, high, 80.0)
    np.testing.assert_allclose(x, np.exp(total) * x_T.numpy(), rtol=2e-3)


def test_intervals_and_weaker_models_are_checked():
    with pytest.raises(ValueError, match="0 <= lo < hi; got"):
        Guidance(2.0, interval=(3.0, 1.0))
    with pytest.raises(ValueError, match="two noise levels"):
        Guidance(2.0, interval=(1.0,))
    power = lcss_tf.SDES["PearsonSDE"]()
    with pytest.raises(ValueError, match="PearsonSDE has none in closed form. Leave the interval"):
        check_guidance(Guidance(2.0, interval=(0.1, 1.0)), network(), power)
    with pytest.raises(ValueError, match=r"path runs/x here.*ScoreModel.load"):
        Guidance(2.0, weaker="runs/x").weaker_model(None)
    check_guidance(Guidance(2.0, weaker=object()), network(None))  # needs no condition
    assert Guidance(2.0, [0.1, 1]) == Guidance(2.0, (0.1, 1.0))  # gin's lists
    assert not Guidance(0.0).needs_condition
    assert Guidance(0.0, (0.1, 1.0)).needs_condition


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
