"""Models of points in the plane, without training."""

import numpy as np

import lcss_tf as lcss
from lcss_tf.training import Distribution

X = np.random.default_rng(0).normal([1.0, -2.0], 0.3, (32, 2))


def model_of(seed, width=8, sde=None, replicas=1, **options):
    """A model of points in the plane with weights drawn from `seed`, and no training."""
    network = lcss.networks.MLP(width=width, depth=1, embedding_features=4, **options)
    model = lcss.ScoreModel(network, sde or lcss.sdes.VPSDE(), distribution=Distribution(replicas))
    state = model.build((2,))
    model.info = lcss.data.from_user(X).info()
    model.preconditioning.prepare(model.sde, model.normalise(X))
    generator = np.random.default_rng(seed)
    for weight, average in zip(state.network.weights, state.average.weights, strict=True):
        if weight.trainable:
            average.assign(generator.normal(scale=0.3, size=weight.shape))
    return model
