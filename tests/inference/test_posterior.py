"""Posterior samples through the runner: a Gaussian's in closed form, over batches and replicas."""

import types

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.control import (
    DPS,
    Clipping,
    GaussianBlur,
    Linear,
    Mask,
    Nonlinear,
    PseudoinverseGuidance,
    TimeTravel,
)
from lcss_tf.inference import PosteriorSampling, default_method
from lcss_tf.samplers import EulerMaruyama, ProbabilityFlowODE
from lcss_tf.training import Distribution
from tests.control import helpers
from tests.inference.helpers import X, model_of

STD, Y = 0.5, np.float32([[0.3, 0.7, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0]])


class ExactScore:
    """In a `Score`'s place: the exact one of N(MEAN, STD² I) under the SDE."""

    def __init__(self, sde):
        self.sde = sde

    def score_fn(self, network, labels=None):
        return helpers.score_of(self.sde, helpers.isotropic(STD))


def gaussian(replicas=1):
    """A state that is sampled from: Gaussian data, and their exact score."""
    sde = lcss_tf.SDES["VPSDE"]()
    return types.SimpleNamespace(
        sde=sde, score=ExactScore(sde), average=None, num_classes=None, shape=(4,),
        distribution=Distribution(replicas),
    )  # fmt: skip


def posterior(replicas=1, method=None, num_steps=24, batch_size=128, **options):
    return PosteriorSampling(
        gaussian(replicas), Mask(helpers.KNOWN), method=method,
        sampler=ProbabilityFlowODE(num_steps=num_steps), batch_size=batch_size, jit_compile=False,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def draw():
    return posterior(method=PseudoinverseGuidance(data_std=STD))


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
def test_each_observation_gets_samples_of_its_own_posterior(noise_std, draw):
    """In batches that end within an observation's samples."""
    if noise_std:
        draw = posterior(method=PseudoinverseGuidance(data_std=STD), noise_std=noise_std)
    drawn = draw(Y, num_samples=700, seed=1, progress=False)
    assert drawn.x.shape == (2, 700, 4)
    assert drawn.x.dtype == np.float32
    assert drawn.nfe > 0
    for y, x in zip(Y, drawn.x, strict=True):
        mean, covariance = helpers.posterior(helpers.isotropic(STD), y, noise_std)
        np.testing.assert_allclose(x.mean(0), mean, atol=0.08)
        np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.05)
        if not noise_std:
            np.testing.assert_array_equal(x[:, :2], np.tile(y[:2], (len(x), 1)))


def test_one_replica_equals_two(draw):
    one = draw(Y, num_samples=3, seed=2, progress=False).x
    two = posterior(2, PseudoinverseGuidance(data_std=STD))(Y, 3, seed=2, progress=False).x
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)
    assert np.abs(draw(Y, 3, seed=3, progress=False).x - one)[..., 2:].max() > 0.01
    assert np.abs(one[:, 0] - one[:, 1])[..., 2:].max() > 0.01  # samples, not copies


def test_the_default_method_suits_the_sde():
    assert type(default_method(lcss_tf.SDES["VPSDE"]())) is PseudoinverseGuidance
    assert type(default_method(lcss_tf.SDES["PearsonSDE"]())) is TimeTravel
    assert type(default_method(lcss_tf.SDES["VPSDE"](), GaussianBlur())) is PseudoinverseGuidance
    assert type(default_method(lcss_tf.SDES["VPSDE"](), Clipping())) is DPS


@pytest.mark.slow
def test_an_observation_is_in_the_data_s_units_or_in_the_operator_s():
    """Data of mean (1, −2) and deviation 0.3; A takes the sum of the normalised coordinates."""
    model = model_of(1)
    options = {"sampler": ProbabilityFlowODE(num_steps=6), "batch_size": 8}
    total = Linear(lambda x: tf.reduce_sum(x, axis=1, keepdims=True))
    y = np.float32([[0.5], [-1.0]])
    x = model.normalise(model.posterior(y, total, **options).sample(3).reshape(-1, 2)).numpy()
    np.testing.assert_allclose(x.sum(1), np.repeat(y[:, 0], 3), atol=1e-4)
    known = Mask(np.array([1, 0]))
    x = model.posterior(np.float32([[1.25, 0.0]]), known, **options).sample(3)
    np.testing.assert_allclose(x[..., 0], 1.25, rtol=1e-6)
    with pytest.raises(ValueError, match="The observations hold NaN"):
        model.posterior(np.float32([[np.nan]]), total, **options)
    bent = Nonlinear(lambda x: tf.sin(x))
    assert model.posterior(X[:2], bent, **options).sample(3).shape == (2, 3, 2)


def test_an_edit_through_the_front_door():
    model = model_of(1)
    draw = lambda strength: model.edit(
        X[:4], strength, sampler=EulerMaruyama(num_steps=20), batch_size=8
    ).sample(2)
    little, much = draw(0.1), draw(1.0)
    assert little.shape == (4, 2, 2)
    assert np.abs(little - X[:4, None]).mean() < 0.5 * np.abs(much - X[:4, None]).mean()


def test_what_does_not_fit_is_refused(draw):
    with pytest.raises(ValueError, match="num_samples must be at least 1; got 0"):
        draw(Y, num_samples=0)
    with pytest.raises(ValueError, match=r"observations of shape \(4,\).*got \(3,\)"):
        draw(Y[:, :3])
    with pytest.raises(ValueError, match="mask"):
        PosteriorSampling(gaussian(), Mask(np.ones(3)), jit_compile=False)
