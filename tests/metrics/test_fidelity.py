"""Fidelity and diversity: closed forms."""

import numpy as np
import pytest

from lcss_tf.metrics import DensityCoverage, IdentityFeatures, InceptionScore, PrecisionRecall
from tests.metrics.helpers import Classes, normal, value


def expected_coverage(n, m, k):
    """The mean coverage of n samples and m real examples of one distribution.

    1 − (m−1)⋯(m−k)/((n+m−1)⋯(n+m−k)): a ball is empty if the k nearest of all others are real.
    """
    j = np.arange(1, k + 1)
    return float(1.0 - np.prod((m - j) / (n + m - j)))


def test_the_inception_score_of_certain_and_of_uncertain_classes():
    """K classes, each certain and as frequent: K. No idea at all: 1."""
    certain = np.tile(np.eye(5) * 50, (200, 1))
    assert value(InceptionScore(Classes(), 1_000), certain, certain).value == pytest.approx(
        5, rel=1e-9
    )
    unsure = np.zeros((1_000, 5))
    assert value(InceptionScore(Classes(), 1_000), unsure, unsure) == pytest.approx((1.0, 0.0))


def test_precision_and_recall_of_a_mixture_half_of_which_is_missing():
    real = np.concatenate([normal(400, 2, 0), normal(400, 2, 1, shift=50.0)])
    half = normal(400, 2, 2)
    far = np.concatenate([normal(300, 2, 3), normal(100, 2, 4, shift=-50.0)])
    metric = PrecisionRecall(Classes(), 800)
    values = lambda x: metric.compute(metric.statistics([x]), metric.statistics([real]))
    assert values(half)["recall_classes_800"].value == pytest.approx(0.5, abs=0.03)
    assert values(half)["precision_classes_800"].value > 0.9
    assert values(far)["precision_classes_800"].value == pytest.approx(0.75, abs=0.06)
    identical = values(real)
    assert identical["recall_classes_800"].value == identical["precision_classes_800"].value == 1.0


def test_density_and_coverage_of_equal_distributions_have_closed_forms():
    metric, n, m = DensityCoverage(IdentityFeatures(), 700, k=5), 500, 700
    runs = []
    for s in range(12):
        values = metric.compute(
            metric.statistics([normal(n, 4, s)]), metric.statistics([normal(m, 4, 100 + s)])
        )
        runs.append([found.value for found in values.values()])
    density, coverage = np.mean(runs, axis=0)
    errors = np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs))
    assert density == pytest.approx(1.0, abs=4 * errors[0])
    assert coverage == pytest.approx(expected_coverage(n, m, 5), abs=4 * errors[1])
