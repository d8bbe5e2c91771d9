"""Images whose levels are made continuous in training, as their likelihood takes them."""

import math

import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.base import Dataset
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS


@DATASETS.register
class Dequantised(Dataset):
    """Another dataset's images, each visit of a level k at another place of its width.

    A model of images as they are stored learns that pixels lie on few values and nowhere else,
    and gives next to no density to dequantised ones: its bits/dim are bad, the worse the better
    it has learned. One that is to have a likelihood is trained on these.

    `examples` themselves lie at the middle of their levels.

    Args:
      data: the dataset, an object of `DATASETS`.

    Raises:
      ValueError: data that do not say how many levels they have.
    """

    def __init__(self, data):
        if data.scaling.levels is None:
            raise UsageError(
                f"Dequantised expects images with levels; {data.name} does not say how many it has."
            )
        self.data = data
        self.name, self.shape, self.kind = data.name, data.shape, data.kind
        self.scaling = data.scaling.on_centres()

    def size(self, split="train"):
        """See `Dataset.size`."""
        return self.data.size(split)

    def examples(self, indices, split="train", seed=0):
        """The images at `indices`, each level at the middle of its width."""
        return self.scaling.dequantise(self.data.examples(indices, split, seed), 0.5)

    def labels(self, split="train"):
        """See `Dataset.labels`."""
        return self.data.labels(split)

    def require(self, split="train"):
        """See `Dataset.require`."""
        self.data.require(split)

    def explain(self, indices, split="train"):
        """See `Dataset.explain`."""
        self.data.explain(indices, split)

    def visits(self, indices, positions, split="train", seed=0):
        """The other dataset's visits, then u of `Scaling.dequantise`."""
        examples = self.data.visits(indices, positions, split, seed)
        key = hashing.stream_key(seed, "dequantise")
        u = hashing.uniform(key, positions, math.prod(self.shape))
        return self.scaling.dequantise(examples, tf.reshape(u, tf.shape(examples)))
