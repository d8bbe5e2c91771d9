"""float16: the scale of the loss changes no gradient, and settles below what overflows."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.score import Score
from lcss_tf.training import Checkpoints, Distribution, NonFiniteError, TrainState, TrainStep
from lcss_tf.training.loss_scale import LossScale
from lcss_tf.training.progress import Meter
from tests.training import helpers

LOSS = lcss.losses.DSMLoss


def network(dtype="mixed_float16"):
    return lcss.networks.MLP(width=16, depth=2, embedding_features=8, dtype=dtype)


def made(replicas=1, dtype="mixed_float16", scale=None, **options):
    state, distribution = helpers.make_state(replicas, network(dtype))
    state.attach(keras.optimizers.SGD(1e-2))
    if scale is not None:
        state.loss_scale.scale.assign(scale)
    step = helpers.make_step(state, distribution, LOSS(), jit_compile=False, **options)
    return state, step


def gradients_of(state, step):
    batch = next(helpers.batches(state.distribution))
    seed = lcss.random.at_row(lcss.random.seed_for(0, "train", 0), 0)
    _, gradients = step.loss_and_gradients(state.distribution.first(batch), seed)
    return np.concatenate([gradient.numpy().ravel() for gradient in gradients])


def test_float32_and_bfloat16_have_no_scale():
    for dtype in ("float32", "mixed_bfloat16"):
        state, _ = helpers.make_state(network=network(dtype))
        assert state.loss_scale is None
        assert not [name for name in state.variables()["optimizer"] if "scale" in name]


def test_a_scale_leaves_the_gradient_as_it_is():
    """To float16 rounding that of float32; and between two scales, a power of two apart."""
    whole = gradients_of(*made(dtype="float32"))
    found = {scale: gradients_of(*made(scale=scale)) for scale in (1.0, 2.0**6, 2.0**10)}
    for gradient in found.values():
        error = np.linalg.norm(gradient - whole) / np.linalg.norm(whole)
        assert 1e-5 < error < 5e-3  # not 0: it does compute in float16, of unit roundoff 5e-4
    np.testing.assert_allclose(found[2.0**10], found[2.0**6], rtol=1e-3, atol=1e-6)


def test_small_gradients_vanish_without_a_scale():
    """float16 has nothing below 6e-8: a loss of 1e-7 leaves no gradient unless it is scaled."""

    class Tiny(lcss.losses.DSMLoss):
        def __call__(self, *args):
            values = super().__call__(*args)
            return values._replace(per_example=1e-7 * values.per_example)

    found = {}
    for scale in (1.0, 2.0**24):
        state, _ = made(scale=scale)
        step = helpers.make_step(state, state.distribution, Tiny(), jit_compile=False)
        found[scale] = 1e7 * gradients_of(state, step)
    whole = gradients_of(*made(dtype="float32"))
    error = lambda gradient: np.linalg.norm(gradient - whole) / np.linalg.norm(whole)
    assert error(found[1.0]) > 0.1
    assert error(found[2.0**24]) < 5e-3


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"fir": True}, {"progressive_input": "residual"}])
def test_an_ncsnpp_has_the_gradient_of_float32(options):
    """Attention, norms and resampling too: nearer than bfloat16, by its three more bits."""
    x, seed = tf.random.stateless_normal((8, 8, 8, 1), (1, 2)), lcss.random.seed_for(0, "train", 0)
    found = {}
    for dtype in ("float32", "mixed_bfloat16", "mixed_float16"):
        net = lcss.networks.NCSNpp(
            num_features=8, channel_multipliers=(1, 2), num_res_blocks=1,
            attention_resolutions=(4,), dropout=0.0, dtype=dtype, **options,
        )  # fmt: skip
        net.build((None, 8, 8, 1))
        draw = np.random.default_rng(0)
        for weight in net.weights:
            if len(weight.shape) > 1:
                fan_in = np.prod(weight.shape[:-1])
                weight.assign(draw.normal(size=weight.shape) / fan_in**0.5)
        score = Score(lcss.sdes.VPSDE(), lcss.PRECONDITIONINGS["noise"]())
        state = TrainState(score, net, (8, 8, 1), Distribution(1))
        state.attach(keras.optimizers.Adam(1e-3))
        step = TrainStep(state, lcss.losses.LCSSLoss(), 8, 0, jit_compile=False)
        _, gradients = step.loss_and_gradients(x, lcss.random.at_row(seed, 0))
        found[dtype] = np.concatenate([gradient.numpy().ravel() for gradient in gradients])
    norm = np.linalg.norm(found["float32"])
    errors = {dtype: np.linalg.norm(g - found["float32"]) / norm for dtype, g in found.items()}
    assert errors["mixed_float16"] < 0.01
    assert errors["mixed_float16"] < 0.4 * errors["mixed_bfloat16"]


@pytest.mark.parametrize(
    ("replicas", "options"),
    [
        (1, {}),
        pytest.param(2, {}, marks=pytest.mark.slow),
        pytest.param(1, {"accumulation_steps": 4}, marks=pytest.mark.slow),
    ],
)
def test_an_overflow_halves_the_scale_and_changes_nothing_else(replicas, options):
    state, step = made(replicas, scale=2.0**24, **options)
    before = helpers.weights(state.network), helpers.weights(state.average)
    iterator, taken = helpers.batches(state.distribution), 0
    for overflows in range(1, 25):
        (report,) = helpers.run(state, step, iterator, 1)
        if not report.scaling["overflowed"]:
            taken = 1
            break
        assert np.isfinite(report.loss)
        assert not report.finite
        assert report.scaling["scale"] == 2.0 ** (25 - overflows)
        assert float(state.loss_scale.scale.numpy()) == 2.0 ** (24 - overflows)
        assert int(state.loss_scale.overflows.numpy()) == overflows
        assert int(state.optimizer.iterations.numpy()) == 0
        for was, now in zip(before, (state.network, state.average), strict=True):
            np.testing.assert_array_equal(helpers.weights(now), was)
    assert overflows > 1, "2²⁴ is too large for this loss"
    assert taken, "some scale is small enough"
    assert report.finite
    assert int(state.loss_scale.good_steps.numpy()) == 1
    assert np.abs(helpers.weights(state.network) - before[0]).max() > 0


def test_after_many_steps_the_scale_doubles():
    state, _ = helpers.make_state()
    scale, yes, no = LossScale(), tf.constant(True), tf.constant(False)
    values = lambda: (float(scale.scale.numpy()), int(scale.good_steps.numpy()))
    scale.good_steps.assign(1_998)
    scale.update(state.distribution, yes, no)
    assert values() == (2.0**15, 1_999)
    scale.update(state.distribution, yes, no)
    assert values() == (2.0**16, 0)
    scale.update(state.distribution, no, no)  # bad data: neither
    assert values() == (2.0**16, 0)
    scale.scale.assign(2.0**24)
    scale.good_steps.assign(1_999)
    scale.update(state.distribution, yes, no)
    assert values() == (2.0**24, 0)


def test_only_what_a_smaller_scale_may_mend_is_an_overflow():
    scale = LossScale()
    one, inf = tf.constant(1.0), tf.constant(np.inf)
    assert scale.overflowed(one, inf)
    assert not scale.overflowed(one, one)
    assert not scale.overflowed(inf, inf)  # the loss itself, in which the scale has no part
    scale.scale.assign(1.0)
    assert not scale.overflowed(one, inf)


def test_an_overflow_does_not_count_towards_the_fatal_ones():
    step = helpers.Step(*helpers.make_state(), 16, 0)
    report = step(tf.zeros((2, 2)), 0)
    skipped = {"scale": tf.constant(8.0), "overflowed": tf.constant(True)}
    taken = report._replace(scaling=skipped | {"overflowed": tf.constant(False)})
    infinite = report._replace(finite=tf.constant(False), scaling=skipped)
    meter = Meter(lcss.sdes.VPSDE(), max_nonfinite=2)
    for i in range(5):
        meter.add(i, infinite)
    meter.add(5, taken)
    meter.drain()
    figures = meter.figures()
    assert (figures["loss_scale"], figures["loss_scale_overflows"]) == (8.0, 5.0)
    assert figures["nonfinite_steps"] == meter.nonfinite_steps == 0
    bad = infinite._replace(scaling=taken.scaling)
    for i in range(2):
        meter.add(i, bad)
    with pytest.raises(NonFiniteError, match="2 steps in a row"):
        meter.drain()


@pytest.mark.slow
def test_one_replica_equals_two():
    runs = {}
    for replicas in (1, 2):
        state, step = made(replicas)
        helpers.run(state, step, helpers.batches(state.distribution), 4)
        runs[replicas] = helpers.weights(state.network), float(state.loss_scale.scale.numpy())
    assert runs[1][1] == runs[2][1]
    assert np.linalg.norm(runs[1][0] - runs[2][0]) < 1e-3 * np.linalg.norm(runs[1][0])


def test_the_scale_is_state(tmp_path):
    """It comes back from a checkpoint, under the optimiser's names."""
    (state, _), (other, _) = made(scale=2.0**7), made()
    state.loss_scale.good_steps.assign(12)
    state.loss_scale.overflows.assign(8)
    Checkpoints(tmp_path).save(state)
    Checkpoints(tmp_path).restore(other)
    names = [name for name in state.variables()["optimizer"] if "loss_scale" in name]
    assert sorted(names) == ["loss_scale/good_steps", "loss_scale/overflows", "loss_scale/scale"]
    for name in names:
        pair = [s.variables()["optimizer"][name].numpy() for s in (state, other)]
        assert pair[0] == pair[1]
    assert other.loss_scale.scale.numpy() == 2.0**7


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_run_resumes_to_the_same_bits(jit_compile, tmp_path):
    def fit(workdir, steps):
        model = lcss.ScoreModel(network(), distribution=Distribution(1))
        trainer = helpers.no_prior_check(
            make_step=functools.partial(TrainStep, jit_compile=jit_compile),
            make_checkpoints=functools.partial(Checkpoints, every=4),
        )
        adam = keras.optimizers.Adam(1e-3)
        model.fit(helpers.data(64), LOSS(), steps, 16, adam, workdir, trainer=trainer)
        return helpers.everything(model.state)

    fit(tmp_path / "again", 6)
    again, whole = fit(tmp_path / "again", 12), fit(tmp_path / "whole", 12)
    for one, two in zip(again, whole, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_training_reaches_the_loss_of_float32():
    """Within the spread of the loss between batches, on two clusters; and under XLA."""
    found = {}
    for dtype in ("float32", "mixed_float16"):
        state, distribution = helpers.make_state(network=network(dtype), learning_rate=3e-3)
        step = helpers.make_step(state, distribution, LOSS(), jit_compile=True)
        reports = helpers.run(state, step, helpers.batches(distribution, count=400), 400)
        found[dtype] = [report.loss for report in reports[-100:]]
        first = np.mean([report.loss for report in reports[:20]])
    gaps = np.subtract(found["mixed_float16"], found["float32"])  # of the same batches and noise
    assert np.mean(found["float32"]) < 0.9 * first
    assert abs(np.mean(gaps)) < 0.005
    assert np.std(gaps) < 0.02
