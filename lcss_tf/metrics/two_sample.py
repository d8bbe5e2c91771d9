"""A two-sample test: might samples and held-out data be draws from one law?"""

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.features import Values
from lcss_tf.metrics.base import Figure, Metric
from lcss_tf.registry import METRICS


def energy_distance(distances, first):
    """2 E|X − Y| − E|X − X'| − E|Y − Y'| (Székely and Rizzo 2004), from all pairs' distances.

    Args:
      distances: [N, N], symmetric, between all rows of both sets.
      first: bool [N], or [P, N] for P ways to split: which rows are X.

    Returns:
      A float, or [P]: at least 0, and 0 between equal laws. As a V-statistic, with the pairs of
      a row and itself.
    """
    x = np.atleast_2d(first).astype(np.float64)
    y = 1.0 - x
    x, y = x / x.sum(axis=1, keepdims=True), y / y.sum(axis=1, keepdims=True)
    gap = x - y
    # The three terms are one quadratic form of the difference of the two empirical laws.
    values = -np.einsum("pi,pi->p", gap @ distances, gap)
    return values if np.ndim(first) == 2 else float(values[0])


def permutation_test(samples, data, permutations=999, seed=0):
    """The energy distance of two sets of rows, and the p-value of the permutation test.

    Args:
      samples, data: [N, D] and [M, D].
      permutations: random ways to split the N + M rows.
      seed: of these.

    Returns:
      (distance, p): p is the share of splits, the true one among them, whose distance is at
      least as large. If both sets are draws from one law, p is uniform.
    """
    rows = np.concatenate([samples, data]).astype(np.float64)
    squares = (rows**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0.0))
    first = np.arange(len(rows)) < len(samples)
    random = np.random.default_rng(seed)
    splits = np.stack([first, *(random.permutation(first) for _ in range(permutations))])
    values = energy_distance(distances, splits)
    # A tolerance: splits that are the true one again must count, whatever the rounding.
    return float(values[0]), float(np.mean(values >= values[0] - 1e-12))


@METRICS.register
class TwoSampleTest(Metric):
    """The p-value of `permutation_test` between samples and held-out rows, standardised.

    About uniform on [0, 1] if the model is perfect; close to 0 where the test can tell the samples
    from the data. Rows are standardised by the held-out ones, column by column.

    Args:
      num_samples: that are compared.
      permutations: of the test.
      extractor: an object of `EXTRACTORS`; by default `Values`.

    Raises:
      ValueError: num_samples < 2 or permutations < 1.
    """

    kind, keeps, keeps_all_real = "two_sample_p", True, True

    def __init__(self, num_samples=500, permutations=999, extractor=None):
        if permutations < 1:
            raise UsageError(f"TwoSampleTest expects permutations >= 1; got {permutations}.")
        super().__init__(extractor or Values(), num_samples)
        self.permutations = permutations

    def figures(self, samples, reference):
        """{name: `Figure`}: the p-value, whose own error is that of its count of splits."""
        x, y = samples.features(self.num_samples), reference.features()
        mean, deviation = y.mean(axis=0), np.maximum(y.std(axis=0), 1e-12)
        scaled = [(rows - mean) / deviation for rows in (x, y)]
        p = permutation_test(*scaled, self.permutations)[1]
        return {self.name: Figure(p, float(np.sqrt(p * (1 - p) / self.permutations)))}
