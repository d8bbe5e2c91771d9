"""Does a model memorise? Distances to the nearest training examples, beside those of real data."""

from typing import NamedTuple

import numpy as np

from lcss_tf.metrics.references import References
from lcss_tf.typing import Array

_CHUNK_NUMBERS = 2**22  # numbers of training examples compared at a time
_NEAREST = 3


class Neighbours(NamedTuple):
    """Root mean square distances to the nearest training example, [N] each.

    samples: of samples.
    training: of training examples, to another training example.
    held_out: of held-out examples.
    pictured: examples [M, 1 + 3, ...]: a sample and its three nearest training examples, for the
      samples nearest to the training set.
    """

    samples: Array
    training: Array
    held_out: Array
    pictured: Array

    def share_memorised(self) -> float:
        """The share of samples nearer to a training example than 95 % of held-out examples are.

        It is about 5 % for a model that has learnt the distribution, and near 100 % for one that
        repeats its training set.
        """
        return float(np.mean(self.samples < np.quantile(self.held_out, 0.05)))


def find_neighbours(
    samples: Array,
    references: References,
    most: int = 256,
    most_training: int = 50_000,
    num_pictured: int = 8,
) -> Neighbours | None:
    """The nearest training examples of the first `most` samples.

    The training set is read in parts; of a large one `most_training` examples at random.

    Args:
      samples: [N, ...], in the data's own units.
      references: of the data.
      most: samples, training examples and held-out examples compared.
      most_training: training examples searched.
      num_pictured: samples shown with their neighbours.

    Returns:
      None for endless data, which have no training set.
    """
    size, held_out_size = references.data.size("train"), references.data.size("test")
    if size is None or held_out_size is None:
        return None
    samples = samples[:most]
    count = min(size, most_training)
    training = references.examples(min(count, most), "train")
    held_out = references.examples(min(held_out_size, most), "test")
    queries = [np.float64(x).reshape(len(x), -1) for x in (samples, training, held_out)]
    nearest = [_Nearest(query, _NEAREST) for query in queries]
    chunk = max(1, _CHUNK_NUMBERS // queries[0].shape[1])
    for start in range(0, count, chunk):
        part = references.examples(count, "train", start, min(chunk, count - start))
        flat = np.float64(part).reshape(len(part), -1)
        for one in nearest:
            one.add(flat, start)
    shown = np.argsort(nearest[0].distances[:, 0])[:num_pictured]  # where copies would be
    found = references.examples_at(count, "train", nearest[0].indices[shown].reshape(-1))
    found = found.reshape(len(shown), _NEAREST, *found.shape[1:])
    return Neighbours(
        nearest[0].distances[:, 0],
        nearest[1].distances[:, 1],  # the first neighbour is the training example itself
        nearest[2].distances[:, 0],
        np.concatenate([samples[shown][:, None], found], axis=1),
    )


class _Nearest:
    """The k nearest of all added examples, for each query [Q, D]."""

    def __init__(self, queries: Array, k: int) -> None:
        self._queries = queries
        self.distances = np.full((len(queries), k), np.inf)
        self.indices = np.zeros((len(queries), k), np.int64)

    def add(self, examples: Array, start: int) -> None:
        q, k = self._queries, self.distances.shape[1]
        squares = np.sum(q**2, axis=1)[:, None] + np.sum(examples**2, axis=1)[None]
        squares = np.maximum(squares - 2.0 * q @ examples.T, 0.0)
        distances = np.sqrt(squares / q.shape[1])
        indices = np.broadcast_to(start + np.arange(len(examples)), distances.shape)
        distances = np.concatenate([self.distances, distances], axis=1)
        indices = np.concatenate([self.indices, indices], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        self.distances = np.take_along_axis(distances, order, axis=1)
        self.indices = np.take_along_axis(indices, order, axis=1)
