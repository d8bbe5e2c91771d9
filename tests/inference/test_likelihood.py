"""log p_0 by the ODE against closed forms, the Fokker–Planck equation and score_sde's numbers."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import lcss_tf
from lcss_tf import random
from lcss_tf.data import Scaling
from lcss_tf.exact import ExactMixture
from lcss_tf.inference.likelihood import Likelihood, bits_per_dim
from lcss_tf.ops import like
from lcss_tf.samplers import DormandPrinceSolver
from tests.conftest import relative_error

AFFINE = ["VPSDE", pytest.param("SubVPSDE", marks=pytest.mark.slow), "VESDE"]


def compiled(likelihood, score_fn, sde):
    """As a graph, which is made faster than a program of XLA; `test_parity` makes those."""
    return tf.function(lambda x, seed: likelihood(score_fn, sde, x, seed), autograph=False)


def test_parity(reference):
    """score_sde's bits/dim, by its own probe: its latents and evaluations too."""
    likelihood = Likelihood(solver=DormandPrinceSolver(control="batch"), t_min=1e-5)
    sde = reference.sde()

    @tf.function(jit_compile=True)
    def run(x, probe):
        return likelihood.with_probes(reference.score_fn, sde, x, [probe])

    got = run(*(tf.constant(reference[f"bpd.{key}"]) for key in ("data", "probe")))
    scaling = Scaling.for_images(bool(reference["bpd.centered"]))
    value = bits_per_dim(got.log_prob, scaling, (4, 4, 3))
    np.testing.assert_allclose(value, reference["bpd.value"], atol=2e-5)
    assert relative_error(got.latent, reference["bpd.latent"]) < 2e-5
    assert abs(int(got.nfe) - int(reference["bpd.nfe"])) <= 6


MEAN, CHOLESKY = np.float32([0.5, -1.0]), np.float32([[0.6, 0.0], [0.4, 0.3]])


def gaussian_score(sde):
    """The exact score of N(MEAN, LLᵀ) noised, coordinates correlated."""
    covariance = CHOLESKY @ CHOLESKY.T

    def score_fn(x, t):
        alpha_t, sigma_t = sde.marginal(t)
        noised = like(alpha_t**2, x)[..., None] * covariance
        noised += like(sigma_t**2, x)[..., None] * tf.eye(2)
        return tf.linalg.matvec(tf.linalg.inv(noised), like(alpha_t, x) * MEAN - x)

    return score_fn


def gaussian_log_prob(sde, x, t):
    """log p_t(x) of N(MEAN, LLᵀ) noised, float64."""
    alpha_t, sigma_t = (float(level[0]) for level in sde.marginal(tf.constant([t])))
    covariance = alpha_t**2 * np.float64(CHOLESKY @ CHOLESKY.T) + sigma_t**2 * np.eye(2)
    return stats.multivariate_normal(alpha_t * MEAN, covariance).logpdf(np.float64(x))


@pytest.mark.parametrize(
    ("kind", "divergence"),
    [
        ("VPSDE", "exact"),
        pytest.param("SubVPSDE", "exact", marks=pytest.mark.slow),
        ("VESDE", "exact"),
        ("VPSDE", "rademacher"),
        pytest.param("VESDE", "gaussian", marks=pytest.mark.slow),
    ],
)
def test_a_gaussian(kind, divergence):
    sde = lcss_tf.SDES[kind]()
    x = MEAN + tf.linalg.matvec(CHOLESKY, random.normal(1, (400, 2)))
    likelihood = Likelihood(divergence, num_probes=1 if divergence == "exact" else 4)
    got = compiled(likelihood, gaussian_score(sde), sde)(x, random.as_seed(2))
    assert got.failure[0] == -1
    # The data's mean has not quite been forgotten by T, so p_T is not quite the prior.
    forgotten = gaussian_log_prob(sde, got.latent, sde.T) - sde.prior_log_prob(got.latent).numpy()
    assert np.abs(forgotten).max() < 0.1
    gap = got.log_prob.numpy() + forgotten - gaussian_log_prob(sde, x, sde.t_min)
    if divergence == "exact":
        np.testing.assert_allclose(gap, 0, atol=2e-3)
        return
    # Unbiased, and the probes' error falls with their number.
    spread = float(np.std(gap))
    assert float(np.mean(gap)) == pytest.approx(0, abs=4 * spread / math.sqrt(len(gap)))
    single = compiled(Likelihood(divergence), gaussian_score(sde), sde)(x, random.as_seed(2))
    alone = single.log_prob.numpy() + forgotten - gaussian_log_prob(sde, x, sde.t_min)
    assert float(np.std(alone)) == pytest.approx(math.sqrt(4) * spread, rel=0.25)


@pytest.mark.parametrize("kind", AFFINE)
def test_a_mixture_in_the_plane(kind):
    """Eight clusters: log densities that span many nats, far points among them."""
    sde = lcss_tf.SDES[kind]()
    data = lcss_tf.DATASETS["GaussianMixture"]()
    x = tf.concat([data.examples(np.arange(200)), 0.7 * random.normal(3, (50, 2))], axis=0)

    def score_fn(x, t):
        return data.score(x, *sde.marginal(t))

    got = compiled(Likelihood("exact"), score_fn, sde)(x, random.as_seed(0))
    exact = data.log_density(x, *sde.marginal(tf.constant([sde.t_min]))).numpy()
    assert exact.min() < -5
    np.testing.assert_allclose(got.log_prob, exact, atol=0.02, rtol=2e-3)


NON_AFFINE = {
    "power 4": ("GeneralizedNormalSDE", "GaussianMixture"),
    "pearson": ("PearsonSDE", "StudentMixture"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NON_AFFINE))
def test_non_affine_sdes_against_fokker_planck(name):
    """Scores from the exact p_t on a grid of times: the prior and the term ∂(g²) included."""
    kind, dataset = NON_AFFINE[name]
    sde = lcss_tf.SDES[kind]()
    data = lcss_tf.DATASETS[dataset](num_components=3, component_std=0.15, dimension=1)
    start = 2e-3
    times = np.geomspace(start, sde.T, 150)
    exact = ExactMixture(data, sde, times)
    grid = np.sinh(np.linspace(-4.5, 4.5, 4_001))[:, None]
    table = np.float32([exact.score(grid, i)[:, 0] for i in range(len(times))])
    step = 9.0 / 4_000

    def score_fn(x, t):
        """Linear in log t, cubic in asinh x: its derivative is wanted too."""
        u = (tf.asinh(x[:, 0]) + 4.5) / step
        v = tf.math.log(t / start) / math.log(sde.T / start) * (len(times) - 1)
        i = tf.clip_by_value(tf.cast(v, tf.int32), 0, len(times) - 2)
        j = tf.clip_by_value(tf.cast(u, tf.int32), 1, 3_998)
        a, b = v - tf.cast(i, tf.float32), u - tf.cast(j, tf.float32)
        # Catmull and Rom's weights of the four neighbours.
        weights = (
            -0.5 * b + b**2 - 0.5 * b**3,
            1.0 - 2.5 * b**2 + 1.5 * b**3,
            0.5 * b + 2.0 * b**2 - 1.5 * b**3,
            -0.5 * b**2 + 0.5 * b**3,
        )

        def row(i):
            at = lambda j: tf.gather_nd(table, tf.stack([i, j], axis=1))
            return tf.add_n([w * at(j + k) for k, w in zip(range(-1, 3), weights, strict=True)])

        return ((1 - a) * row(i) + a * row(i + 1))[:, None]

    likelihood = Likelihood("exact", solver=DormandPrinceSolver(1e-4, 1e-4), t_min=start)
    x = data.examples(np.arange(300))
    x = tf.boolean_mask(x, tf.abs(x[:, 0]) < 30)
    got = compiled(likelihood, score_fn, sde)(x, random.as_seed(0))
    gap = got.log_prob.numpy() - exact.log_prob(x.numpy(), 0)
    assert abs(gap.mean()) < 0.01
    # Where p_T is not quite the prior, its own density tells how exact the rest is.
    forgotten = exact.log_prob(got.latent.numpy(), -1) - sde.prior_log_prob(got.latent).numpy()
    assert np.quantile(np.abs(gap + forgotten), 0.95) < 0.01


def test_probes_belong_to_places_in_the_data():
    """The second half of a batch, by its row, gets the value that it has in the whole."""
    sde = lcss_tf.SDES["VPSDE"]()
    likelihood, score_fn = Likelihood(), gaussian_score(sde)
    run = compiled(likelihood, score_fn, sde)
    x = random.normal(1, (8, 2))
    whole = run(x, random.at_row(5, 0)).log_prob
    half = run(x[4:], random.at_row(5, 4)).log_prob
    np.testing.assert_allclose(half, whole[4:], rtol=1e-5)
    other = run(x, random.at_row(6, 0)).log_prob
    assert np.abs(other - whole).max() > 1e-3


def test_an_unsolved_ode_is_nan():
    sde = lcss_tf.SDES["VPSDE"]()
    likelihood = Likelihood(solver=DormandPrinceSolver(max_steps=2))
    got = compiled(likelihood, gaussian_score(sde), sde)(tf.ones([3, 2]), random.as_seed(0))
    assert np.isnan(got.log_prob).all()
    assert got.failure[0] == 2


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="'exact'"):
        Likelihood("hutchinson")
    with pytest.raises(ValueError, match="num_probes >= 1"):
        Likelihood(num_probes=0)
    sde = lcss_tf.SDES["VPSDE"]()
    with pytest.raises(ValueError, match="3,072; it takes at most 256"):
        Likelihood("exact").check(sde, (32, 32, 3))
    with pytest.raises(ValueError, match="VPSDE; got 1"):
        Likelihood(t_min=1.0).check(sde, (2,))
