"""The generalised normal SDE: VP at power 2, its prior is stationary, impossible powers."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random

SHAPE = (20_000, 2)


def test_power_2_is_vp():
    """Drift, diffusion, noise scale, prior, reverse drift, local kernel, x_t's law and weight."""
    sde, vp = lcss_tf.SDES["GeneralizedNormalSDE"](power=2), lcss_tf.SDES["VPSDE"]()
    x, z = random.normal(1, SHAPE), random.normal(2, SHAPE)
    t = sde.t_min + (sde.T - sde.t_min) * random.uniform(3, SHAPE[:1])
    s = 0.7 * t
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    close(sde.drift(x, t), vp.drift(x, t))
    close(sde.diffusion(x, t), vp.diffusion(x, t))
    close(sde.noise_scale(t), vp.noise_scale(t))
    close(sde.prior_log_prob(x), vp.prior_log_prob(x))
    close(sde.prior_std(), 1.0)
    close(sde.noise_label(t), vp.noise_label(t))
    for flow in (False, True):
        close(sde.reverse_drift(x, t, z, flow), vp.reverse_drift(x, t, z, flow))
    for mine, theirs in zip(sde.local_kernel(x, s, t), vp.local_kernel(x, s, t), strict=True):
        close(mine, tf.broadcast_to(theirs, SHAPE))
    x_t, weight = sde.sample_with_weight(x, t, 4)
    alpha_t, sigma_t = (v[:, None] for v in vp.marginal(t))
    noise = (x_t - alpha_t * x) / sigma_t  # standard normal, whatever t and x
    np.testing.assert_allclose(weight * sigma_t, noise, rtol=1e-3, atol=2e-3)  # x_t − α x cancels
    assert float(tf.reduce_mean(noise)) == pytest.approx(0, abs=0.03)
    assert float(tf.math.reduce_std(noise)) == pytest.approx(1, abs=0.02)
    assert float(tf.reduce_mean(noise**4)) == pytest.approx(3, abs=0.15)


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0, 4.0, 6.0])
def test_the_prior_is_stationary(power):
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
