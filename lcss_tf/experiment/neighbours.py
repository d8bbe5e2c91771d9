"""Does the model memorise? Nearest training examples of samples, beside those of real examples."""

from typing import NamedTuple

import numpy as np

_CHUNK_NUMBERS = 2**22  # numbers of training examples compared at a time
_NEAREST = 3


class Neighbours(NamedTuple):
    """Distances to the training set, in root mean squares over an example's numbers.

    samples, training, held_out: distances to the nearest training example, [N] each: of samples,
      of training examples (to another one), of held-out ones.
    pictured: examples [M, 1 + 3, ...]: a sample, and its three nearest training examples.
    """

    samples: np.ndarray
    training: np.ndarray
    held_out: np.ndarray
    pictured: np.ndarray

    def share_nearer(self):
        """The share of samples nearer to a training example than 95 % of held-out examples are.

        About 5 % if the model has learnt the law; near 100 % if it repeats its training set.
        """
        return float(np.mean(self.samples < np.quantile(self.held_out, 0.05)))


def find_neighbours(samples, data, references, most=256, most_training=50_000, pictured=8):
    """`Neighbours` of the first `most` samples [N, ...], in the data's own units.

    The training set is gone through in parts; of a large one `most_training` examples at random.
    Data that are drawn, not read, have no training set: None.
    """
    size = data.size("train")
    if size is None or data.size("test") is None:
        return None
    samples = samples[:most]
    count = min(size, most_training)
    training = references.examples(min(count, most), "train")
    held_out = references.examples(min(data.size("test"), most), "test")
    # The first of these training examples are themselves among those searched: theirs is the
    # second neighbour.
    queries = [np.float64(x).reshape(len(x), -1) for x in (samples, training, held_out)]
    best = [_Best(q, _NEAREST) for q in queries]
    chunk = max(1, _CHUNK_NUMBERS // queries[0].shape[1])
    for start in range(0, count, chunk):
        part = references.examples(count, "train", start, min(chunk, count - start))
        flat = np.float64(part).reshape(len(part), -1)
        for one in best:
            one.add(flat, start)
    shown = np.argsort(best[0].distances[:, 0])[:pictured]  # the nearest: where copies would be
    nearest = best[0].indices[shown].reshape(-1)
    found = references.examples_at(count, "train", nearest)
    found = found.reshape(len(shown), _NEAREST, *found.shape[1:])
    return Neighbours(
        best[0].distances[:, 0],
        best[1].distances[:, 1],
        best[2].distances[:, 0],
        np.concatenate([samples[shown][:, None], found], axis=1),
    )


class _Best:
    """The k nearest of all that were added, for each query."""

    def __init__(self, queries, k):
        self._queries = queries
        self.distances = np.full((len(queries), k), np.inf)
        self.indices = np.zeros((len(queries), k), np.int64)

    def add(self, examples, start):
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
