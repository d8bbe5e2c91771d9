"""DPS and DiffPIR, step by step, against their papers' algorithms written out in NumPy.

The data are a correlated Gaussian with its exact score and the derivative of its denoised estimate;
both sides see the same noise, the same times and the same start.
"""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.control import DPS, DiffPIR, InverseProblem, Linear, Nonlinear
from tests.control import helpers

A = np.random.default_rng(1).normal(size=(3, 4))
COUNT, STEPS, NOISE_STD = 5, 12, 0.1
SEED = random.as_seed(7)
SDE = lcss_tf.SDES["VPSDE"]()
SAMPLER = lcss_tf.SAMPLERS["DDIM"](num_steps=STEPS, eta=1.0, denoise=False)
Y = np.random.default_rng(2).normal(size=(COUNT, 3))
X_T = np.random.default_rng(3).normal(size=(COUNT, 4))


def noises():
    """z of each step, as the sampler's loop draws them."""
    return [random.normal(random.fold_in(SEED, i), (COUNT, 4)).numpy() for i in range(STEPS)]


def schedule():
    """(ᾱ_i, ᾱ_{i−1}) of each step: squares of alpha_t."""
    alpha_t = SDE.marginal(tf.constant(SAMPLER.times(SDE), tf.float32))[0].numpy().astype(float)
    return list(zip(alpha_t[:-1] ** 2, alpha_t[1:] ** 2, strict=True))


def denoised(x, a_bar):
    """(x̂_0, its derivative [4, 4]) of the Gaussian at x, x_t = √ᾱ x_0 + √(1 − ᾱ) z."""
    covariance = a_bar * helpers.correlated() + (1 - a_bar) * np.eye(4)
    inverse = np.linalg.inv(covariance)
    score = -(x - np.sqrt(a_bar) * helpers.MEAN) @ inverse
    estimate = (x + (1 - a_bar) * score) / np.sqrt(a_bar)
    return estimate, (np.eye(4) - (1 - a_bar) * inverse) / np.sqrt(a_bar)


def ours(method, operator):
    problem = InverseProblem(operator, tf.constant(Y, tf.float32), NOISE_STD)
    controlled = method.control(SAMPLER, problem)
    score_fn = helpers.score_of(SDE, helpers.correlated())
    return controlled.sample_from(score_fn, SDE, tf.constant(X_T, tf.float32), SEED).x.numpy()


@pytest.mark.parametrize("kind", ["linear", "nonlinear"])
def test_dps_is_algorithm_1_of_its_paper(kind):
    """Chung et al. (2023), Alg. 1: a DDPM step, less ζ_i ∇‖y − H(x̂_0)‖², ζ_i = ζ/‖y − H(x̂_0)‖."""
    function = (lambda v: v) if kind == "linear" else np.tanh
    slope = (lambda v: np.ones_like(v)) if kind == "linear" else (lambda v: 1 - np.tanh(v) ** 2)
    zeta, x = 0.15, X_T
    for (a_bar, a_bar_before), z in zip(schedule(), noises(), strict=True):
        a = a_bar / a_bar_before
        estimate, jacobian = denoised(x, a_bar)
        proposal = np.sqrt(a) * (1 - a_bar_before) / (1 - a_bar) * x
        proposal += np.sqrt(a_bar_before) * (1 - a) / (1 - a_bar) * estimate
        proposal += np.sqrt((1 - a) * (1 - a_bar_before) / (1 - a_bar)) * z
        residual = Y - function(estimate @ A.T)
        gradient = -2 * (residual * slope(estimate @ A.T)) @ A @ jacobian
        x = proposal - zeta / np.linalg.norm(residual, axis=1, keepdims=True) * gradient
    matrix = tf.constant(A, tf.float32)
    operator = (
        Linear(lambda x: tf.linalg.matvec(matrix, x))
        if kind == "linear"
        else Nonlinear(lambda x: tf.tanh(tf.linalg.matvec(matrix, x)))
    )
    np.testing.assert_allclose(ours(DPS(zeta), operator), x, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("fresh", [0.0, 0.4])
def test_diffpir_is_algorithm_1_of_its_paper(fresh):
    """Zhu et al. (2023), Alg. 1: the data term's minimum by its normal equations, then √ζ noise."""
    weight, x = 2.0, X_T
    for (a_bar, a_bar_before), z in zip(schedule(), noises(), strict=True):
        estimate, _ = denoised(x, a_bar)
        rho = weight * NOISE_STD**2 / ((1 - a_bar) / a_bar)
        left, right = A.T @ A + rho * np.eye(4), Y @ A + rho * estimate
        clean = np.linalg.solve(left, right.T).T
        epsilon = (x - np.sqrt(a_bar) * clean) / np.sqrt(1 - a_bar)
        mixed = np.sqrt(1 - fresh) * epsilon + np.sqrt(fresh) * z
        x = np.sqrt(a_bar_before) * clean + np.sqrt(1 - a_bar_before) * mixed
    operator = Linear(lambda x: tf.linalg.matvec(tf.constant(A, tf.float32), x))
    np.testing.assert_allclose(ours(DiffPIR(weight, fresh), operator), x, rtol=2e-3, atol=2e-3)
