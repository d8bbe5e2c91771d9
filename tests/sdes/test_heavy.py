"""Generalised normal and Pearson SDEs: priors, closed forms at power 2, exact moments."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import lcss_tf
from lcss_tf import random
from lcss_tf.ops import like

SHAPE = (20_000, 2)


def test_power_2_is_vp():
    """Drift, diffusion, noise scale, prior, reverse drift, local kernel, x_t's law and weight."""
    sde, vp = lcss_tf.SDES["GeneralizedNormalSDE"](power=2), lcss_tf.SDES["VPSDE"]()
    x, z = random.normal(1, SHAPE), random.normal(2, SHAPE)
    t = sde.t_min + (sde.T - sde.t_min) * random.uniform(3, SHAPE[:1])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    close(sde.drift(x, t), vp.drift(x, t))
    close(sde.diffusion(x, t), vp.diffusion(x, t))
    close(sde.noise_scale(t), vp.noise_scale(t))
    close(sde.prior_log_prob(x), vp.prior_log_prob(x))
    close(sde.prior_std(), 1.0)
    close(sde.noise_label(t), vp.noise_label(t))
    for flow in (False, True):
        close(sde.reverse_drift(x, t, z, flow), vp.reverse_drift(x, t, z, flow))
    x_t, weight = sde.sample_with_weight(x, t, 4)
    alpha_t, sigma_t = (v[:, None] for v in vp.marginal(t))
    noise = (x_t - alpha_t * x) / sigma_t  # standard normal, whatever t and x
    np.testing.assert_allclose(weight * sigma_t, noise, rtol=1e-3, atol=2e-3)  # x_t − α x cancels
    assert float(tf.reduce_mean(noise)) == pytest.approx(0, abs=0.03)
    assert float(tf.math.reduce_std(noise)) == pytest.approx(1, abs=0.02)
    assert float(tf.reduce_mean(noise**4)) == pytest.approx(3, abs=0.15)


def slow(*values):
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.mark.parametrize("power", [1.5, *slow(2.0, 3.0, 4.0), 6.0])
def test_the_generalised_normal_prior_is_stationary(power):
    """From the prior, x_t has the prior's law: quantiles."""
    sde = lcss_tf.SDES["GeneralizedNormalSDE"](power=power)
    x0 = sde.prior_sample((100_000, 1), random.as_seed(1))
    x_t = tf.function(sde.sample_xt, jit_compile=True)(x0, tf.ones(100_000), random.as_seed(2))
    probabilities = np.linspace(0.02, 0.98, 25)
    before, after = np.quantile(x0, probabilities), np.quantile(x_t, probabilities)
    np.testing.assert_allclose(after, before, atol=0.03 * sde.prior_std())
    assert float(tf.math.reduce_std(x0)) == pytest.approx(sde.prior_std(), rel=0.01)


def test_powers_without_a_prior_are_refused():
    with pytest.raises(ValueError, match="power > 1; got 1"):
        lcss_tf.SDES["GeneralizedNormalSDE"](power=1)


COUNT = 200_000


def transition_moments(sde, x_s, s, t):
    """(mean, variance) of x_t given x_s, of the shape of x_s: exact, in closed form."""
    B = like(sde.beta.integral(s, t), x_s)
    stationary = sde.tail * sde.scale**2 / (1 - sde.tail)
    second = stationary + tf.exp(-(1 - sde.tail) * B) * (x_s**2 - stationary)
    mean = tf.exp(-0.5 * B) * x_s
    return mean, second - mean**2


def test_the_prior_is_student_t_of_unit_variance():
    sde = lcss_tf.SDES["PearsonSDE"](tail=0.2)
    assert sde.degrees_of_freedom == pytest.approx(6)
    law = stats.t(6, scale=sde.scale / np.sqrt(6))
    x = sde.prior_sample((COUNT, 1), random.as_seed(1)).numpy()[:, 0]
    assert stats.kstest(x, law.cdf).pvalue > 1e-3
    assert law.std() == pytest.approx(1.0) == pytest.approx(sde.prior_std())
    points = np.float32([[-30.0], [-1.0], [0.0], [2.0]])
    np.testing.assert_allclose(sde.prior_log_prob(points), law.logpdf(points)[:, 0], rtol=1e-5)


def test_the_student_prior_is_stationary():
    sde = lcss_tf.SDES["PearsonSDE"]()
    x0 = sde.prior_sample((COUNT, 1), random.as_seed(1))
    x_t = tf.function(sde.sample_xt, jit_compile=True)(x0, tf.ones(COUNT), random.as_seed(2))
    probabilities = np.linspace(0.005, 0.995, 41)
    before, after = np.quantile(x0, probabilities), np.quantile(x_t, probabilities)
    np.testing.assert_allclose(after, before, atol=0.05, rtol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("tail", [0.2, *slow(0.1, 0.4)])
@pytest.mark.parametrize("start", [-0.5, 3.0])
def test_moments_of_the_transition(tail, start):
    """Mean and variance of simulated x_t are those of the closed form."""
    sde = lcss_tf.SDES["PearsonSDE"](tail=tail)
    for time in (0.1, 0.4):
        x0, t = tf.fill([COUNT, 1], start), tf.fill([COUNT], time)
        mean, variance = (float(v[0, 0]) for v in transition_moments(sde, x0, 0 * t, t))
        x = tf.function(sde.sample_xt, jit_compile=True)(x0, t, random.as_seed(5)).numpy()
        assert x.mean() == pytest.approx(mean, abs=0.006 + 4 * np.sqrt(variance / COUNT))
        assert x.var() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize("options", [{"tail": 0.0}, {"tail": 1.0}, {"scale": -1.0}])
def test_impossible_pearson_parameters_are_refused(options):
    with pytest.raises(ValueError, match="PearsonSDE expects"):
        lcss_tf.SDES["PearsonSDE"](**options)
