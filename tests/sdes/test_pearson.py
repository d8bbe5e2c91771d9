"""The Pearson SDE: its prior, and the exact conditional moments."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import lcss_tf
from lcss_tf import random

COUNT = 200_000


def test_the_prior_is_student_t_of_unit_variance():
    sde = lcss_tf.SDES["PearsonSDE"](tail=0.2)
    assert sde.degrees_of_freedom == pytest.approx(6)
    law = stats.t(6, scale=sde.scale / np.sqrt(6))
    x = sde.prior_sample((COUNT, 1), random.as_seed(1)).numpy()[:, 0]
    assert stats.kstest(x, law.cdf).pvalue > 1e-3
    assert law.std() == pytest.approx(1.0) == pytest.approx(sde.prior_std())
    points = np.float32([[-30.0], [-1.0], [0.0], [2.0]])
    np.testing.assert_allclose(sde.prior_log_prob(points), law.logpdf(points)[:, 0], rtol=1e-5)


def test_the_prior_is_stationary():
    sde = lcss_tf.SDES["PearsonSDE"]()
    x0 = sde.prior_sample((COUNT, 1), random.as_seed(1))
    x_t = tf.function(sde.sample_xt, jit_compile=True)(x0, tf.ones(COUNT), random.as_seed(2))
    probabilities = np.linspace(0.005, 0.995, 41)
    before, after = np.quantile(x0, probabilities), np.quantile(x_t, probabilities)
    np.testing.assert_allclose(after, before, atol=0.05, rtol=0.03)


@pytest.mark.parametrize("tail", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("start", [-0.5, 3.0])
def test_moments_of_the_transition(tail, start):
    """Mean and variance of simulated x_t are those of the closed form."""
    sde = lcss_tf.SDES["PearsonSDE"](tail=tail)
    for time in (0.1, 0.4):
        x0, t = tf.fill([COUNT, 1], start), tf.fill([COUNT], time)
        mean, variance = (float(v[0, 0]) for v in sde.transition_moments(x0, 0 * t, t))
        x = tf.function(sde.sample_xt, jit_compile=True)(x0, t, random.as_seed(5)).numpy()
        assert x.mean() == pytest.approx(mean, abs=0.006 + 4 * np.sqrt(variance / COUNT))
        assert x.var() == pytest.approx(variance, rel=0.05)


def test_the_local_kernel_has_the_exact_moments():
    sde = lcss_tf.SDES["PearsonSDE"]()
    x = tf.reshape(tf.linspace(-4.0, 4.0, 33), (-1, 1))
    s, t = tf.fill([33], 0.5), tf.fill([33], 0.505)  # 5 % of the noise
    mean, std = sde.local_kernel(x, s, t)
    exact_mean, exact_variance = sde.transition_moments(x, s, t)
    np.testing.assert_allclose(mean, exact_mean, atol=2e-3)
    np.testing.assert_allclose(std, np.sqrt(exact_variance), rtol=1e-2)


@pytest.mark.parametrize("options", [{"tail": 0.0}, {"tail": 1.0}, {"scale": -1.0}])
def test_impossible_parameters_are_refused(options):
    with pytest.raises(ValueError, match="PearsonSDE expects"):
        lcss_tf.SDES["PearsonSDE"](**options)
