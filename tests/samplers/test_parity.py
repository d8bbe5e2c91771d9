"""Corrector steps and the whole predictor–corrector trajectory of score_sde."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import random
from lcss_tf.samplers import (
    AnnealedLangevin,
    EulerMaruyamaPredictor,
    Langevin,
    PredictorCorrector,
    ReverseDiffusionPredictor,
)
from lcss_tf.samplers.base import Reverse
from tests.conftest import Reference, relative_error

TOLERANCE = 1e-5


@pytest.fixture(params=["vp", "ve"])
def reference(request):
    return Reference(request.param)


@pytest.mark.parametrize(("name", "corrector"), [("langevin", Langevin), ("ald", AnnealedLangevin)])
def test_corrector_step(reference, name, corrector):
    x, z = tf.constant(reference["x"]), tf.constant(reference["z"])
    t = tf.fill([x.shape[0]], 0.3)
    reverse = Reverse(reference.score_fn, reference.sde(), reference.meta["N"])
    step = corrector(snr=0.16).step(reverse, x, t, z)
    assert relative_error(step.x, reference[f"{name}.x"]) < TOLERANCE
    assert relative_error(step.mean, reference[f"{name}.x_mean"]) < TOLERANCE


def _trajectory(reference, monkeypatch):
    """The package's own sampler steps, with the reference's noise in the place of theirs."""
    n = int(reference["pc.n"])
    noise = iter(reference["pc.noise"])
    monkeypatch.setattr(random, "normal", lambda seed, shape: tf.constant(next(noise)))
    sampler = PredictorCorrector(
        ReverseDiffusionPredictor(), Langevin(snr=0.16), num_steps=n, t_end=reference.meta["eps"]
    )
    # The loop unrolled, so that each pass takes the next of the given noises.
    sde, x = reference.sde(), tf.constant(reference["pc.x_T"])
    reverse = Reverse(reference.score_fn, sde, n)
    times = sampler.times(sde)
    for now, after in zip(times[:-1], times[1:], strict=True):
        t, s = (tf.fill([x.shape[0]], tf.cast(time, tf.float32)) for time in (now, after))
        step = sampler.step(reverse, x, t, s, 0)
        x = step.x
    assert next(noise, None) is None
    return step


def test_predictor_corrector_trajectory(monkeypatch):
    reference = Reference("ve")
    step = _trajectory(reference, monkeypatch)
    assert relative_error(step.x, reference["pc.x"]) < TOLERANCE
    assert relative_error(step.mean, reference["pc.x_mean"]) < TOLERANCE


def test_vp_with_fewer_steps_than_beta_max_is_nan_there_and_refused_here(monkeypatch):
    """At the fixture's 12 steps, β_i = 20/12 > 1 and √(1 − β_i) is not a number."""
    reference = Reference("vp")
    step = _trajectory(reference, monkeypatch)
    np.testing.assert_array_equal(np.isnan(step.x), np.isnan(reference["pc.x"]))
    assert np.isnan(reference["pc.x"]).all()
    monkeypatch.undo()
    sampler = PredictorCorrector(num_steps=12)
    with pytest.raises(ValueError, match="num_steps > beta_max"):
        sampler.sample(reference.score_fn, reference.sde(), (4, 2), 0)
    sampler = PredictorCorrector(EulerMaruyamaPredictor(), Langevin(), num_steps=12)
    with pytest.raises(ValueError, match="without a Langevin corrector"):
        sampler.sample(reference.score_fn, reference.sde(), (4, 2), 0)
    # Euler-Maruyama has no such limit.
    x = PredictorCorrector(EulerMaruyamaPredictor(), num_steps=12).sample(
        reference.score_fn, reference.sde(), (4, 2), 0
    )
    assert np.isfinite(x.x).all()
