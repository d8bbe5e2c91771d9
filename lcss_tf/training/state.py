"""All that training changes and a checkpoint holds, in one place."""

import numpy as np

from lcss_tf.training.ema import EMA


class TrainState:
    """Network, EMA, optimiser, measured moments, and the number of steps done.

    Args:
      model: the `ScoreModel`.
      network: a network, called as network(x, cond).
      optimizer: a Keras optimiser; None where nothing is trained.
      example_shape: shape of one example, to build the network with.
      distribution: under whose scope variables are created.
    """

    def __init__(self, model, network, optimizer, example_shape, distribution):
        self.model = model
        self.optimizer = optimizer
        self.step = 0
        self.nonfinite_steps = 0
        with distribution.scope():
            self.network = build(network, example_shape)
            average = type(network).from_config(network.get_config())
            self.ema = EMA(self.network, build(average, example_shape))
            if optimizer is not None:
                optimizer.build(self.network.trainable_variables)

    def num_parameters(self):
        """Trainable numbers in the network."""
        return sum(int(np.prod(v.shape)) for v in self.network.trainable_variables)

    def variables(self):
        """The variables by group, as a checkpoint names them."""
        groups = {"network": self.network.weights, "ema": self.ema.network.weights}
        if self.optimizer is not None:
            groups["optimizer"] = self.optimizer.variables
        return groups


def build(network, example_shape):
    """The network with its variables created, by one call on zeros."""
    x = np.zeros((1, *example_shape), np.float32)
    network(x, np.ones(1, np.float32))
    return network
