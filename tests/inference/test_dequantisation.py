"""Bounds of log P of levels against the integral itself, which a Gaussian has in closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import lcss_tf
from lcss_tf import random
from lcss_tf.data import DataInfo, Scaling
from lcss_tf.inference import Dequantiser, Likelihood, LikelihoodRunner, fit_dequantiser
from lcss_tf.ops import like
from lcss_tf.samplers import DormandPrinceSolver
from lcss_tf.score import Score
from lcss_tf.training import Distribution

STD, LEVELS, SHAPE = 0.12, 4, (1, 2, 1)
SCALING = Scaling.for_images(levels=LEVELS)


@pytest.fixture(scope="module")
def model():
    """One that has learnt N(0, STD²) exactly; VP noises it."""
    sde = lcss_tf.SDES["VPSDE"]()

    def score(network, sde, x, t):
        alpha_t, sigma_t = sde.marginal(t)
        return -x / like((alpha_t * STD) ** 2 + sigma_t**2, x)

    info = DataInfo(name="levels", kind="image", shape=SHAPE, scaling=SCALING)
    state = SimpleNamespace(
        score=Score(sde, score), sde=sde, average=None, shape=SHAPE, distribution=Distribution(1)
    )
    return SimpleNamespace(state=state, info=info)


def levels(count):
    """Normalised levels [count, 1, 2, 1], and their log probability ∫ p(x + u) du, summed."""
    k = np.random.default_rng(0).integers(1, 3, size=(count, *SHAPE))
    width = SCALING.level_width
    ends = SCALING.low + width * np.stack([k, k + 1])
    log_prob = np.log(np.diff(stats.norm.cdf(ends / STD), axis=0)[0]).sum(axis=(1, 2, 3))
    return np.float32(SCALING.low + k * (2 / (LEVELS - 1))), log_prob


def runner(model, rows, num_samples=1, dequantiser=None, **options):
    options = {"divergence": "exact", "solver": DormandPrinceSolver(1e-4, 1e-4)} | options
    return LikelihoodRunner(
        model.state, Likelihood(**options), model.info, rows, num_samples, dequantiser
    )  # fmt: skip


def uniform_gap(x):
    """E over x and uniform u of log P(x) − log p(x + u), by a grid of u."""
    truth = levels(len(x))[1]
    u = (np.arange(500) + 0.5) / 500
    y = np.stack([SCALING.dequantise(x, np.float32(value)) for value in u])
    density = stats.norm.logpdf(y, scale=STD) + np.log(SCALING.level_width)
    return float(np.mean(truth - density.mean(axis=0).sum(axis=(1, 2, 3))))


def test_more_samples_tighten_the_bound_to_its_limit(model):
    x, truth = levels(200)
    run = runner(model, len(x), 64)
    gaps = []
    for count in (2, 8, 64):
        run._num_samples = count  # compiled once
        found = run(x, seed=3)
        spread = np.std(found.nats - truth)
        gaps.append(float(np.mean(truth - found.nats)))
        assert gaps[-1] > -3 * spread / np.sqrt(len(x)) - 2e-3  # a bound
    assert found.error.mean() == pytest.approx(spread, rel=0.3)  # by the delta method
    assert uniform_gap(x) > 1.5 * gaps[0] > 3 * gaps[1] > 9 * gaps[2]
    assert gaps[2] < 0.06


def test_one_sample_is_what_it_was_and_the_first_of_many(model):
    x, _ = levels(16)
    u = random.uniform(
        random.fold_in(random.at_row(random.seed_for(3, "likelihood"), 0), "level"), x.shape
    )
    y = SCALING.dequantise(x, u).numpy()
    exact = stats.norm.logpdf(y, scale=STD).sum(axis=(1, 2, 3)) + 2 * np.log(SCALING.level_width)
    np.testing.assert_allclose(runner(model, 16)(x, seed=3).nats, exact, atol=5e-2)


def test_a_dequantiser_starts_uniform_and_knows_its_density():
    dequantiser = Dequantiser((3,), seed=1)
    x, v = random.normal(1, (64, 3)), random.uniform(2, (64, 3))
    u, log_q = dequantiser(x, v)
    np.testing.assert_allclose(u, v, atol=1e-5)
    np.testing.assert_allclose(log_q, 0.0, atol=1e-4)
    # log q = −log |du/dv|, by automatic differentiation, once the weights are others.
    last = dequantiser.network.trainable_variables[-1]
    last.assign([0.4, -1.0, 0.2, 0.5, -0.7, 0.1])
    with tf.GradientTape() as tape:
        tape.watch(v)
        u, log_q = dequantiser(x, v)
    slopes = tape.gradient(u, v)
    np.testing.assert_allclose(log_q, -np.sum(np.log(slopes), axis=1), rtol=1e-3, atol=1e-3)
    assert np.all((u >= 0) & (u < 1))


@pytest.mark.parametrize("shape", [(5,), (6, 2), (4, 4, 1), (4, 4, 4, 2)])
def test_every_shape(shape):
    u, log_q = Dequantiser(shape)(random.normal(1, (3, *shape)), random.uniform(2, (3, *shape)))
    assert u.shape == (3, *shape)
    assert log_q.shape == (3,)


@pytest.mark.slow
def test_training_a_dequantiser_closes_the_gap(model):
    """KL(q ‖ p(u | x)) falls to almost none, by the score alone, and the bound holds."""
    x, truth = levels(200)
    fitted = fit_dequantiser(model, x, steps=250, seed=1)
    found = runner(model, len(x), dequantiser=fitted)(x, seed=3)
    gap = float(np.mean(truth - found.nats))
    assert -3 * np.std(found.nats - truth) / np.sqrt(len(x)) - 2e-3 < gap < 0.2
    assert uniform_gap(x) > 15 * gap


def test_training_a_dequantiser_is_a_function_of_the_seed(model):
    x, _ = levels(20)
    first, second = (
        fit_dequantiser(model, x, steps=2, batch_size=8, seed=1).network.get_weights()
        for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_shared_probes_do_not_raise_the_bound(model):
    """On an isotropic Gaussian Hutchinson's estimate by signs is exact; by normal v it is not."""
    x, _ = levels(200)
    exact = runner(model, len(x), 4)(x, seed=3).nats
    noisy = runner(model, len(x), 4, divergence="gaussian", num_probes=4)(x, seed=3).nats
    away = noisy - exact
    assert np.std(away) > 0.3  # independent errors would raise the mean by some Var/2
    assert abs(np.mean(away)) < 4 * np.std(away) / np.sqrt(len(x))


def test_bad_options(model):
    free = SimpleNamespace(
        state=model.state,
        info=DataInfo(name="free", kind="vector", shape=(2,), scaling=Scaling.identity()),
    )
    with pytest.raises(ValueError, match="num_samples >= 1; got 0"):
        runner(model, 2, 0)
    with pytest.raises(ValueError, match="free has none: leave both out"):
        runner(free, 2, 2)
    with pytest.raises(ValueError, match="A dequantiser is for levels, and free"):
        fit_dequantiser(free, levels(2)[0])
    with pytest.raises(ValueError, match="got 0 and 64"):
        fit_dequantiser(model, levels(2)[0], steps=0)
