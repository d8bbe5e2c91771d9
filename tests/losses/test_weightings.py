"""Weightings as factors of the noise and data errors; EDM's loss number by number."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.losses import (
    DSMLoss,
    EDMWeighting,
    LCSSLoss,
    LogNormalTimes,
    MinSNRWeighting,
    P2Weighting,
    SNRWeighting,
)
from tests.siblings import siblings

AFFINE = [name for name in sorted(lcss_tf.SDES) if lcss_tf.SDES[name].has_marginal]


@pytest.fixture(params=siblings(AFFINE))
def sde(request):
    return lcss_tf.SDES[request.param]()


def at(sde):
    """(t, α, σ, SNR) at some times, float64 but for t."""
    t = sde.training_time(tf.linspace(0.01, 1.0, 60))
    alpha_t, sigma_t = (np.asarray(v, float) for v in sde.marginal(t))
    return t, alpha_t, sigma_t, (alpha_t / sigma_t) ** 2


# (weighting, its factor of ‖x̂_0 − x_0‖² in the paper)
PAPERS = {
    "noise_scale": lambda snr, g2, sigma: snr,
    "likelihood": lambda snr, g2, sigma: g2 * snr / sigma**2,
    "min-SNR-5": lambda snr, g2, sigma: np.minimum(snr, 5.0),
    "EDM": lambda snr, g2, sigma: (1 / snr + 0.25) / (0.25 / snr),
    "P2": lambda snr, g2, sigma: snr / (1.0 + snr) ** 0.5,
}
MADE = {
    "min-SNR-5": MinSNRWeighting(5.0),
    "EDM": EDMWeighting(0.5),
    "P2": P2Weighting(gamma=0.5),
}


@pytest.mark.parametrize("name", PAPERS)
def test_the_error_of_the_data_has_the_papers_factor(sde, name):
    """λ ½‖S − s‖² of any score, through the x̂_0 that it implies: λ α²/σ⁴ is the factor."""
    weighting = lcss_tf.WEIGHTINGS.make(MADE.get(name, name))
    t, alpha_t, sigma_t, snr = at(sde)
    factor = np.asarray(weighting(sde, t), float) * alpha_t**2 / sigma_t**4
    expected = PAPERS[name](snr, np.asarray(sde.noise_rate(t), float), sigma_t)
    np.testing.assert_allclose(factor, expected, rtol=1e-4)


@pytest.mark.parametrize("weighting", sorted(lcss_tf.WEIGHTINGS))
def test_every_registered_weighting_is_positive_and_compiles(sde, weighting):
    made = lcss_tf.WEIGHTINGS.make(weighting)
    t, *_ = at(sde)
    values = made(sde, t)
    assert values.shape == t.shape
    assert (values.numpy() > 0).all()
    compiled = tf.function(lambda t: made(sde, t), jit_compile=True)(t)
    np.testing.assert_allclose(compiled, values, rtol=1e-5)


def test_edm_is_edm():
    """LogNormalTimes × EDMWeighting on EDMSDE: E λ(σ) ‖D(y + n; σ) − y‖², the mean over D.

    ln σ ~ N(−1.2, 1.2²), λ = (σ² + σ_d²)/(σ σ_d)² and D the denoiser that the score implies, each
    written down anew here, from the same noise; Karras et al. (2022), equation 2 and table 1.
    """
    sde, count, sigma_data = lcss_tf.sdes.EDMSDE(), 512, 0.5
    loss = DSMLoss(EDMWeighting(sigma_data), LogNormalTimes())
    y, seed = 0.5 * random.normal(1, (count, 3)), random.as_seed(4)
    # A wrong denoiser, D = c(σ) x.
    c = lambda sigma: 0.3 / (1 + sigma**2)
    score_fn = lambda x, t: (c(t[:, None]) * x - x) / t[:, None] ** 2
    values = loss(score_fn, sde, y, seed)

    # The same quantiles and noise; sigma by scipy's normal, within [0.002, 80].
    v = np.asarray(loss.times.uniforms(random.fold_in(seed, "time"), count), float)
    low, high = (scipy.stats.norm.cdf((np.log(end) + 1.2) / 1.2) for end in (0.002, 80.0))
    sigma = np.exp(-1.2 + 1.2 * scipy.stats.norm.ppf(low + v * (high - low)))
    np.testing.assert_allclose(values.t, sigma, rtol=2e-4)
    noise_seed = random.fold_in(random.fold_in(seed, "noise"), "path")
    n = sigma[:, None] * random.normal(noise_seed, (count, 3)).numpy().astype(float)
    clean = y.numpy().astype(float)
    denoised = c(sigma)[:, None] * (clean + n)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    edm = weight * np.mean((denoised - clean) ** 2, axis=1)
    np.testing.assert_allclose(values.per_example, edm, rtol=2e-3)
    assert (np.asarray(values.weight) == 1).all()


def test_edm_weights_times_density_in_closed_form():
    """Over u: p(u) λ(t(u)) against ln σ's normal density times d ln σ/du times λ."""
    sde = lcss_tf.sdes.EDMSDE()
    u = np.linspace(0.05, 0.95, 50).astype(np.float32)
    times, weighting = LogNormalTimes(), EDMWeighting()
    t = sde.training_time(tf.constant(u))
    ours = times.density(sde, tf.constant(u)).numpy() * weighting(sde, t).numpy()
    low, high = 0.002 ** (1 / 7), 80.0 ** (1 / 7)
    root = low + u.astype(float) * (high - low)
    sigma, slope = root**7, 7 * (high - low) / root
    density = scipy.stats.norm.pdf(np.log(sigma), -1.2, 1.2) * slope
    edm = density * sigma**2 * (sigma**2 + 0.25) / 0.25  # times ‖S − s‖²: σ⁴ of the data error
    np.testing.assert_allclose(ours, edm, rtol=1e-3)


def test_edm_means_the_same_on_every_affine_sde():
    """On VP the loss is EDM's of x/α at σ/α: the noise error's factor is a function of SNR."""
    vp, edm, weighting = lcss_tf.sdes.VPSDE(), lcss_tf.sdes.EDMSDE(), EDMWeighting()
    t, _, sigma_t, snr = at(vp)
    there = tf.constant(snr**-0.5, tf.float32)  # the time of EDMSDE at this noise level
    np.testing.assert_allclose(
        weighting(vp, t) / sigma_t**2, weighting(edm, there) * snr, rtol=1e-4
    )


def test_special_cases():
    sde = lcss_tf.sdes.VPSDE()
    t, alpha_t, sigma_t, _ = at(sde)
    np.testing.assert_allclose(P2Weighting(gamma=0.0)(sde, t), sigma_t**2, rtol=1e-6)
    np.testing.assert_allclose(P2Weighting()(sde, t), sigma_t**4, rtol=1e-4)  # VP: 1/(1 + SNR) = σ²
    np.testing.assert_allclose(MinSNRWeighting(1e9)(sde, t), sigma_t**2, rtol=1e-6)
    data = MinSNRWeighting(1e-9)(sde, t).numpy() / sigma_t**4 * alpha_t**2
    np.testing.assert_allclose(data, 1e-9, rtol=1e-3)  # the data error as it is


def test_ones_own_are_a_function_or_a_class():
    sde, x0 = lcss_tf.sdes.VPSDE(), random.normal(1, (8, 2))
    score_fn = lambda x, t: -x

    @lcss_tf.register_weighting
    class Soft(SNRWeighting):
        def noise_factor(self, snr):
            return 1.0 / (1.0 + snr)

    try:
        losses = [
            LCSSLoss(weighting=weighting)(score_fn, sde, x0, 0).per_example
            for weighting in ("Soft", Soft, Soft(), P2Weighting(), lambda sde, t: Soft()(sde, t))
        ]
    finally:
        del lcss_tf.WEIGHTINGS._parts["Soft"]
    for other in losses[1:]:
        np.testing.assert_allclose(other, losses[0], rtol=1e-6)
    with pytest.raises(NotImplementedError, match="must define noise_factor"):
        SNRWeighting()(sde, tf.constant([0.5]))


@pytest.mark.parametrize("weighting", ["MinSNRWeighting", "EDMWeighting", "P2Weighting"])
def test_without_a_noise_level_they_are_refused_with_the_remedy(weighting):
    loss = LCSSLoss(weighting=weighting)
    with pytest.raises(UsageError, match=rf"{weighting} needs the noise level .*'noise_scale'"):
        loss.check(lcss_tf.sdes.PearsonSDE())
    loss.check(lcss_tf.sdes.VESDE())


def test_numbers_out_of_range_are_refused():
    for make, message in (
        (lambda: MinSNRWeighting(0.0), "gamma > 0"),
        (lambda: EDMWeighting(-1.0), "sigma_data > 0"),
        (lambda: P2Weighting(k=0.0), "k > 0"),
        (lambda: P2Weighting(gamma=-1.0), "gamma >= 0"),
    ):
        with pytest.raises(UsageError, match=message):
            make()
