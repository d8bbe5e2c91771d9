"""What a report says in words."""

import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf.commands import _report
from lcss_tf.metrics import MetricSuite, References
from lcss_tf.plots import History
from lcss_tf.registry import METRICS
from lcss_tf.reports.html import like_text


def test_the_head_says_what_was_trained():
    model = lcss.ScoreModel(lcss.networks.MLP(width=4, depth=1))
    model.build((2,))
    model.info = lcss.data.TwoMoons().info()
    model.state.step = 200
    history = History({"speed/steps_per_second": (np.array([100, 300]), np.array([50.0, 25.0]))})
    arguments = {"data": lcss.data.TwoMoons(), "loss": None, "batch_size": 10}
    facts = _report.trained(model, arguments, history)
    assert facts["loss"] == "LCSSLoss"
    assert facts["trained"] == "200 steps of 10 examples"
    assert facts["training time"] == "00:06, 333 examples/s"  # 100 at 50/s, 100 at 25/s
    assert facts["network"] == f"MLP, {model.state.num_parameters():,} parameters"
    assert "training time" not in _report.trained(model, arguments, History({}))


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "keep further"), (0.05, "as far from"), (0.12, "it overfits"), (0.9, "repeat training")],
)
def test_the_verdict_is_by_the_share_and_its_error(share, words):
    assert words in _report._verdict(share, 1_000)


def test_twelve_per_cent_of_few_samples_are_no_sign():
    assert "as far from" in _report._verdict(0.12, 20)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_says_what_its_values_mean(name):
    words = METRICS[name].words
    assert METRICS[name].stem in words or name == "Metric"
    assert all(len(text.split()) > 3 for text in words.values())


def test_words_stand_under_the_names_of_the_values():
    metrics = [lcss.metrics.PixelFrechet(num_samples=10)]
    suite = MetricSuite(metrics, References(lcss.data.Digits()))
    assert list(suite.in_words()) == suite.names
    assert "lower is better" in suite.in_words()["frechet_pixels_10"]


def test_real_values_have_as_many_decimals():
    assert like_text(0.078291, 0.0054) == "0.0783"
    assert like_text(0.078291, None) == "0.07829"
    assert like_text(None, 0.1) == "–"
