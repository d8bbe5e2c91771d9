"""Times in training: replicas, parts, calls, resumed runs and exported steps see the same."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.archives import ArrayArchive
from lcss_tf.losses import AdaptiveTimes, DSMLoss, ImportanceTimes, LCSSLoss, LogNormalTimes
from lcss_tf.training import Checkpoints, Distribution, GradientDiagnostics, TrainStep
from tests.processes import assert_same_end
from tests.training import helpers

STEPS = 6


def adaptive():
    return AdaptiveTimes(num_bins=8, memory=200.0)


def taken(replicas=1, times=None, several=0, **options):
    """(reports, the state) after some steps."""
    state, distribution = helpers.make_state(replicas)
    loss = LCSSLoss(times=times or adaptive())
    step = helpers.make_step(state, distribution, loss, **({"jit_compile": False} | options))
    iterator = helpers.batches(distribution)
    if not several:
        return helpers.run(state, step, iterator, STEPS), state
    for _ in range(STEPS // several):
        step.several([next(iterator) for _ in range(several)], state.step, several)
        state.step += several
    return [], state


@pytest.fixture(scope="module")
def alone():
    return taken()


def assert_same(state, other, rtol=2e-4):
    names = state.variables_by_name()
    assert names.keys() == other.variables_by_name().keys()
    assert {"times/squares", "times/counts"} <= names.keys()
    for one, two in zip(helpers.everything(state), helpers.everything(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=rtol, atol=1e-6)


def test_it_learns_the_second_moment_by_bin(alone):
    reports, state = alone
    squares, counts = (state.times[name].numpy() for name in ("squares", "counts"))
    kept = np.exp(-helpers.BATCH / 200.0) ** np.arange(STEPS)
    assert counts.sum() == pytest.approx(helpers.BATCH * kept.sum(), rel=1e-5)
    assert (squares > 0).sum() >= 6
    profile = adaptive().profile({"squares": squares, "counts": counts}).numpy()
    assert profile.mean() == pytest.approx(1.0, rel=1e-5)
    assert np.ptp(profile) > 0.1
    # Sums and counts by t are both weighted: their ratios are means of the loss.
    for report in reports:
        assert report.bucket_sums.sum() / helpers.BATCH == pytest.approx(report.loss, rel=1e-4)
    total = np.sum([r.bucket_counts for r in reports]) / STEPS
    assert total == pytest.approx(helpers.BATCH, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"replicas": 2},
     pytest.param({"several": 3}, marks=pytest.mark.slow),
     pytest.param({"accumulation_steps": 4}, marks=pytest.mark.slow),
     pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
     pytest.param({"jit_compile": "pieces"}, marks=pytest.mark.slow),
     pytest.param({"replicas": 2, "several": 3, "accumulation_steps": 2}, marks=pytest.mark.slow)],
    ids=lambda o: " ".join(f"{k} {v}" for k, v in o.items()),
)  # fmt: skip
def test_replicas_parts_and_calls_change_nothing(alone, options):
    """Losses, weights, averages, optimiser and what the times know, to float32 rounding."""
    reports, state = taken(**options)
    assert_same(alone[1], state)
    for one, two in zip(alone[0], reports, strict=False):
        assert two.loss == pytest.approx(one.loss, rel=1e-4)
        np.testing.assert_allclose(two.bucket_counts, one.bucket_counts, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("times", [LogNormalTimes(reweight=True), ImportanceTimes()])
def test_two_replicas_draw_the_times_of_one(times):
    one, two = (taken(replicas, times)[0] for replicas in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-4)
        np.testing.assert_allclose(b.bucket_counts, a.bucket_counts, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_non_finite_step_leaves_the_times_alone():
    state, distribution = helpers.make_state()
    step = helpers.make_step(state, distribution, LCSSLoss(times=adaptive()), jit_compile=False)
    helpers.run(state, step, helpers.batches(distribution), 2)
    before = state.times["squares"].numpy()
    bad = np.full((helpers.BATCH, 2), np.nan, np.float32)
    assert not step(tf.constant(bad), state.step).finite
    np.testing.assert_array_equal(state.times["squares"].numpy(), before)


def fit(workdir, steps, steps_per_call=1):
    network = lcss.networks.MLP(width=8, depth=1, embedding_features=4, name="net")
    model = lcss.ScoreModel(network, lcss.sdes.VPSDE(), distribution=Distribution(1))
    trainer = helpers.no_prior_check(
        log_every=4,
        make_step=functools.partial(TrainStep, jit_compile=False),
        make_checkpoints=functools.partial(Checkpoints, every=5, keep=5),
        steps_per_call=steps_per_call,
    )
    loss = DSMLoss(times=adaptive())
    model.fit(helpers.data(64), loss, steps, 16, helpers.adam(), workdir, trainer=trainer)
    return model


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(tmp_path):
    """The state of the times is in every checkpoint; a model that is saved has none."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    model = fit(whole, 12)
    fit(halves, 7)
    resumed = fit(halves, 12)
    assert_same_end(whole, halves)
    with ArrayArchive(Checkpoints(whole).at(12)) as archive:
        stored = archive.read("times/squares")
    np.testing.assert_array_equal(stored, resumed.state.times["squares"].numpy())
    assert stored.any()
    path = resumed.save(tmp_path / "model.lcss")
    with ArrayArchive(path) as archive:
        assert not [name for name in archive.names if name.startswith("times/")]
    x, t = helpers.data(8), np.full(8, 0.3, np.float32)
    expected = model.score_fn(x, t)
    for place in (path, whole):
        np.testing.assert_array_equal(lcss.ScoreModel.load(place).score_fn(x, t), expected)


@pytest.mark.slow
def test_a_fit_begins_anew_and_other_bins_are_named(tmp_path):
    """Without a workdir nothing of an earlier fit is known."""
    model = fit(None, 3)
    first = model.state.times["counts"].numpy().sum()
    step = functools.partial(TrainStep, jit_compile=False)
    options = {"trainer": helpers.no_prior_check(make_step=step), "optimizer": helpers.adam()}
    model.fit(helpers.data(64), DSMLoss(times=adaptive()), 3, 16, **options)
    assert model.state.times["counts"].numpy().sum() == first
    model.fit(helpers.data(64), DSMLoss(), 1, 16, **options)
    assert not model.state.times
    fit(tmp_path, 1)
    network = lcss.networks.MLP(width=8, depth=1, embedding_features=4, name="net")
    other = lcss.ScoreModel(network, lcss.sdes.VPSDE(), distribution=Distribution(1))
    loss = DSMLoss(times=AdaptiveTimes(num_bins=4))
    with pytest.raises(ValueError, match=r"times variable squares has the shape \(4,\).*\(8,\)"):
        other.fit(helpers.data(64), loss, 2, 16, workdir=tmp_path, **options)


@pytest.mark.slow
def test_an_exported_step_adapts_as_here(tmp_path):
    """The times' state is state of the program, under the name it has in a checkpoint."""
    pytest.importorskip("jax")
    from lcss_tf import export
    from tests.export.test_programs import RUNNER, relative, values_of

    state, distribution = helpers.make_state()
    step = helpers.make_step(state, distribution, LCSSLoss(times=adaptive()), 3, jit_compile=True)
    helpers.run(state, step, helpers.batches(distribution), 2)
    export.train_step(state, step, helpers.BATCH).write(tmp_path / "step")
    x = np.concatenate([helpers.data(seed=s) for s in range(4)])
    np.savez(tmp_path / "data.npz", x=x, multiply=np.float32(1), add=np.float32(0))
    trainer = RUNNER.Trainer(tmp_path / "step", str(tmp_path / "data.npz"), block=4)
    before = values_of(state)
    order = np.random.default_rng(3).permutation(len(x)).astype(np.int32).reshape(4, -1)
    losses = [float(step(tf.constant(x[order[i]]), 2 + i).loss) for i in range(4)]
    np.testing.assert_allclose(trainer.take_block()["loss"], losses, rtol=1e-4)
    now, there = values_of(state), trainer.arrays()
    assert relative(now["times/squares"], before["times/squares"]) > 0.1
    for name in now:
        assert relative(there[name], now[name]) < 1e-4, name


# What it does to the gradient -------------------------------------------------------------------


def variance_of_a_step(state, loss, num_draws=200):
    diagnostics = GradientDiagnostics(state.score, loss, num_draws, 64)
    x0 = tf.constant(helpers.data(64))
    return diagnostics.measure_step(state.network, x0, 0)


@pytest.mark.slow
def test_adaptive_and_importance_times_lower_the_variance_of_the_gradient():
    """The likelihood's loss, at the same weights: the same expectation, by far less noise.

    Measured, uniform times as 1: adaptive 0.069 by the loss's moment and 0.077 by the gradient's,
    importance 0.098, adaptive over importance 0.052.
    """
    state = helpers.make_state()[0]
    state.sde.t_min = 1e-3  # below, the variance of uniform times is that of a few rare ones
    named = {
        "uniform": "UniformTimes",
        "loss": AdaptiveTimes(memory=2_000.0),
        "gradient": AdaptiveTimes(memory=2_000.0, moment="gradient"),
        "importance": "ImportanceTimes",
        "both": AdaptiveTimes(memory=2_000.0, base="ImportanceTimes"),
    }
    found = {k: variance_of_a_step(state, DSMLoss("likelihood", t)) for k, t in named.items()}
    share = {k: f.variance / found["uniform"].variance for k, f in found.items()}
    assert share["loss"] < 0.12
    assert share["gradient"] < 0.14
    assert share["importance"] < 0.16
    assert share["both"] < 0.1
    exact = found["both"]
    assert exact.critical_batch == pytest.approx(exact.variance / exact.norm**2)
    for name in ("loss", "gradient", "importance"):
        assert found[name].norm == pytest.approx(exact.norm, rel=0.08), "the same expectation"


def test_the_optimiser_of_keras_is_untouched():
    """Times are no variables of the network or the optimiser."""
    state, distribution = helpers.make_state()
    count = len(state.optimizer.variables)
    helpers.make_step(state, distribution, LCSSLoss(times=adaptive()), jit_compile=False)
    assert len(state.optimizer.variables) == count
    assert isinstance(state.times["squares"], keras.Variable)
