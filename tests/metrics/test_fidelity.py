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


def test_the_error_of_the_inception_score_is_the_literatures():
    """The mean and np.std of exp E KL(p(y|x) ‖ p(y)) over ten groups of consecutive samples."""
    logits = normal(1_000, 5, 7)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = [
        np.exp(np.mean(np.sum(p * np.log(p / p.mean(axis=0)), axis=1)))
        for p in np.split(shares, 10)
    ]
    found = value(InceptionScore(Classes(), 1_000), logits, logits)
    assert found == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-6)
    assert found.standard_error == pytest.approx(np.std(scores) / 3, rel=1e-6)  # of their mean


def by_prdc(real, fake, k):
    """Density and coverage by the definitions of prdc, with all distances at once."""
    distance = lambda a, b: np.linalg.norm(a[:, None] - b[None], axis=2)
    radii = np.sort(distance(real, real), axis=1)[:, k]
    between = distance(real, fake)
    density = np.mean(np.sum(between < radii[:, None], axis=0)) / k
    return density, np.mean(between.min(axis=1) < radii)


@pytest.mark.parametrize("ties", [False, True])
def test_density_and_coverage_are_those_of_prdc(ties):
    """On a grid of whole numbers many distances are equal, and many examples repeated."""
    real, fake = normal(300, 2, 0), normal(200, 2, 1, shift=0.5)
    if ties:
        real, fake = np.round(real), np.round(fake)
    metric = DensityCoverage(IdentityFeatures(), 300, k=5)
    found = metric.compute(metric.statistics([fake]), metric.statistics([real])).values()
    expected = by_prdc(real, fake, 5)
    np.testing.assert_allclose([v.value for v in found], expected, rtol=1e-9)


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


def test_a_far_outlier_among_real_examples_changes_one_ball():
    """Its own: what is lost to rounding near the others does not grow with it."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 2)), random.normal(size=(300, 2))
    metric = DensityCoverage(IdentityFeatures(), 300, k=5)

    def measured():
        found = metric.compute(metric.statistics([x]), metric.statistics([y]))
        return [figure.value for figure in found.values()]

    plain = measured()
    y[0] = [3e6, 0.0]
    assert measured() == pytest.approx(plain, abs=0.03)
    assert plain[0] > 0.8
