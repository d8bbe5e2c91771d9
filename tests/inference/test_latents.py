"""There and back through the ODE; arcs between latents."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import lcss_tf
from lcss_tf import random
from lcss_tf.inference.latents import decode, encode, interpolate
from lcss_tf.samplers import DormandPrinceSolver
from tests.siblings import siblings


@pytest.mark.parametrize("kind", ["VPSDE", "VESDE"])
def test_decoding_undoes_encoding(kind):
    sde, data = lcss_tf.SDES[kind](), lcss_tf.DATASETS["GaussianMixture"]()
    score_fn = lambda x, t: data.score(x, *sde.marginal(t))
    x = data.examples(np.arange(100))
    there = tf.function(lambda x: encode(score_fn, sde, x), autograph=False)
    back = tf.function(lambda x: decode(score_fn, sde, x), autograph=False)
    latent, failure = there(x)
    assert failure[0] == -1
    again, failure = back(latent)
    assert failure[0] == -1
    np.testing.assert_allclose(again, x, atol=5e-3)
    # The latents are distributed as the prior.
    z = latent.numpy().ravel() / float(sde.prior_std())
    assert stats.kstest(z, "norm").statistic < 1.63 / np.sqrt(200) + 0.02


def test_the_round_trip_where_there_is_no_kernel():
    """PearsonSDE's prior is stationary: with its score nothing moves; with a wrong one it does."""
    sde = lcss_tf.SDES["PearsonSDE"]()

    def prior_score(x, t):
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_prob = sde.prior_log_prob(x)
        return tape.gradient(log_prob, x)

    x = sde.prior_sample((20, 3), random.as_seed(1))
    np.testing.assert_allclose(encode(prior_score, sde, x)[0], x, rtol=1e-4, atol=1e-5)
    other = lambda x, t: 1.3 * prior_score(x, t)
    latent, _ = encode(other, sde, x, t_min=0.3)
    assert np.abs(latent - x).max() > 0.1
    np.testing.assert_allclose(decode(other, sde, latent, t_min=0.3)[0], x, rtol=1e-2, atol=1e-3)


def test_what_fails_is_nan_and_says_so():
    sde = lcss_tf.SDES["VPSDE"]()
    latent, failure = encode(
        lambda x, t: -2 * x, sde, tf.ones([2, 2]), DormandPrinceSolver(max_steps=1)
    )
    assert np.isnan(latent).all()
    assert failure[0] == 1


DEPENDENT = {"KineticSDE", "MatrixOUSDE", "RotatingSDE"}  # priors of coordinates that are not alike


@pytest.mark.parametrize("kind", siblings(set(lcss_tf.SDES) - DEPENDENT))
def test_the_middle_is_distributed_as_the_prior(kind):
    """For independent latents, whatever the prior; the ends are the latents themselves."""
    sde = lcss_tf.SDES[kind]()
    a, b = (sde.prior_sample((500, 40), random.as_seed(seed)) for seed in (1, 2))
    path = interpolate(sde, a, b, [0.0, 0.3, 0.5, 1.0])
    assert path.shape == (4, 500, 40)
    np.testing.assert_allclose(path[0], a, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(path[3], b, rtol=1e-5, atol=1e-6)
    reference = sde.prior_sample((500, 40), random.as_seed(3)).numpy().ravel()
    for middle in path[1:3]:
        assert stats.ks_2samp(middle.ravel(), reference).statistic < 1.63 * np.sqrt(2 / 20_000)


@pytest.mark.parametrize("kind", sorted(DEPENDENT))
def test_coordinates_that_are_not_alike_are_refused(kind):
    sde = lcss_tf.SDES[kind]()
    a, b = (sde.prior_sample((5, 4), random.as_seed(seed)) for seed in (1, 2))
    with pytest.raises(ValueError, match=f"independent, equal coordinates.*{kind}"):
        interpolate(sde, a, b, [0.5])


def test_on_a_gaussian_prior_it_is_slerp():
    sde = lcss_tf.SDES["VESDE"]()
    a, b = np.float32([[3.0, 0.0]]), np.float32([[0.0, 3.0]])
    middle = interpolate(sde, a, b, [0.5])[0]
    np.testing.assert_allclose(middle, [[3 / np.sqrt(2)] * 2], rtol=1e-4)


def test_priors_and_shapes_that_do_not_fit_are_refused():
    class Correlated(lcss_tf.SDE):
        def prior_sample(self, shape, seed):
            return random.normal(seed, shape)

        def prior_log_prob(self, x):
            pairs = tf.reduce_sum(x[:, 1:] * x[:, :-1], axis=1)
            return -0.5 * tf.reduce_sum(x**2, axis=1) + 0.4 * pairs - 0.9189385 * x.shape[1]

    with pytest.raises(ValueError, match="Correlated is none"):
        interpolate(Correlated(), np.ones((1, 3)), np.zeros((1, 3)), [0.5])
    with pytest.raises(ValueError, match=r"\(1, 3\) and \(1, 2\)"):
        interpolate(lcss_tf.SDES["VPSDE"](), np.ones((1, 3)), np.ones((1, 2)), [0.5])
