"""Shared by the tests of metrics."""

import numpy as np

from lcss_tf.metrics import Extractor, Features


class Classes(Extractor):
    """Features as they are, which are logits too."""

    name, has_classes = "classes", True

    def check(self, info):
        pass

    def identity(self):
        return "classes"

    def __call__(self, batch):
        return Features(np.asarray(batch, np.float64), np.asarray(batch, np.float64))


def normal(count, dimension, seed, scale=1.0, shift=0.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(count, dimension))


def value(metric, x, y):
    return next(iter(metric.compute(metric.statistics([x]), metric.statistics([y])).values()))
