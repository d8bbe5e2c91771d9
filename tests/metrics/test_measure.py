"""Samples measured beside real examples: one pass for each extractor, the values of each metric."""

import importlib

import numpy as np
import pytest

import lcss_tf
from lcss_tf.data import Idx
from lcss_tf.metrics import (
    KID,
    Frechet,
    MetricSuite,
    PixelFrechet,
    Pixels,
    References,
    SlicedWasserstein,
    default_metrics,
    extractors,
    measure,
    sliced_wasserstein,
)
from tests.data.helpers import write_family

suites = importlib.import_module("lcss_tf.metrics.measure")  # `measure` is the function too


def moons(count, split="train", seed=0):
    data = lcss_tf.DATASETS["TwoMoons"]()
    return np.asarray(data.info().unscale(data.examples(np.arange(count), split, seed)))


def assert_equal(values, expected):
    assert list(values) == list(expected)
    for name, value in values.items():
        assert value == pytest.approx(expected[name], rel=1e-9)


def test_endless_data_are_measured_beside_as_many_real_examples():
    samples = moons(300, seed=7) + 1.0
    data = lcss_tf.DATASETS["TwoMoons"]()
    values, real = measure(samples, data, [SlicedWasserstein(300)], seed=3)
    name = "sliced_wasserstein_300"
    expected = sliced_wasserstein(samples, moons(300, "test", 3))
    assert values[name].value == pytest.approx(expected)
    expected = sliced_wasserstein(moons(300, "train", 3), moons(300, "test", 3))
    assert real[name].value == pytest.approx(expected)
    assert 0 < real[name].value < 0.3 < values[name].value


def test_a_suite_reads_each_example_once_for_each_extractor(tmp_path):
    calls = []

    class Counted(Pixels):
        def __call__(self, batch):
            calls.append(len(batch))
            return super().__call__(batch)

    data = lcss_tf.DATASETS["Digits"]()
    metrics = [Frechet(Counted(), 100), KID(Counted(), 80), KID(Counted(), 60)]
    suite = MetricSuite(metrics, References(data, directory=tmp_path))
    assert suite.num_samples == 100
    assert list(suite.extractors) == ["pixels in [0, 1]"]
    assert suite.counts == {"held_out_examples": 360, "training_examples": 100}
    samples = References(data).examples(100, "train")
    values = suite.measure(np.split(samples, [30]))
    assert sum(calls) == 100 + 360
    assert_equal(suite.measure_features([suite.features(samples)]), values)
    assert sum(calls) == 100 + 360 + 100, "the real data are read again"
    # Each value is that of the metric alone.
    real = References(data).examples(360, "test")
    for metric in metrics:
        alone = metric.compute(metric.statistics([samples]), metric.statistics([real]))
        # A metric of 80 samples sees the first 80, and 80 of the real examples.
        assert values[metric.name] == pytest.approx(alone[metric.name], rel=1e-5)
    assert_equal(suite.real_values, values)  # the same 100 training digits
    assert [path.parent for path in suite.reference_paths] == [tmp_path]


def test_metrics_that_do_not_apply_are_refused_at_once():
    images = References(lcss_tf.DATASETS["Digits"]())
    with pytest.raises(ValueError, match="sees vectors; digits holds images"):
        MetricSuite([SlicedWasserstein()], images)
    with pytest.raises(ValueError, match="got 'validation'"):
        MetricSuite([PixelFrechet()], References(lcss_tf.DATASETS["Digits"](), split="validation"))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Digits", "frechet_pixels_1000"),
        ("TwoMoons", "sliced_wasserstein_4096"),
        ("NoiseImages", "frechet_pixels_1000"),
        ("Vibrations", "sliced_wasserstein_4096"),
    ],
)
def test_every_kind_of_data_has_metrics(name, first):
    info = lcss_tf.DATASETS[name]().info()
    metrics = default_metrics(info)
    assert metrics[0].name == first
    for metric in metrics:
        metric.check(info)


def test_small_labelled_images_are_measured_by_a_classifier_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(extractors, "_EPOCHS", 2)
    monkeypatch.setattr(suites, "_FEWEST_LABELLED", 200)
    images, _ = write_family(tmp_path / "family", 320, None, held_out=60, size=8)
    data = Idx(tmp_path / "family", (8, 8, 1))
    names = [metric.name for metric in default_metrics(data.info(), data)]
    assert names[0] == "frechet_pixels_1000"
    assert {"frechet_family_1000", "kid_family_1000", "precision_family_1000"} <= set(names)
    assert len(default_metrics(data.info())) == 1
    suite = MetricSuite(default_metrics(data.info(), data, 50), References(data, store=False))
    values = suite.measure([images[:50, ..., None]])
    assert set(values) == set(suite.real_values)
    assert suite.facts["family_classifier_accuracy"] > 0.6
    noise = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
    worse = suite.measure([noise])
    for name in ("frechet_family_50", "kid_family_50"):
        assert worse[name].value > 4 * abs(values[name].value)
    assert worse["precision_family_50"].value < values["precision_family_50"].value
    monkeypatch.setattr(suites, "_FEWEST_LABELLED", 400)
    assert len(default_metrics(data.info(), data)) == 1
