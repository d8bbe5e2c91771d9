"""Learning rates: warm-up and decay in closed form, and what is said of one that learns nothing."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.errors import UsageError
from lcss_tf.training import WarmUp, default_optimizer
from lcss_tf.training.optimizers import (
    default_learning_rate,
    doubts,
    for_run,
    has_kernel,
    use_kernel,
)
from tests.training import helpers

ADAM, DECAY = keras.optimizers.Adam, keras.optimizers.schedules.CosineDecay


# Schedules -------------------------------------------------------------------------------------


def rates(optimizer, *steps):
    return [float(optimizer._learning_rate(step)) for step in steps]


def test_a_warm_up_rises_to_its_rate_and_stays():
    optimizer = for_run(ADAM(WarmUp(2e-3, 10)), 100)
    np.testing.assert_allclose(rates(optimizer, 0, 5, 10, 99), [0, 1e-3, 2e-3, 2e-3], rtol=1e-6)


def test_a_cosine_falls_from_the_warm_up_to_nothing_at_the_last_step():
    optimizer = for_run(ADAM(WarmUp(1.0, 20, decay="cosine")), 120)
    steps = np.arange(20, 121)
    expected = 0.5 * (1 + np.cos(np.pi * (steps - 20) / 100))
    np.testing.assert_allclose(rates(optimizer, *steps), expected, atol=1e-6)
    assert rates(optimizer, 10, 500) == pytest.approx([0.5, 0.0], abs=1e-7)


def test_an_inverse_root_is_that_of_edm2():
    """η min(k/W, 1)/√max(k/K, 1), Karras et al. (2024)."""
    optimizer = for_run(ADAM(WarmUp(1e-2, 30, "inverse_root", 50)), 1_000)
    steps = [3, 30, 50, 200, 999]
    expected = [1e-2 * min(k / 30, 1) / math.sqrt(max(k / 50, 1)) for k in steps]
    np.testing.assert_allclose(rates(optimizer, *steps), expected, rtol=1e-6)


def test_what_is_left_open_is_told_by_the_run():
    """A tenth of the steps for the warm-up, 5,000 at most, and for the reference."""
    given = ADAM(WarmUp(1e-3, decay="inverse_root"))
    filled = for_run(given, 400)
    assert filled._learning_rate.get_config() == {
        "learning_rate": 1e-3, "warmup_steps": 40, "decay": "inverse_root", "reference_steps": 40,
        "steps": 400,
    }  # fmt: skip
    assert for_run(given, 10**6)._learning_rate.warmup_steps == 5_000
    assert for_run(given, 10**6)._learning_rate.reference_steps == 10**5
    assert for_run(filled, 800)._learning_rate.steps == 400  # what is given stays
    assert given._learning_rate.steps is None  # and so does the caller's own
    with pytest.raises(UsageError, match="does not know how long the run is"):
        given._learning_rate(3)


def test_a_keras_schedule_goes_on_inside_a_warm_up():
    """Made again from its configuration too, as for the replicas' scope."""
    inside = DECAY(1e-3, 100)
    optimizer = for_run(ADAM(WarmUp(inside, 10)), 100)
    for made in (optimizer, ADAM.from_config(optimizer.get_config())):
        expected = [float(inside(k)) * min(k / 10, 1) for k in (5, 50, 90)]
        np.testing.assert_allclose(rates(made, 5, 50, 90), expected, rtol=1e-6)


def test_the_default_is_adam_after_a_warm_up():
    optimizer = for_run(None, 2_000)
    unnamed = lambda made: made.get_config() | {"name": None}
    assert unnamed(optimizer) == unnamed(default_optimizer(2_000))
    assert optimizer.epsilon == 1e-8
    np.testing.assert_allclose(rates(optimizer, 100, 200, 1_999), [1e-4, 2e-4, 2e-4], rtol=1e-6)
    make = functools.partial(default_optimizer, learning_rate=1e-3, decay="cosine", warmup_share=0)
    np.testing.assert_allclose(rates(for_run(make, 100), 0, 50), [1e-3, 5e-4], rtol=1e-6)


def test_the_default_rate_suits_the_size_of_the_network():
    """2e-4 from score_sde's 60 million parameters on; below, by the cube root, at most 2e-3."""
    for parameters, rate in ((10**9, 2e-4), (60_000_000, 2e-4), (7_500_000, 4e-4), (1_000, 2e-3)):
        optimizer = for_run(None, 100, parameters)
        np.testing.assert_allclose(rates(optimizer, 50), rate, rtol=1e-6)
    bound = functools.partial(default_optimizer, decay="cosine", warmup_share=0)
    np.testing.assert_allclose(rates(for_run(bound, 100, 7_500_000), 50), 2e-4, rtol=1e-6)
    chosen = functools.partial(default_optimizer, learning_rate=3e-4)
    np.testing.assert_allclose(rates(for_run(chosen, 100, 1_000), 50), 3e-4, rtol=1e-6)
    assert for_run(lambda steps: ADAM(1 / steps), 100, 1_000).learning_rate == np.float32(0.01)


def test_fit_asks_for_the_rate_of_its_network():
    model = lcss.ScoreModel(lcss.networks.MLP(width=256))
    model.fit(helpers.data(64), steps=1, batch_size=16, trainer=helpers.no_prior_check())
    rate = model.optimizer._learning_rate.learning_rate
    assert rate == pytest.approx(default_learning_rate(model.network.count_params()))
    assert 2e-4 < rate < 2e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WarmUp(decay="linear"), "None, 'cosine' or 'inverse_root'; got 'linear'"),
        (lambda: WarmUp(warmup_steps=-1), "warmup_steps must not be negative"),
        (lambda: WarmUp(reference_steps=0), "reference_steps must be at least 1"),
        (lambda: default_optimizer(10, warmup_share=1.0), "from 0 to below 1; got 1.0"),
        (lambda: for_run(keras.optimizers.LossScaleOptimizer(ADAM()), 10),
         "LossScaleOptimizer. The training step scales the loss"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_a_training_follows_its_schedule(tmp_path):
    """`fit` tells the schedule how long the run is; Keras' own go as they are."""
    own = helpers.fit(optimizer=keras.optimizers.SGD(WarmUp(1e-2, decay="cosine")))
    assert own.optimizer._learning_rate.steps == helpers.STEPS
    schedule = DECAY(0.0, 8, warmup_target=1e-2, warmup_steps=4)
    keras_own = helpers.fit(optimizer=keras.optimizers.SGD(schedule))
    assert keras_own.optimizer._learning_rate.get_config() == schedule.get_config()


# Doubts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (ADAM(0.0), "The learning rate is 0 over all steps from 0 to 100"),
        (keras.optimizers.SGD(-1e-3), "The learning rate is -0.001 over all steps"),
        (ADAM(WarmUp(0.0, 10)), "The learning rate is 0 over all steps"),
        (ADAM(WarmUp(0.0, decay="cosine")), "The learning rate is 0 over all steps"),
        (ADAM(WarmUp(1e-3, 100)), "WarmUp.warmup_steps = 100, and the run has fit.steps = 100"),
        (ADAM(WarmUp(1e-3, 5_000)), r"a tenth of the steps, say \(10\)"),
        (ADAM(DECAY(0.0, 50, warmup_target=1e-3, warmup_steps=500)), "CosineDecay.warmup_steps"),
        (ADAM(WarmUp(DECAY(1e-3, 50), 500)), "WarmUp.warmup_steps = 500"),
    ],
)
def test_one_that_learns_nothing_is_named(optimizer, said):
    (line,) = doubts(optimizer, 0, 100)
    with pytest.raises(UserWarning, match=said):
        raise UserWarning(line)


@pytest.mark.parametrize(
    "optimizer",
    [
        ADAM(1e-3),
        ADAM(WarmUp(1e-3, 99)),
        ADAM(DECAY(1e-3, 50)),
        default_optimizer(100),
        ADAM(WarmUp(1e-3, decay="cosine")),
        ADAM(WarmUp(1e-3, decay="inverse_root")),
    ],
)
def test_of_others_nothing_is_said(optimizer):
    assert doubts(optimizer, 0, 100) == []


def test_what_remains_of_a_resumed_run_is_looked_at():
    (line,) = doubts(ADAM(DECAY(1e-3, 50)), 60, 100)
    assert "from 60 to 100" in line


# TensorFlow's kernel in the place of Keras' operations ------------------------------------------


def steps_of(make, kernel, sparse=False, steps=7):
    """The variables and slots after some steps, by gradients that are a function of the step."""
    optimizer, random = make(), np.random.default_rng(3)
    shapes = [(6, 3), (5,), ()]
    weights = [keras.Variable(random.normal(size=shape), dtype="float32") for shape in shapes]
    optimizer.build(weights)
    if kernel:
        assert has_kernel(optimizer)
        use_kernel(optimizer)

    def apply(gradients):
        if sparse:  # of rows 1 and 4 alone
            rows = tf.constant([1, 4])
            values = tf.gather(gradients[0], rows)
            first = tf.IndexedSlices(values, rows, tf.constant([6, 3]))
            gradients = [first, *gradients[1:]]
        optimizer.apply(gradients, weights)

    compiled = tf.function(apply, autograph=False)
    for _ in range(steps):
        scale = 10.0 ** random.integers(-6, 2)
        compiled([tf.constant(scale * random.normal(size=s), tf.float32) for s in shapes])
    return [np.array(v) for v in (*weights, *optimizer.variables)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ADAM(WarmUp(1e-2, 3), epsilon=1e-8),
        lambda: ADAM(1e-2, beta_1=0.5, beta_2=0.9, epsilon=1e-4, clipnorm=0.1),
        lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1),
        lambda: ADAM(1e-2, use_ema=True, ema_overwrite_frequency=3),
        lambda: ADAM(1e-2, gradient_accumulation_steps=2),
    ],
    ids=["schedule", "betas", "AdamW", "average", "accumulation"],
)
def test_the_kernel_s_steps_are_those_of_keras(make):
    plain, kernel = steps_of(make, False), steps_of(make, True)
    for one, two in zip(plain, kernel, strict=True):
        np.testing.assert_allclose(two, one, rtol=2e-5, atol=1e-8)
    assert np.abs(plain[0] - steps_of(make, False, steps=0)[0]).max() > 0


@pytest.mark.parametrize("number", [1, 5])
def test_what_all_variables_share_is_computed_once(number):
    """The powers of the betas and the count, however many variables there are."""
    weights = [keras.Variable(np.zeros([3]), dtype="float32") for _ in range(number)]
    optimizer = ADAM(WarmUp(1e-2, 3))
    optimizer.build(weights)
    use_kernel(optimizer)
    use_kernel(optimizer)  # a second training by the same object
    apply = tf.function(lambda: optimizer.apply([tf.ones([3])] * number, weights), autograph=False)
    operations = [o.type for o in apply.get_concrete_function().graph.get_operations()]
    assert operations.count("ResourceApplyAdam") == number
    assert operations.count("Pow") == 2
    assert operations.count("ReadVariableOp") <= 4  # of the count: here, and in Keras' schedule


def test_the_kernel_takes_the_sparse_gradients_of_embeddings():
    plain, kernel = (steps_of(lambda: ADAM(1e-2), k, sparse=True) for k in (False, True))
    for one, two in zip(plain, kernel, strict=True):
        np.testing.assert_allclose(two, one, rtol=2e-5, atol=1e-8)


def test_only_adam_s_own_step_has_a_kernel():
    class Halved(ADAM):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, 0.5 * learning_rate)

    for optimizer in (Halved(1e-3), ADAM(1e-3, amsgrad=True), keras.optimizers.SGD(1e-3)):
        own_step = optimizer.update_step
        use_kernel(optimizer)
        assert not has_kernel(optimizer)
        assert optimizer.update_step == own_step


def test_a_step_in_pieces_leaves_the_update_to_the_kernel():
    """It is then not compiled; by any other optimiser it is."""
    compiles = {}
    for name in ("Adam", "SGD"):
        state, distribution = helpers.make_state()
        state.attach(getattr(keras.optimizers, name)(1e-3))
        step = helpers.make_step(state, distribution, jit_compile="pieces")
        compiles[name] = step.compiles_update
    assert compiles == {"Adam": False, "SGD": True}
