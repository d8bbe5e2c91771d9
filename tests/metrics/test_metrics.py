"""Every metric: the contract, errors that are right, names, bad input; their statistics."""

import numpy as np
import pytest

import lcss_tf
from lcss_tf.metrics import (
    KID,
    MMD,
    DensityCoverage,
    EnergyDistance,
    FeatureStatistics,
    Frechet,
    GaussianStatistics,
    IdentityFeatures,
    InceptionScore,
    PrecisionRecall,
)
from tests.metrics.helpers import Classes, normal, value

EVERY = [
    Frechet(Classes(), 300),
    KID(Classes(), 300),
    InceptionScore(Classes(), 300),
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
    results = []
    for cuts, source in (([], x), ([1, 7, 299], x), ([450], np.concatenate([x[:300], 9 * x]))):
        summary, reference = (
            FeatureStatistics.of_samples([metric]),
            FeatureStatistics.of_reference([metric], len(y)),
        )
        for part in np.split(source, cuts):
            summary.add(metric.extractor(part))
        for part in np.split(y, cuts):
            reference.add(metric.extractor(part))
        results.append(metric.compute(summary, FeatureStatistics.from_arrays(reference.arrays())))
    assert all(name.endswith("_300") for name in results[0])
    for name, found in results[0].items():
        assert found.error > 0
        for other in results[1:]:
            assert other[name] == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: m.name)
def test_a_constant_feature_changes_nothing_but_the_kernels_scale(metric):
    """No NaN, and where distances alone matter the same found."""
    x, y = (np.concatenate([normal(200, 4, s), np.ones((200, 1))], axis=1) for s in (0, 1))
    values = metric.compute(metric.statistics([x]), metric.statistics([y]))
    assert all(np.isfinite(found).all() for found in values.values())
    if metric.stem not in ("kid", "inception_score", "sliced_wasserstein"):
        without = metric.compute(metric.statistics([x[:, :4]]), metric.statistics([y[:, :4]]))
        for name, found in values.items():
            assert found == pytest.approx(without[name], rel=1e-6)
    constant = metric.statistics([np.ones((200, 3))])
    for found in metric.compute(constant, constant).values():
        assert np.isfinite(found.value)


@pytest.mark.parametrize(
    ("metric", "floor"),
    [
        (Frechet(Classes(), 2_000), 0.6),
        (KID(Classes(), 300), 0.6),
        (MMD(300, 1.0), 0.6),
        (EnergyDistance(300), 0.6),
        (DensityCoverage(Classes(), 300), 0.5),
        (lcss_tf.METRICS["SlicedWasserstein"](500, 32), 0.5),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_the_error_is_the_std_between_independent_samples(metric, floor):
    reference = metric.statistics([normal(metric.num_samples, 3, 10_000)])
    draws = [
        next(
            iter(
                metric.compute(
                    metric.statistics([normal(metric.num_samples, 3, s, 1.2, 0.4)]), reference
                ).values()
            )
        )
        for s in range(40)
    ]
    std = np.std([d.value for d in draws], ddof=1)
    claimed = np.sqrt(np.mean([d.error**2 for d in draws]))
    assert floor < claimed / std < 1 / floor


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
        if metric.stem == "inception_score":  # it never looks at the reference
            continue
        with pytest.raises(ValueError, match="one shape|one dimension"):
            value(metric, x, normal(50, 4, 0))
    with pytest.raises(ValueError, match="NaN or infinity"):
        value(MMD(50), np.full((50, 3), np.nan), x)
    with pytest.raises(ValueError, match="more than 3 examples; got 3"):
        value(PrecisionRecall(Classes(), 50), x[:3], x[:3])
    with pytest.raises(
        ValueError, match="needs class probabilities, and IdentityFeatures has none"
    ):
        InceptionScore(IdentityFeatures(), 10).check(lcss_tf.DATASETS["TwoMoons"]().info())
    for bad in (lambda: MMD(bandwidth=0.0), lambda: PrecisionRecall(Classes(), k=0)):
        with pytest.raises(ValueError, match="must be"):
            bad()


def test_names_are_the_literatures_for_inception():
    inception = lcss_tf.EXTRACTORS["inception"]()
    assert Frechet(inception).name == "fid_50k"
    assert KID(inception).name == "kid_10k"
    assert InceptionScore(inception).name == "inception_score_50k"
    assert PrecisionRecall(inception, 50_000).name == "precision_50k"
    assert Frechet(Classes(), 1_000).name == "frechet_classes_1000"
