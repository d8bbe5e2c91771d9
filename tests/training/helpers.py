"""A small experiment that trains in seconds."""

import functools

import numpy as np
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.score import Moments, Score
from lcss_tf.training import Checkpoints, Distribution, Trainer, TrainState, TrainStep, WarmUp
from lcss_tf.training.step import NUM_BUCKETS, StepReport

BATCH = 16
STEPS = 12  # of `fit`


def data(batch=BATCH, seed=0):
    """Two clusters in the plane."""
    noise = np.random.default_rng(seed).normal(size=(batch, 2))
    return np.float32(0.2 * noise + np.sign(noise[:, :1]))


def no_prior_check(**options):
    """A `Trainer` that does not check the prior: a second less."""
    return Trainer(check_prior=None, **options)


def adam(learning_rate=1e-3, warmup_steps=0):
    import keras

    return keras.optimizers.Adam(WarmUp(learning_rate, warmup_steps), epsilon=1e-8)


def make_state(replicas=1, network=None, learning_rate=1e-3, averaging=None):
    """A fresh state; its network starts from the same weights every time."""
    network = network or lcss.networks.MLP(width=16, depth=2, embedding_features=8)
    score = Score(lcss.sdes.VPSDE(), Moments())
    score.preconditioning.prepare(score.sde, tf.constant(data(256)))
    state = TrainState(score, network, (2,), Distribution(replicas), averaging=averaging)
    state.attach(adam(learning_rate))
    random = np.random.default_rng(0)
    for weight, average in zip(state.network.weights, state.average.weights, strict=True):
        if weight.trainable:
            value = random.normal(size=weight.shape, scale=0.3)
            weight.assign(value)
            average.assign(value)
    state.begin_averages()
    return state, state.distribution


def make_step(state, distribution, loss=None, seed=0, **options):
    assert distribution is state.distribution
    return TrainStep(state, loss or lcss.losses.LCSSLoss(), BATCH, seed, **options)


def batches(distribution, start=0, count=200):
    """The iterator of per-replica batches for `data`, a new batch at every step."""

    def make_dataset(shards):
        parts = [
            data(BATCH, seed=step)[first : first + rows]
            for step in range(start, start + count)
            for first, rows in shards
        ]
        return tf.data.Dataset.from_tensor_slices(np.stack(parts))

    return distribution.batches(make_dataset, BATCH)


def run(state, step, iterator, steps):
    """Takes `steps` steps; returns the reports."""
    reports = []
    for _ in range(steps):
        report = step(next(iterator), state.step)
        state.step += 1
        reports.append(tf.nest.map_structure(lambda v: v.numpy(), report))
    return reports


def weights(network):
    return np.concatenate([w.numpy().ravel() for w in network.weights])


def everything(state):
    """The values of all variables of a state."""
    return [v.numpy() for group in state.variables().values() for v in group.values()]


class Step:
    """In a `TrainStep`'s place: moves every variable by the batch and the step, and is not traced.

    So a run ends with the same bits only if it saw the same batches at the same steps.
    """

    many_workers = False

    def __init__(self, state, loss, batch_size, seed):
        self._distribution, groups = state.distribution, state.variables().values()
        self._variables = [v for group in groups for v in group.values() if "float" in v.dtype]

    def __call__(self, batch, step, stop=False):
        batch = self._distribution.first(batch)
        shift = tf.reduce_sum(batch * tf.range(1.0, len(batch) + 1)[:, None]) + step
        for variable in self._variables:
            variable.assign(0.9 * variable + 0.01 * shift)
        zeros, one = tf.zeros(NUM_BUCKETS), tf.constant(1.0)
        return StepReport(shift, {}, zeros, zeros, one, one, tf.constant(True), tf.constant(0.0))


def fit(
    workdir=None,
    callbacks=(),
    steps=STEPS,
    make_step=Step,
    width=4,
    seed=0,
    optimizer=None,
    average=None,
    **options,
):
    """A short training; returns the model."""
    network = lcss.networks.MLP(width=width, depth=0, embedding_features=4, name="net")
    distribution = Distribution(1)
    trained = lcss.ScoreModel(
        network, lcss.sdes.VPSDE(), distribution=distribution, average=average
    )
    trainer = no_prior_check(
        log_every=4,
        make_step=make_step,
        make_checkpoints=functools.partial(Checkpoints, every=5, keep=3),
        **options,
    )
    trained.fit(
        data(64), lcss.losses.DSMLoss(), steps, 16, optimizer or adam(), workdir, callbacks,
        seed, trainer=trainer,
    )  # fmt: skip
    return trained
