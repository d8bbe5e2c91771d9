"""Toy data: endless vectors from a density that is known exactly."""

from lcss_tf.data import hashing
from lcss_tf.data.base import Dataset
from lcss_tf.data.scaling import Scaling


class Toy(Dataset):
    """The base of toys: a subclass gives `draw` and `log_density`.

    Example i is drawn from numbers that belong to (seed, split, i) alone, so the splits and the
    seeds are independent streams.

    Args:
      name: of the dataset.
      dimension: D, the numbers of one example.
      num_uniforms: uniform numbers that one example is made from.
    """

    kind = "vector"

    def __init__(self, name, dimension, num_uniforms):
        self.name = name
        self.shape = (dimension,)
        self.scaling = Scaling.identity()
        self._num_uniforms = num_uniforms

    def size(self, split="train"):
        """None: endless."""
        del split

    def examples(self, indices, split="train", seed=0):
        """The examples at `indices`; see `Dataset.examples`."""
        key = hashing.stream_key(seed, self.name, split)
        return self.draw(hashing.uniform(key, indices, self._num_uniforms))

    def draw(self, uniforms):
        """Examples float32 [B, D] from U[0, 1) float32 [B, num_uniforms]."""
        raise NotImplementedError

    def log_density(self, x):
        """log p(x) [B] at points [B, D]; −∞ outside the support."""
        raise NotImplementedError
