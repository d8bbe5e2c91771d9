"""All that training changes and a checkpoint holds, in one place."""

import math

import keras
import numpy as np
import tensorflow as tf

from lcss_tf.training.ema import EMA


class TrainState:
    """Network, EMA, optimiser, measured moments, and the number of steps done.

    Args:
      model: the `ScoreModel`.
      network: a network, called as network(x, cond); `get_config` must describe it. It is made
        anew from that under the scope, twice: its own weights are not used.
      optimizer: a Keras optimiser; None where nothing is trained.
      example_shape: shape of one example, to build the network with.
      distribution: under whose scope variables are created.
      seed: of the initial weights.
    """

    def __init__(self, model, network, optimizer, example_shape, distribution, seed=0):
        self.model = model
        self.optimizer = optimizer
        self.step = 0
        self.nonfinite_steps = 0
        # Keras' initialisers draw their seeds from Python's generator when they are made.
        keras.utils.set_random_seed(seed)
        with distribution.scope():
            self.network, average = (build(network, example_shape) for _ in range(2))
            self.ema = EMA(self.network, average)
            if optimizer is not None:
                optimizer.build(self.network.trainable_variables)

    def num_parameters(self):
        """Trainable numbers in the network."""
        return sum(int(np.prod(v.shape)) for v in self.network.trainable_variables)

    def num_bytes(self):
        """Bytes of all variables: what a checkpoint takes."""
        variables = (v for group in self.variables().values() for v in group)
        return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables)

    def variables(self):
        """The variables by group, as a checkpoint names them."""
        groups = {"network": self.network.weights, "ema": self.ema.network.weights}
        if self.optimizer is not None:
            groups["optimizer"] = self.optimizer.variables
        return groups

    def share(self, distribution):
        """Every worker takes over what the chief has: variables, moments and counts.

        All workers must call it; alone, a process keeps what it has.
        """
        if distribution.num_workers == 1:
            return
        variables = [v for group in self.variables().values() for v in group]
        measured = self.model.preconditioning.measured or {}
        counts = np.int64([self.step, self.nonfinite_steps])
        values = [v.numpy() for v in variables] + [measured[k] for k in sorted(measured)] + [counts]
        values = distribution.from_chief(values)
        for variable, value in zip(variables, values, strict=False):
            variable.assign(value)
        moments = values[len(variables) : -1]
        if measured:
            self.model.preconditioning.measured = dict(zip(sorted(measured), moments, strict=True))
        self.step, self.nonfinite_steps = values[-1].tolist()


def build(network, example_shape):
    """A fresh instance of the network with its variables created.

    By its own `build`, which computes nothing; a network without one is called on zeros.
    """
    network = type(network).from_config(network.get_config())
    if type(network).build is keras.Model.build:
        network(np.zeros((1, *example_shape), np.float32), np.ones(1, np.float32))
    else:
        network.build((None, *example_shape))
    return network
