"""Every metric: closed forms, errors that are right, batches and counts, bad input."""

import numpy as np
import pytest
import scipy.stats

import lcss_tf
from lcss_tf.features import Extractor, Outputs, Values
from lcss_tf.metrics import (
    MMD,
    ClassScore,
    DensityCoverage,
    EnergyDistance,
    Frechet,
    GaussianStatistics,
    KernelDistance,
    PrecisionRecall,
    Summary,
    reference_needs,
    sample_summary,
)
from lcss_tf.metrics.kernels import gaussian, kernel_distance, negative_distance, polynomial
from lcss_tf.metrics.manifolds import expected_coverage


class Classes(Extractor):
    """Features as they are, which are logits too."""

    name, has_classes = "classes", True

    def check(self, info):
        pass

    def identity(self):
        return "classes"

    def __call__(self, batch):
        return Outputs(np.asarray(batch, np.float64), np.asarray(batch, np.float64))


def normal(count, dimension, seed, scale=1.0, shift=0.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(count, dimension))


def value(metric, x, y):
    return next(iter(metric.figures(metric.statistics([x]), metric.statistics([y])).values()))


EVERY = [
    Frechet(Classes(), 300),
    KernelDistance(Classes(), 300),
    ClassScore(Classes(), 300),
    PrecisionRecall(Classes(), 300),
    DensityCoverage(Classes(), 300),
    MMD(300),
    EnergyDistance(300),
    lcss_tf.METRICS["SlicedWasserstein"](300),
]


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: m.name)
def test_the_contract(metric):
    """Names carry the count; batches, and examples beyond the count, change nothing."""
    x, y = normal(500, 6, 0), normal(400, 6, 1, 1.3)
    needs = reference_needs([metric], len(y))
    results = []
    for cuts, source in (([], x), ([1, 7, 299], x), ([450], np.concatenate([x[:300], 9 * x]))):
        summary, reference = sample_summary([metric]), Summary(**needs)
        for part in np.split(source, cuts):
            summary.add(metric.extractor(part))
        for part in np.split(y, cuts):
            reference.add(metric.extractor(part))
        results.append(metric.figures(summary, Summary.from_arrays(reference.arrays())))
    assert all(name.endswith("_300") for name in results[0])
    for name, figure in results[0].items():
        assert figure.error > 0
        for other in results[1:]:
            assert other[name] == pytest.approx(figure, rel=1e-9)


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: m.name)
def test_a_constant_feature_changes_nothing_but_the_kernels_scale(metric):
    """No NaN, and where distances alone matter the same figure."""
    x, y = (np.concatenate([normal(200, 4, s), np.ones((200, 1))], axis=1) for s in (0, 1))
    figures = metric.figures(metric.statistics([x]), metric.statistics([y]))
    assert all(np.isfinite(figure).all() for figure in figures.values())
    if metric.kind not in ("kernel", "class_score", "sliced_wasserstein"):
        without = metric.figures(metric.statistics([x[:, :4]]), metric.statistics([y[:, :4]]))
        for name, figure in figures.items():
            assert figure == pytest.approx(without[name], rel=1e-6)
    constant = metric.statistics([np.ones((200, 3))])
    for figure in metric.figures(constant, constant).values():
        assert np.isfinite(figure.value)


@pytest.mark.parametrize(
    ("metric", "floor"),
    [
        (Frechet(Classes(), 2_000), 0.6),
        (KernelDistance(Classes(), 500), 0.6),
        (MMD(500, 1.0), 0.6),
        (EnergyDistance(500), 0.6),
        (ClassScore(Classes(), 2_000), 0.5),
        (DensityCoverage(Classes(), 500), 0.5),
        (lcss_tf.METRICS["SlicedWasserstein"](500, 32), 0.5),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_the_error_is_the_deviation_between_independent_samples(metric, floor):
    reference = metric.statistics([normal(metric.num_samples, 3, 10_000)])
    draws = [
        next(
            iter(
                metric.figures(
                    metric.statistics([normal(metric.num_samples, 3, s, 1.2, 0.4)]), reference
                ).values()
            )
        )
        for s in range(40)
    ]
    deviation = np.std([d.value for d in draws], ddof=1)
    claimed = np.sqrt(np.mean([d.error**2 for d in draws]))
    assert floor < claimed / deviation < 1 / floor


def test_frechet_of_gaussians():
    """Samples whose moments are exactly those of two Gaussians."""
    x = normal(4_000, 5, 0)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    shift = np.linspace(-1, 1, 5)
    figure = value(Frechet(Classes(), 4_000), 2.0 * x + shift, x)
    assert figure.value == pytest.approx(5 * (2 - 1) ** 2 + np.sum(shift**2), rel=1e-9)


def test_fewer_samples_than_features_warn_and_give_a_figure(caplog):
    """In 50 dimensions 20 samples: what the 20 span has a closed form."""
    rotation = np.linalg.qr(normal(50, 50, 0))[0]
    x = np.zeros((20, 50))
    x[:, :10] = normal(20, 10, 1)
    figure = value(Frechet(Classes(), 20), 3.0 * x @ rotation, x @ rotation)
    variance = np.cov(x.T).trace()
    expected = 4 * np.sum(x.mean(0) ** 2) + (3 - 1) ** 2 * variance
    assert figure.value == pytest.approx(expected, rel=1e-9)
    assert "covariance is singular" in caplog.text


def test_kernel_distances_by_hand():
    """Three points against two, pair by pair."""
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0], [2.0]])
    for kernel, k in (
        (negative_distance, lambda a, b: -abs(a - b)),
        (polynomial, lambda a, b: (a * b + 1) ** 3),
        (gaussian(0.7), lambda a, b: np.exp(-((a - b) ** 2) / 0.98)),
    ):
        xs, ys = x[:, 0], y[:, 0]
        own = np.mean([k(a, b) for i, a in enumerate(xs) for j, b in enumerate(xs) if i != j])
        other = np.mean([k(a, b) for i, a in enumerate(ys) for j, b in enumerate(ys) if i != j])
        across = np.mean([k(a, b) for a in xs for b in ys])
        expected = own + other - 2 * across
        assert kernel_distance(x, y, kernel)[0] == pytest.approx(expected, rel=1e-12)


def test_the_energy_distance_is_scipys():
    """Its estimate with the pairs of an example with itself, squared, differs by their share."""
    x, y = normal(300, 1, 0), normal(250, 1, 1, 1.5, 0.5)
    ours = value(EnergyDistance(300), x, y).value
    spread = lambda v: np.abs(v - v.T).sum()
    share = spread(x) / (300**2 * 299) + spread(y) / (250**2 * 249)
    theirs = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    assert ours == pytest.approx(theirs - share, rel=1e-9)


def test_mmd_of_gaussians_has_a_closed_form():
    """N(0, I) and N(m, b²I) in d dimensions under a Gaussian kernel of bandwidth h."""
    d, b, h = 3, 1.5, 1.2
    shift = np.array([0.5, 0.0, -0.5])
    overlap = lambda v, m: (h**2 / (h**2 + v)) ** (d / 2) * np.exp(-m / (2 * (h**2 + v)))
    expected = overlap(2, 0) + overlap(2 * b**2, 0) - 2 * overlap(1 + b**2, np.sum(shift**2))
    figure = value(MMD(4_000, h), normal(4_000, d, 1, b, shift), normal(4_000, d, 0))
    assert figure.value == pytest.approx(expected, abs=5 * figure.error)
    assert figure.error < 0.1 * expected


def test_kid_of_gaussians_has_a_closed_form():
    """E(x·y/d + 1)³ for independent Gaussians, by moments up to the third, in one dimension."""
    a, b, m = 1.0, 1.4, 0.3  # deviations, and the second's mean
    mean = lambda p, v: {1: p, 2: p * p + v, 3: p**3 + 3 * p * v}
    cross = lambda p, u, q, v: sum(
        c * mean(p, u)[k] * mean(q, v)[k] for k, c in ((1, 3), (2, 3), (3, 1))
    )
    expected = cross(0, a * a, 0, a * a) + cross(m, b * b, m, b * b) - 2 * cross(0, a * a, m, b * b)
    metric = KernelDistance(Values(), 6_000)
    figure = value(metric, normal(6_000, 1, 1, b, m), normal(6_000, 1, 0, a))
    assert figure.value == pytest.approx(expected, abs=4 * figure.error)
    assert figure.error < 0.2 * expected


def test_the_class_score_of_certain_and_of_uncertain_classes():
    """K classes, each certain and as frequent: K. No idea at all: 1."""
    certain = np.tile(np.eye(5) * 50, (200, 1))
    assert value(ClassScore(Classes(), 1_000), certain, certain).value == pytest.approx(5, rel=1e-9)
    unsure = np.zeros((1_000, 5))
    assert value(ClassScore(Classes(), 1_000), unsure, unsure) == pytest.approx((1.0, 0.0))


def test_precision_and_recall_of_a_mixture_half_of_which_is_missing():
    real = np.concatenate([normal(400, 2, 0), normal(400, 2, 1, shift=50.0)])
    half = normal(400, 2, 2)
    far = np.concatenate([normal(300, 2, 3), normal(100, 2, 4, shift=-50.0)])
    metric = PrecisionRecall(Classes(), 800)
    figures = lambda x: metric.figures(metric.statistics([x]), metric.statistics([real]))
    assert figures(half)["recall_classes_800"].value == pytest.approx(0.5, abs=0.03)
    assert figures(half)["precision_classes_800"].value > 0.9
    assert figures(far)["precision_classes_800"].value == pytest.approx(0.75, abs=0.06)
    identical = figures(real)
    assert identical["recall_classes_800"].value == identical["precision_classes_800"].value == 1.0


def test_density_and_coverage_of_equal_laws_have_closed_forms():
    metric, n, m = DensityCoverage(Values(), 700, k=5), 500, 700
    runs = []
    for s in range(12):
        figures = metric.figures(
            metric.statistics([normal(n, 4, s)]), metric.statistics([normal(m, 4, 100 + s)])
        )
        runs.append([figure.value for figure in figures.values()])
    density, coverage = np.mean(runs, axis=0)
    errors = np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs))
    assert density == pytest.approx(1.0, abs=4 * errors[0])
    assert coverage == pytest.approx(expected_coverage(n, m, 5), abs=4 * errors[1])


def test_statistics_merge_and_are_restored():
    features = normal(900, 4, 0, shift=1e4)
    parts = [GaussianStatistics(4).update(part) for part in np.split(features, [10, 400])]
    merged = GaussianStatistics.merged(parts)
    assert np.allclose(merged.covariance, np.cov(features.T), rtol=1e-9, atol=1e-10)
    again = GaussianStatistics.from_arrays(**merged.arrays())
    np.testing.assert_array_equal(again.covariance, merged.covariance)
    assert again.count == 900


def test_bad_input_is_named():
    x = normal(50, 3, 0)
    for metric in EVERY:
        if metric.kind == "class_score":  # it never looks at the reference
            continue
        with pytest.raises(ValueError, match="one shape|one dimension"):
            value(metric, x, normal(50, 4, 0))
    with pytest.raises(ValueError, match="NaN or infinity"):
        value(MMD(50), np.full((50, 3), np.nan), x)
    with pytest.raises(ValueError, match="more than 3 examples; got 3"):
        value(PrecisionRecall(Classes(), 50), x[:3], x[:3])
    with pytest.raises(ValueError, match="needs class probabilities, and Values has none"):
        ClassScore(Values(), 10).check(lcss_tf.DATASETS["TwoMoons"]().info())
    for bad in (lambda: MMD(bandwidth=0.0), lambda: PrecisionRecall(Classes(), k=0)):
        with pytest.raises(ValueError, match="must be"):
            bad()


def test_names_are_the_literatures_for_inception():
    inception = lcss_tf.EXTRACTORS["inception"]()
    assert Frechet(inception).name == "fid_50k"
    assert KernelDistance(inception).name == "kid_10k"
    assert ClassScore(inception).name == "inception_score_50k"
    assert PrecisionRecall(inception, 50_000).name == "precision_50k"
    assert Frechet(Classes(), 1_000).name == "frechet_classes_1000"
