"""DSM's values against score_sde's: both reductions, both weightings.

At the fixture's smallest time, t = 0.002, score_sde computes σ_t as √(1 − e^{2c}) in
float32, which cancels: its likelihood-weighted values are 7e-5 (VP) and 2e-4 (sub-VP) off
their own float64 values. Ours agree with float64. So two checks: with the reference's own
σ_t and g we give its value; with ours, the float64 value.
"""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.losses import DSMLoss


@pytest.fixture(params=["mean", "sum"])
def reduction(request):
    return request.param


@pytest.fixture(params=["noise_scale", "likelihood"])
def weighting(request):
    return request.param


def _loss(reference, sde, reduction, weighting):
    x0, t, z = (tf.constant(reference[key]) for key in ("x", "t", "z"))
    loss = DSMLoss(weighting=weighting, reduction=reduction)

    def score_fn(x, t):
        alpha_t, sigma_t = sde.marginal(t)
        variance = alpha_t**2 * reference.meta["data_variance"] + sigma_t**2
        return -x / variance[:, None, None, None]

    j = tf.add_n(list(loss.terms_for_noise(score_fn, sde, x0, t, z).values()))
    return float(tf.reduce_mean(loss.scale(sde, t, x0.shape) * j))


def _name(reduction, weighting):
    mean, likelihood = reduction == "mean", weighting == "likelihood"
    return f"dsm.reduce_mean={mean}.likelihood_weighting={likelihood}"


def test_value_with_the_references_own_rounding_of_sigma(reference, reduction, weighting):
    sde = reference.sde()
    exact = sde.marginal
    sde.marginal = lambda t: (exact(t)[0], tf.constant(reference["marginal_std"]))
    sde.diffusion = lambda x, t: tf.constant(reference["diffusion"])[:, None]
    value = _loss(reference, sde, reduction, weighting)
    assert value == pytest.approx(float(reference[_name(reduction, weighting)]), rel=1e-5)


def test_value_is_that_of_float64(reference, reduction, weighting):
    sde = reference.sde()
    t, x, z = (reference[key].astype(np.float64) for key in ("t", "x", "z"))
    alpha, sigma, g2 = _float64(sde, t)
    column = lambda v: v[:, None, None, None]
    x_t = column(alpha) * x + column(sigma) * z
    score = -x_t / column(alpha**2 * reference.meta["data_variance"] + sigma**2)
    squares = (score + z / column(sigma)) ** 2
    weighted = column(g2 if weighting == "likelihood" else sigma**2) * squares
    exact = weighted.mean() if reduction == "mean" else 0.5 * weighted.sum((1, 2, 3)).mean()
    assert _loss(reference, sde, reduction, weighting) == pytest.approx(exact, rel=1e-5)
    assert float(reference[_name(reduction, weighting)]) == pytest.approx(exact, rel=3e-4)


def _float64(sde, t):
    """alpha, sigma and g², in float64."""
    if hasattr(sde, "sigma_min"):
        ratio = sde.sigma_max / sde.sigma_min
        sigma = sde.sigma_min * ratio**t
        return np.ones_like(t), sigma, sigma**2 * 2 * np.log(ratio)
    c = -0.25 * t**2 * (sde.beta_max - sde.beta_min) - 0.5 * t * sde.beta_min
    beta = sde.beta_min + t * (sde.beta_max - sde.beta_min)
    if type(sde).__name__ == "VPSDE":
        return np.exp(c), np.sqrt(-np.expm1(2 * c)), beta
    return np.exp(c), -np.expm1(2 * c), -beta * np.expm1(4 * c)
