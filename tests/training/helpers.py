"""A small experiment that trains in seconds."""

import numpy as np
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.score import Moments, Score
from lcss_tf.training import Distribution, Trainer, TrainState, TrainStep, WarmUp

BATCH = 16


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


def make_state(replicas=1, network=None, learning_rate=1e-3):
    """A fresh state; its network starts from the same weights every time."""
    network = network or lcss.networks.MLP(width=16, depth=2, embedding_features=8)
    score = Score(lcss.sdes.VPSDE(), Moments())
    score.preconditioning.prepare(score.sde, tf.constant(data(256)))
    state = TrainState(score, network, (2,), Distribution(replicas))
    state.attach(adam(learning_rate))
    random = np.random.default_rng(0)
    for weight, average in zip(state.network.weights, state.average.weights, strict=True):
        if weight.trainable:
            value = random.normal(size=weight.shape, scale=0.3)
            weight.assign(value)
            average.assign(value)
    return state, state.distribution


def make_step(state, distribution, loss=None, **options):
    assert distribution is state.distribution
    return TrainStep(state, loss or lcss.losses.LCSSLoss(), BATCH, seed=0, **options)


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
