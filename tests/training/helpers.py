"""A small experiment that trains in seconds."""

import numpy as np
import tensorflow as tf

import lcss_tf
from lcss_tf.score import Moments, ScoreModel
from lcss_tf.training.distribution import Distribution
from lcss_tf.training.optimizers import make_optimizer
from lcss_tf.training.state import TrainState
from lcss_tf.training.step import TrainStep

BATCH = 16


def data(batch=BATCH, seed=0):
    """Two clusters in the plane."""
    noise = np.random.default_rng(seed).normal(size=(batch, 2))
    return np.float32(0.2 * noise + np.sign(noise[:, :1]))


def make_state(replicas=1, network=None, learning_rate=1e-3):
    """A fresh state; its network starts from the same weights every time."""
    distribution = Distribution(replicas)
    with distribution.scope():
        network = network or lcss_tf.NETWORKS["MLP"](width=16, depth=2, embedding_features=8)
        optimizer = make_optimizer(learning_rate, warmup_steps=0)
    model = ScoreModel(lcss_tf.SDES["VPSDE"](), Moments())
    model.preconditioning.prepare(model.sde, tf.constant(data(256)))
    state = TrainState(model, network, optimizer, (2,), distribution)
    random = np.random.default_rng(0)
    for weight, average in zip(state.network.weights, state.ema.network.weights, strict=True):
        if weight.trainable:
            value = random.normal(size=weight.shape, scale=0.3)
            weight.assign(value)
            average.assign(value)
    return state, distribution


def make_step(state, distribution, loss=None, **options):
    loss = loss or lcss_tf.LOSSES["LCSSLoss"]()
    return TrainStep(state, loss, distribution, BATCH, seed=0, **options)


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
