"""Held-out likelihood of a run: dequantised, resumed, the same on any number of replicas."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

import lcss_tf
from lcss_tf.commands import _gin, _runs
from lcss_tf.commands import _likelihood as module
from lcss_tf.commands._likelihood import held_out_likelihood
from lcss_tf.data import Scaling
from lcss_tf.inference import Likelihood, LikelihoodRunner
from lcss_tf.score import Score
from lcss_tf.training import Distribution
from tests.commands.helpers import load_run


@pytest.fixture
def resting(monkeypatch):
    """A function (data, replicas) -> a model that has learnt N(0, I), at which VP rests.

    Then log p_0 is known for every x.
    """

    def put(data, replicas=1, score=lambda x: -x):
        sde = lcss_tf.SDES["VPSDE"]()
        distribution = Distribution(replicas)
        state = SimpleNamespace(
            score=Score(sde, lambda network, sde, x, t: score(x)),
            sde=sde,
            average=SimpleNamespace(weights=[]),
            shape=data.shape,
            distribution=distribution,
            num_classes=None,
        )
        monkeypatch.setattr(_gin, "fit", lambda: {"data": data, "seed": 0})
        return SimpleNamespace(state=state, info=data.info(), step=0, distribution=distribution)

    return put


def expected_bits(data, levels, indices):
    """E over u of −log₂ N(low + (k + u)·width; 0, 1) − log₂ width, k the level, in NumPy."""
    x = np.float64(data.examples(indices, "test"))
    low, width = data.scaling.low, (data.scaling.high - data.scaling.low) / levels
    k = np.rint((x - low) / (data.scaling.high - low) * (levels - 1))
    centre = low + (k + 0.5) * width
    square = np.mean(centre**2 + width**2 / 12)
    return (0.5 * square + 0.5 * math.log(2 * math.pi)) / math.log(2) - math.log2(width)


@pytest.mark.slow
@pytest.mark.parametrize(("centered", "levels"), [(True, 17), (False, 17)])
def test_bits_per_dim_of_digits(resting, tmp_path, centered, levels):
    data = lcss_tf.DATASETS["Digits"](centered=centered)
    model = resting(data)
    figures = held_out_likelihood(model, tmp_path, batch_size=100)
    expected = expected_bits(data, levels, np.arange(360))
    assert figures["examples"] == 360
    # The examples differ far more than their noise: the mean is closer than its standard error.
    assert figures["bits_per_dim"] == pytest.approx(expected, abs=0.002)
    assert 0.001 < figures["standard_error"] < 0.05
    stored = json.loads((tmp_path / "likelihood.json").read_text())
    assert stored["figures"] == figures
    assert len(stored["log_prob"]) == 360
    assert f"{expected:.2f}" in module.report(figures)


@pytest.mark.slow
def test_samples_and_a_dequantiser_are_asked_for(resting, tmp_path):
    """Under N(0, I), which hardly varies within a level, by next to nothing. The file says how."""
    model = resting(lcss_tf.DATASETS["Digits"]())
    options = {"batch_size": 20, "num_examples": 20, "rtol": 1e-2, "atol": 1e-2}
    plain = held_out_likelihood(model, tmp_path, **options)
    assert "num_samples" not in json.loads((tmp_path / "likelihood.json").read_text())["settings"]
    more = {"num_samples": 3, "dequantiser_steps": 2}
    tight = held_out_likelihood(model, tmp_path, **options, **more)
    settings = json.loads((tmp_path / "likelihood.json").read_text())["settings"]
    assert more.items() <= settings.items()
    assert tight["bits_per_dim"] == pytest.approx(plain["bits_per_dim"], abs=5e-3)
    assert tight["nfe"] > 2 * plain["nfe"]
    with pytest.raises(ValueError, match="dequantiser_steps must be at least 0; got -1"):
        held_out_likelihood(model, tmp_path, **options, dequantiser_steps=-1)


def test_nats_beside_those_of_the_true_density(resting, tmp_path):
    data = lcss_tf.DATASETS["GaussianMixture"](means=[[0.0, 0.0]], component_std=1.0)
    model = resting(data)
    figures = held_out_likelihood(model, tmp_path, batch_size=50, num_examples=120)
    assert figures["examples"] == 120
    assert figures["nats"] == pytest.approx(figures["nats_of_the_true_density"], abs=1e-3)
    assert "nats by the true density" in module.report(figures)


def test_a_kill_repeats_no_finished_batch(resting, tmp_path, monkeypatch):
    data = lcss_tf.DATASETS["Digits"]()
    model = resting(data)
    options = {"batch_size": 16, "num_examples": 70}
    runner = LikelihoodRunner(model.state, Likelihood(), model.info, 16)  # compiled once
    monkeypatch.setattr(module, "LikelihoodRunner", lambda *_: runner)
    (tmp_path / "whole").mkdir()
    whole = held_out_likelihood(model, tmp_path / "whole", **options)
    original, calls = LikelihoodRunner.__call__, []

    def counted(self, x, seed, first):
        if len(calls) == 2:
            calls.append(None)
            raise KeyboardInterrupt
        calls.append(first)
        return original(self, x, seed, first)

    monkeypatch.setattr(LikelihoodRunner, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        held_out_likelihood(model, tmp_path, **options)
    resumed = held_out_likelihood(model, tmp_path, **options)
    assert calls == [0, 16, None, 32, 48, 64]
    assert resumed == whole
    # Finished: nothing is computed again. Other tolerances are another question.
    assert held_out_likelihood(model, tmp_path, **options) == whole
    assert len(calls) == 6
    path = tmp_path / "likelihood.json"
    settings = json.loads(path.read_text())["settings"]
    assert len(module._Results(path, settings).log_prob) == 70
    assert not module._Results(path, settings | {"rtol": 1e-3}).log_prob
    path.write_text("half a fi")
    assert not module._Results(path, settings).log_prob


@pytest.mark.slow
def test_one_replica_equals_two_whatever_the_batch(resting, tmp_path):
    data = lcss_tf.DATASETS["Digits"]()
    results = []
    for replicas, batch_size in ((1, 20), (2, 8)):
        model = resting(data, replicas)
        folder = tmp_path / f"{replicas}_{batch_size}"
        folder.mkdir()
        held_out_likelihood(model, folder, batch_size=batch_size, num_examples=30)
        results.append(json.loads((folder / "likelihood.json").read_text())["log_prob"])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)
    model = resting(data, 2)
    with pytest.raises(ValueError, match=r"batch_size = 7 is not divisible"):
        held_out_likelihood(model, tmp_path, batch_size=7)


def test_bad_options_are_refused_before_any_work(resting, tmp_path):
    data = lcss_tf.DATASETS["Digits"]()
    model = resting(data)
    with pytest.raises(ValueError, match="held_out_likelihood.num_examples must be at least 1"):
        held_out_likelihood(model, tmp_path, num_examples=0)
    with pytest.raises(ValueError, match="tolerances above 0"):
        held_out_likelihood(model, tmp_path, rtol=0)
    data.scaling = Scaling(-1.0, 1.0, 0.0, 255.0, "uint8")
    model = resting(data)
    with pytest.raises(ValueError, match=r"Scaling.for_images\(levels=256\)"):
        held_out_likelihood(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_solved_says_where(resting, tmp_path):
    model = resting(lcss_tf.DATASETS["Digits"](), score=lambda x: x * np.nan)
    with pytest.raises(FloatingPointError, match=r"examples 0 to 9 .*t = 1e-05"):
        held_out_likelihood(model, tmp_path, batch_size=10)


@pytest.mark.slow
def test_a_trained_run(plane_run, tmp_path):
    """From a checkpoint, through the gin file: the network's own likelihood."""
    load_run(plane_run, "held_out_likelihood.num_examples = 50")
    figures = held_out_likelihood(_runs.load_model(plane_run), tmp_path, divergence="exact")
    assert figures["step"] == 40
    assert figures["examples"] == 50
    assert -6 < figures["nats"] < figures["nats_of_the_true_density"]
