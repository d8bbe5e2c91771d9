"""The training step: replicas, clipping, EMA, non-finite steps."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from tests.training import helpers

# Each of these is compiled twice; one of them stands for all where time is short.
_CASES = [
    pytest.param(name, jit, marks=() if (name, jit) == ("LCSSLoss", False) else pytest.mark.slow)
    for name in sorted(lcss_tf.LOSSES)
    for jit in (False, True)
]


@pytest.fixture(scope="module")
def trained():
    """reset() -> (state, step) on one replica at its first weights; traced once."""
    state, distribution = helpers.make_state()
    step = helpers.make_step(state, distribution, jit_compile=False)
    first = helpers.everything(state)

    def reset():
        variables = [v for group in state.variables().values() for v in group.values()]
        for variable, value in zip(variables, first, strict=True):
            variable.assign(value)
        state.step = 0
        return state, step

    return reset


@pytest.mark.parametrize(("loss", "jit_compile"), _CASES)
def test_one_replica_equals_two(loss, jit_compile):
    """Losses, buckets, gradient norms, weights and averages, to float32 rounding."""
    runs = {}
    for replicas in (1, 2):
        state, distribution = helpers.make_state(replicas)
        assert distribution.num_replicas == replicas
        step = helpers.make_step(
            state, distribution, lcss_tf.LOSSES[loss](), jit_compile=jit_compile
        )
        reports = helpers.run(state, step, helpers.batches(distribution), 5)
        runs[replicas] = reports, helpers.weights(state.network), helpers.weights(state.average)
    for one, two in zip(runs[1][0], runs[2][0], strict=True):
        assert two.loss == pytest.approx(one.loss, rel=1e-5)
        assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)
        np.testing.assert_allclose(two.bucket_sums, one.bucket_sums, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(two.bucket_counts, one.bucket_counts)
        assert one.bucket_counts.sum() == helpers.BATCH
    for one, two in zip(runs[1][1:], runs[2][1:], strict=True):
        assert np.linalg.norm(one - two) < 1e-5 * np.linalg.norm(one)
    assert np.abs(runs[1][1] - runs[1][2]).max() > 0  # the average is not the weights


def several(state, step, iterator, *counts, size):
    """Takes steps in calls of so many; returns the reports one by one."""
    reports = []
    for count in counts:
        batches = [next(iterator) for _ in range(count)]
        batches += [batches[-1]] * (size - count)
        stacked = step.several(batches, state.step, count)
        rows = tf.nest.map_structure(lambda v: v.numpy(), stacked)
        reports += [tf.nest.map_structure(lambda v, i=i: v[i], rows) for i in range(count)]
        state.step += count
    return reports


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replicas", "options"),
    [(1, {"jit_compile": False}), (2, {"jit_compile": False}),
     pytest.param(1, {"jit_compile": True}, marks=pytest.mark.slow),
     pytest.param(1, {"jit_compile": "pieces"}, marks=pytest.mark.slow),
     pytest.param(1, {"jit_compile": False, "accumulation_steps": 2}, marks=pytest.mark.slow),
     pytest.param(2, {"jit_compile": True}, marks=pytest.mark.slow)],
)  # fmt: skip
def test_several_steps_in_a_call_are_those_one_by_one(trained, replicas, options):
    """Reports, weights, averages and optimiser; a call that ends early takes as many as it says."""
    expected_state, step = trained()
    expected = helpers.run(expected_state, step, helpers.batches(expected_state.distribution), 5)
    state, distribution = helpers.make_state(replicas)
    step = helpers.make_step(state, distribution, **options)
    reports = several(state, step, helpers.batches(distribution), 3, 2, size=3)
    assert state.step == 5
    for one, two in zip(expected, reports, strict=True):
        assert two.finite.dtype == bool
        assert two.finite
        assert two.learning_rate == pytest.approx(one.learning_rate)
        assert two.loss == pytest.approx(one.loss, rel=1e-5)
        assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)
        assert two.terms.keys() == one.terms.keys()
        np.testing.assert_array_equal(two.bucket_counts, one.bucket_counts)
        np.testing.assert_allclose(two.bucket_sums, one.bucket_sums, rtol=1e-4, atol=1e-4)
    pairs = zip(helpers.everything(expected_state), helpers.everything(state), strict=True)
    for one, two in pairs:
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_one_program_equals_the_graph(trained):
    """The whole step under XLA, as it is by default, against the graph."""
    state, step = trained()
    expected = helpers.run(state, step, helpers.batches(state.distribution), 3)
    compiled, distribution = helpers.make_state()
    step = helpers.make_step(compiled, distribution, jit_compile=True)
    assert step.compiles_update
    reports = helpers.run(compiled, step, helpers.batches(distribution), 3)
    for one, two in zip(expected, reports, strict=True):
        assert two.loss == pytest.approx(one.loss, rel=1e-5)
    before = helpers.make_state()[0]
    assert np.abs(helpers.weights(compiled.network) - helpers.weights(before.network)).max() > 0
    gap = helpers.weights(compiled.network) - helpers.weights(state.network)
    assert np.linalg.norm(gap) < 1e-5 * np.linalg.norm(helpers.weights(state.network))


def test_terms_add_up_and_the_loss_falls():
    state, distribution = helpers.make_state(learning_rate=3e-3)
    step = helpers.make_step(state, distribution, lcss_tf.LOSSES["DSMLoss"](), jit_compile=False)
    reports = helpers.run(state, step, helpers.batches(distribution), 150)
    for report in reports:
        assert sum(report.terms.values()) == pytest.approx(report.loss, rel=1e-3, abs=1e-4)
        assert report.bucket_sums.sum() / helpers.BATCH == pytest.approx(report.loss, rel=1e-4)
    early, late = (np.mean([r.loss for r in part]) for part in (reports[:30], reports[-30:]))
    assert late < 0.9 * early


@pytest.mark.slow
def test_clipping_bounds_the_summed_gradient():
    """With SGD at rate 1 the weights move by the clipped gradient: its norm is the bound."""
    import keras

    state, distribution = helpers.make_state(2)
    state.attach(keras.optimizers.SGD(1.0))
    step = helpers.make_step(state, distribution, clip_norm=1e-3, jit_compile=False)
    before = helpers.weights(state.network)
    (report,) = helpers.run(state, step, helpers.batches(distribution), 1)
    assert report.gradient_norm > 0.1
    moved = np.linalg.norm(helpers.weights(state.network) - before)
    assert moved == pytest.approx(1e-3, rel=2e-3)


def test_ema_is_the_average_it_states(trained):
    state, step = trained()
    iterator = helpers.batches(state.distribution)
    expected = helpers.weights(state.average).astype(np.float64)
    for n in range(1, 6):  # from the same weights at first
        helpers.run(state, step, iterator, 1)
        decay = min(0.999, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * helpers.weights(state.network)
    np.testing.assert_allclose(helpers.weights(state.average), expected, atol=1e-6)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_non_finite_step_changes_nothing(replicas, trained):
    state, step = trained()
    if replicas > 1:
        state, distribution = helpers.make_state(replicas)
        step = helpers.make_step(state, distribution, jit_compile=False)
    distribution = state.distribution
    iterator = helpers.batches(distribution)
    helpers.run(state, step, iterator, 2)
    kept = helpers.everything(state)
    # Poison one example: of the second replica, where there are two.
    poisoned = helpers.data()
    poisoned[-1] = np.nan

    def make_dataset(shards):
        return tf.data.Dataset.from_tensor_slices(
            np.stack([poisoned[first : first + rows] for first, rows in shards])
        )

    (report,) = helpers.run(state, step, distribution.batches(make_dataset, helpers.BATCH), 1)
    assert not report.finite
    # The last example has the last stratum: only that t-bucket is blamed.
    assert list(np.flatnonzero(~np.isfinite(report.bucket_sums))) == [9]
    for before, after in zip(kept, helpers.everything(state), strict=True):
        np.testing.assert_array_equal(before, after)
    (report,) = helpers.run(state, step, iterator, 1)
    assert report.finite


@pytest.mark.slow
def test_dropout_does_not_depend_on_the_replicas():
    """The network's masks are rows of the global batch's, and shared by x and x'."""
    losses = {}
    for replicas in (1, 2):
        state, distribution = helpers.make_state(replicas, network=_Dropping())
        loss = lcss_tf.LOSSES["LCSSLoss"](smoothing="gaussian", estimator="control_variate")
        step = helpers.make_step(state, distribution, loss, jit_compile=False)
        reports = helpers.run(state, step, helpers.batches(distribution), 3)
        losses[replicas] = [report.loss for report in reports]
    np.testing.assert_allclose(losses[1], losses[2], rtol=1e-5)


def _Dropping():
    import keras

    from lcss_tf import random

    @keras.saving.register_keras_serializable("tests")
    class Dropping(keras.Model):
        stochastic = True

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = keras.layers.Dense(2)

        def call(self, x, cond, seed=None, copies=1):
            x = self.dense(x)
            if seed is not None:
                keep = random.uniform(seed, (x.shape[0] // copies, 2)) < 0.5
                x = tf.where(tf.tile(keep, [copies, 1]), x, 0.0)
            return x

        def get_config(self):
            return {}

    return Dropping()


def test_batch_must_be_divisible_by_the_replicas():
    _, distribution = helpers.make_state(2)
    with pytest.raises(ValueError, match="batch_size = 7 is not divisible by the 2 replicas"):
        distribution.rows_per_replica(7)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.slow), False])
def test_accumulation_is_the_same_step(jit_compile, trained):
    """Noise and times belong to the rows of the global batch, so parts change nothing."""
    runs = []
    for parts in (1, 4):
        state, step = trained()
        if jit_compile or parts > 1:
            state, distribution = helpers.make_state()
            step = helpers.make_step(
                state, distribution, accumulation_steps=parts, jit_compile=jit_compile
            )
        reports = helpers.run(state, step, helpers.batches(state.distribution), 3)
        runs.append((reports, helpers.weights(state.network)))
    for one, four in zip(runs[0][0], runs[1][0], strict=True):
        assert four.loss == pytest.approx(one.loss, rel=1e-5)
        np.testing.assert_array_equal(four.bucket_counts, one.bucket_counts)
    assert np.linalg.norm(runs[0][1] - runs[1][1]) < 1e-5 * np.linalg.norm(runs[0][1])


def test_parts_must_divide_the_batch():
    state, distribution = helpers.make_state()
    with pytest.raises(ValueError, match="accumulation_steps = 3 must divide the 16 examples"):
        helpers.make_step(state, distribution, accumulation_steps=3)
