"""The values of independent implementations on the same features: torch-fidelity and prdc.

torch-fidelity has FID, KID, the Inception score and precision and recall in one package, tested by
its authors against the TensorFlow originals; prdc is the code of the paper on density and
coverage. Both are extras for tests: ``pip install --no-deps torch-fidelity prdc``.
"""

import sys
import types

import numpy as np
import pytest

from lcss_tf.metrics import (
    KID,
    DensityCoverage,
    Frechet,
    InceptionScore,
    PrecisionRecall,
)
from tests.metrics.helpers import Classes

torch = pytest.importorskip("torch", reason="torch-fidelity needs torch")


@pytest.fixture(scope="module")
def fidelity():
    """torch_fidelity's modules; torchvision, which it imports for its data sets, is not needed."""
    stand_ins = {"torchvision": {}, "torchvision.transforms": {}}
    stand_ins["torchvision.datasets"] = dict.fromkeys(("CIFAR10", "CIFAR100", "STL10"), object)
    stand_ins["torchvision.transforms.functional"] = {}
    missing = [name for name in stand_ins if name not in sys.modules]
    for name in missing:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(stand_ins[name])
    yield pytest.importorskip("torch_fidelity", reason="the extra 'parity' is not installed")
    for name in missing:
        del sys.modules[name]


def correlated(count, dimension, seed, rank=None):
    """Features as networks make them: not negative, correlated, of very different variances."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(rank or dimension, dimension))
    mixing *= np.geomspace(1.0, 0.01, dimension)
    x = random.normal(size=(count, rank or dimension)) @ mixing
    return np.maximum(x + 0.1 * seed * mixing[0] + 0.2, 0.0)


X, Y = correlated(3_000, 256, 1), correlated(2_500, 256, 2)


def ours(metric, x=X, y=Y):
    return metric.compute(metric.statistics([x]), metric.statistics([y]))


@pytest.mark.parametrize(("x", "y"), [(X, Y), (X[:, :32], Y[:, :32])])
def test_frechet(fidelity, x, y):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    theirs = fid_statistics_to_metric(
        *(fid_features_to_statistics(torch.tensor(f)) for f in (x, y)), verbose=False
    )["frechet_inception_distance"]
    found = next(iter(ours(Frechet(Classes(), 3_000), x, y).values()))
    assert found.value == pytest.approx(theirs, rel=1e-6)


def test_kid(fidelity):
    """Their one subset of all examples is our mean over all pairs."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    theirs = kid_features_to_metric(
        torch.tensor(X[:2_500]), torch.tensor(Y), kid_subsets=1, kid_subset_size=2_500,
        verbose=False,
    )  # fmt: skip
    found = next(iter(ours(KID(Classes(), 2_500), X[:2_500], Y).values()))
    assert found.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


def test_kid_over_subsets_agrees_within_its_error(fidelity):
    from torch_fidelity.metric_kid import kid_features_to_metric

    theirs = kid_features_to_metric(
        torch.tensor(X[:2_500]), torch.tensor(Y), kid_subsets=40, kid_subset_size=500, verbose=False
    )
    found = next(iter(ours(KID(Classes(), 2_500), X[:2_500], Y).values()))
    tolerance = 4 * theirs["kernel_inception_distance_std"] / np.sqrt(40)
    assert found.value == pytest.approx(theirs["kernel_inception_distance_mean"], abs=tolerance)


def test_inception_score(fidelity):
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 3.0 * X[:, :20]
    theirs = isc_features_to_metric(torch.tensor(logits), splits=10, shuffle=False)
    found = next(iter(ours(InceptionScore(Classes(), 3_000), logits, logits).values()))
    assert found.value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    # The literature's ± is the deviation between the splits, not an error of their mean.
    assert found.error == pytest.approx(theirs["inception_score_std"], rel=1e-6)


def test_precision_and_recall(fidelity):
    from torch_fidelity.metric_prc import prc_features_to_metric

    theirs = prc_features_to_metric(
        torch.tensor(X), torch.tensor(Y), prc_neighborhood=3, verbose=False
    )
    values = ours(PrecisionRecall(Classes(), 3_000))
    assert values["precision_classes_3000"].value == pytest.approx(theirs["precision"], rel=1e-6)
    assert values["recall_classes_3000"].value == pytest.approx(theirs["recall"], rel=1e-6)


def test_density_and_coverage():
    prdc = pytest.importorskip("prdc", reason="the extra 'parity' is not installed")
    theirs = prdc.compute_prdc(Y, X, nearest_k=5)
    values = ours(DensityCoverage(Classes(), 3_000))
    assert values["density_classes_3000"].value == pytest.approx(theirs["density"], rel=1e-9)
    assert values["coverage_classes_3000"].value == pytest.approx(theirs["coverage"], rel=1e-9)
