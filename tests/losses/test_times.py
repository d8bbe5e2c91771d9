"""Times: densities, importance weights, strata, what adapts; new ones enter by themselves."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import gin
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.commands import _gin
from lcss_tf.errors import UsageError
from lcss_tf.losses import (
    AdaptiveTimes,
    DSMLoss,
    ImportanceTimes,
    LCSSLoss,
    LogitNormalTimes,
    LogNormalTimes,
    Loss,
    TimeDistribution,
    UniformTimes,
)
from tests.siblings import siblings

SDES = siblings(set(lcss_tf.SDES) - {"UserSDE"})
NAMES = sorted(lcss_tf.TIME_DISTRIBUTIONS)


def made(name, reweight=None):
    """The distribution; uniform times know no `reweight`, since they need none."""
    options = {} if name == "UniformTimes" or reweight is None else {"reweight": reweight}
    return lcss_tf.TIME_DISTRIBUTIONS[name](**options)


def refusal(times, sde):
    """What the distribution says against the SDE; "" where it fits."""
    try:
        times.check(sde)
    except UsageError as error:
        return str(error)
    return ""


def fits(times, sde):
    """Whether it does; if not, it says what does."""
    message = refusal(times, sde)
    assert "use times=" in message or not message
    return not message


def value_at(t, sde):
    """A loss that depends on time alone, and much."""
    return 1.0 + np.sin(5 * t / sde.T) + 3.0 * np.exp(-20 * t / sde.T)


class OfTime(Loss):
    """J = `value_at` over λ, so that the loss of an example is `value_at` of its time."""

    def per_example(self, score_fn, sde, x0, t, seed):
        wave = 1.0 + tf.sin(5 * t / sde.T) + 3.0 * tf.exp(-20 * t / sde.T)
        return wave / self.weighting(sde, t)


@pytest.fixture(params=SDES)
def sde(request):
    return lcss_tf.SDES[request.param]()


# The contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_expectation_is_that_of_uniform_times(sde, name):
    """E_p[l/p] = ∫ l du, whatever the distribution has learnt; by 2¹⁴ stratified times."""
    times = made(name, reweight=True)
    if not fits(times, sde):
        return
    count = 2**14
    loss = OfTime("noise_scale", times, reduction="sum")
    state = {k: tf.constant(v) for k, v in times.initial_state().items()}
    x0 = tf.zeros((count, *sde.example_shape))
    for seed in range(2):  # the second time with what the first taught
        values = loss(None, sde, x0, seed, state=state)
        state = times.update(state, values.statistics)
    u = (np.arange(2**14) + 0.5) / 2**14
    exact = np.mean(value_at(sde.training_time(tf.constant(u, tf.float32)).numpy(), sde))
    assert np.mean(values.per_example) == pytest.approx(exact, rel=1e-3)
    assert np.mean(values.weight) == pytest.approx(1.0, rel=1e-3)
    assert np.max(values.weight) < 1 / 0.1 + 1e-3, "the floor bounds it"


@pytest.mark.parametrize("name", NAMES)
def test_density_cdf_and_quantile_agree(sde, name):
    """∫ p du = 1, p = F', F(F⁻¹(v)) = v; the sample's weight is 1/p at its times."""
    times = made(name, reweight=True)
    if not fits(times, sde):
        return
    v = tf.constant((np.arange(4_096) + 0.5) / 4_096, tf.float32)
    u = times.quantile(sde, v)
    assert (np.diff(u) >= 0).all()
    np.testing.assert_allclose(times.cdf(sde, u), v, atol=3e-6)
    # Between quantiles the mean density is Δv/Δu: nodes where the mass is.
    width = np.diff(u.numpy().astype(float))
    middle = tf.constant(0.5 * (u.numpy()[1:] + u.numpy()[:-1]))
    mass = times.density(sde, middle).numpy() * width
    assert mass.sum() == pytest.approx(1 - 1 / 4_096, rel=1e-3)
    assert np.median(np.abs(4_096 * mass - 1)) < 2e-3, "cell by cell"
    drawn = times.sample(sde, 3, 64)
    assert (drawn.t >= sde.t_min).numpy().all()
    assert (drawn.t <= sde.T).numpy().all()
    again = times.quantile(sde, times.uniforms(3, 64))
    np.testing.assert_allclose(drawn.weight, 1 / times.density(sde, again), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_without_reweighting_the_density_is_a_weight(name):
    """E_p[l] = ∫ p l du; and the objective is said."""
    sde, times = lcss_tf.sdes.VPSDE(), made(name, reweight=False)
    x = (np.arange(2**16) + 0.5) / 2**16
    u = tf.constant(x**4, tf.float32)  # fine near 0
    p = times.density(sde, u).numpy() * 4 * x**3
    exact = np.mean(p * value_at(sde.training_time(u).numpy(), sde))
    drawn = times.sample(sde, 0, 2**14)
    assert (drawn.weight.numpy() == 1).all()
    assert np.mean(value_at(drawn.t.numpy(), sde)) == pytest.approx(exact, rel=2e-3)
    assert ("part of the objective" in times.describe()) == (name != "UniformTimes")


@pytest.mark.parametrize("name", NAMES)
def test_stratified_samples_fill_every_slice_on_all_replicas(name):
    sde, times = lcss_tf.sdes.VPSDE(), made(name)
    whole = times.sample(sde, random.at_row([1, 2], 0), 64)
    halves = [times.sample(sde, random.at_row([1, 2], r), 32, 64) for r in (0, 32)]
    np.testing.assert_allclose(tf.concat([h.t for h in halves], 0), whole.t, rtol=1e-6)
    v = times.cdf(sde, (whole.t - sde.t_min) / (sde.T - sde.t_min)).numpy()
    # Rounding may move one on an edge.
    slices = np.floor(v * 64 + 1e-3 * np.sign(0.5 - np.mod(v * 64, 1)))
    assert len(set(slices.clip(0, 63))) >= 62
    assert times.stratified


@pytest.mark.parametrize("name", NAMES)
def test_samples_pass_the_kolmogorov_smirnov_test(name):
    """2,000 independent times against the exact distribution function."""
    sde = lcss_tf.sdes.VPSDE()
    times = lcss_tf.TIME_DISTRIBUTIONS[name](stratified=False)
    t = times.sample(sde, 7, 2_000).t
    v = times.cdf(sde, (t - sde.t_min) / (sde.T - sde.t_min))
    assert scipy.stats.kstest(np.asarray(v, float), "uniform").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_compiles_and_differentiates(name):
    """In one program, in a gradient tape, with the same times as without."""
    sde, loss = lcss_tf.sdes.VPSDE(), LCSSLoss(times=made(name, True))
    x0, scale = random.normal(1, (32, 2)), tf.Variable(1.0)

    def gradient():
        with tf.GradientTape() as tape:
            values = loss(lambda x, t: -scale * x, sde, x0, 5)
            mean = tf.reduce_mean(values.per_example)
        return values.t, tape.gradient(mean, scale)

    compiled = tf.function(gradient, jit_compile=True, autograph=False)()
    for one, two in zip(gradient(), compiled, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4)


@pytest.mark.parametrize("loss", sorted(lcss_tf.LOSSES))
def test_every_loss_takes_every_distribution(loss):
    """Its value is λ J/p of its times; what adapts counts every example."""
    sde, x0 = lcss_tf.sdes.VPSDE(), random.normal(1, (16, 3))
    score_fn = lambda x, t: -tf.sin(x) * (1 + t[:, None])
    for name in NAMES:
        made_loss = lcss_tf.LOSSES[loss](times=name)
        values = made_loss(score_fn, sde, x0, 2)
        terms = made_loss.terms(score_fn, sde, x0, values.t, random.fold_in(2, "noise"))
        expected = tf.add_n(list(terms.values())) * made_loss.scale(sde, values.t, x0.shape)
        np.testing.assert_allclose(
            values.per_example, expected * values.weight, rtol=1e-4, atol=1e-4
        )
        if values.statistics:
            assert float(tf.reduce_sum(values.statistics["counts"])) == 16
            assert (values.statistics["squares"].numpy() >= 0).all()


# Closed forms ---------------------------------------------------------------------------------


def test_the_default_is_as_it_always_was():
    """Uniform stratified times are exactly (slice + uniform)/B."""
    sde, seed = lcss_tf.sdes.VPSDE(), random.at_row([3, 4], 16)
    drawn = LCSSLoss().times.sample(sde, seed, 8, 64)
    slices = tf.range(16, 24, dtype=tf.float32)
    u = (slices + random.uniform(seed, (8,))) / tf.constant(64.0)
    np.testing.assert_array_equal(drawn.t, sde.training_time(u))
    independent = UniformTimes(stratified=False).sample(sde, seed, 8, 64)
    np.testing.assert_array_equal(independent.t, sde.training_time(random.uniform(seed, (8,))))


@pytest.mark.parametrize("sde", ["EDMSDE", "VPSDE", "VESDE"])
def test_log_normal_noise_levels(sde):
    """log(σ/α) is normal, cut off at the ends: against scipy's, by Kolmogorov and Smirnov."""
    sde = lcss_tf.SDES[sde]()
    times = LogNormalTimes(mean=-0.5, std=1.1, stratified=False)
    t = times.sample(sde, 11, 4_000).t
    alpha_t, sigma_t = sde.marginal(t)
    low, high = (
        float(tf.math.log(s / a)[0])
        for a, s in (sde.marginal(tf.constant([end])) for end in (sde.t_min, sde.T))
    )
    exact = scipy.stats.truncnorm((low + 0.5) / 1.1, (high + 0.5) / 1.1, loc=-0.5, scale=1.1)
    drawn = np.log(sigma_t / alpha_t)
    assert scipy.stats.kstest(drawn, exact.cdf).pvalue > 0.01


def test_logit_normal_times_are_scipys():
    """Φ((logit u − m)/s) and its derivative, with a floor."""
    sde, u = lcss_tf.sdes.VPSDE(), np.linspace(0.01, 0.99, 99)
    times = LogitNormalTimes(-0.4, 0.7, floor=0.25)
    z, given = (np.log(u / (1 - u)) + 0.4) / 0.7, tf.constant(u, tf.float32)
    exact = 0.75 * scipy.stats.norm.cdf(z) + 0.25 * u
    np.testing.assert_allclose(times.cdf(sde, given), exact, rtol=1e-5)
    slope = 0.75 * scipy.stats.norm.pdf(z) / (0.7 * u * (1 - u)) + 0.25
    np.testing.assert_allclose(times.density(sde, given), slope, rtol=1e-4)
    assert np.isfinite(times.density(sde, tf.constant([0.0, 1.0]))).all()


def test_log_normal_on_flow_matching_is_logit_normal():
    """σ/α = t/(1 − t) there: two ways to the same times, but for t_min and T."""
    sde = lcss_tf.sdes.FlowMatchingSDE()
    v = tf.linspace(0.001, 0.999, 999)
    one = sde.training_time(LogNormalTimes(0.3, 1.2).quantile(sde, v))
    two = sde.training_time(LogitNormalTimes(0.3, 1.2).quantile(sde, v))
    np.testing.assert_allclose(one, two, atol=2e-3)


def test_importance_times_are_those_of_song_et_al_2021():
    """VP: g²/σ² has the integral log(e^B − 1), B = ∫β; the quantile against its inverse."""
    sde = lcss_tf.sdes.VPSDE()
    t = (sde.t_min + np.linspace(0, 1, 200) * (sde.T - sde.t_min)).astype(np.float32)
    primitive = lambda t: np.log(np.expm1(-2 * sde.log_alpha(np.asarray(t, float))))
    ends = primitive(np.array([sde.t_min, sde.T]))
    exact = (primitive(t) - ends[0]) / (ends[1] - ends[0])
    times = ImportanceTimes(floor=0.0)
    u = (t - sde.t_min) / (sde.T - sde.t_min)
    np.testing.assert_allclose(times.cdf(sde, tf.constant(u)), exact, atol=2e-3)
    # With "noise_scale" the factor is 1: uniform.
    even = ImportanceTimes("noise_scale").quantile(sde, tf.constant(u))
    np.testing.assert_allclose(even, u, atol=1e-6)


def exact_score(sde, variance):
    def score_fn(x, t):
        alpha_t, sigma_t = (tf.reshape(v, [-1, 1]) for v in sde.marginal(t))
        return -x / (alpha_t**2 * variance + sigma_t**2)

    return score_fn


def moments(sde, variance, weighting, dimension):
    """(u, E[l|t], E[l²|t]) of DSM at the exact score of N(0, v I), in closed form.

    The residual S + z/σ is Gaussian of variance α² v/(σ² V), V = α² v + σ², in each of D
    coordinates; the loss is λ times its mean square: chi-squared over D.
    """
    u = (np.arange(400_000) + 0.5) / 400_000
    t = sde.training_time(tf.constant(u, tf.float32))
    alpha_t, sigma_t = (np.asarray(v, float) for v in sde.marginal(t))
    total = alpha_t**2 * variance + sigma_t**2
    factor = np.asarray(lcss_tf.WEIGHTINGS[weighting](sde, t), float) / sigma_t**2
    mean = factor * alpha_t**2 * variance / total
    return u, mean, mean**2 * (1 + 2 / dimension)


@pytest.mark.slow
@pytest.mark.parametrize("stratified", [False, True], ids=["independent", "stratified"])
@pytest.mark.parametrize("times", ["UniformTimes", "ImportanceTimes", "LogNormalTimes"])
def test_the_variance_of_the_loss_is_the_closed_form(times, stratified):
    """Var of the mean of B examples: (∫E[l²]/p − (∫E[l])²)/B independent; stratified, the
    variance between strata goes, (∫(E[l²] − E[l]²)/p)/B for many."""
    sde, variance, batch, draws = lcss_tf.sdes.VPSDE(), 1.5, 64, 3_000
    options = {} if times == "UniformTimes" else {"reweight": True}
    times = lcss_tf.TIME_DISTRIBUTIONS[times](stratified=stratified, **options)
    loss = DSMLoss(times=times)
    u, first, second = moments(sde, variance, "noise_scale", 2)
    p = times.density(sde, tf.constant(u, tf.float32)).numpy()
    within = np.mean((second - first**2) / p)
    exact = within if stratified else np.mean(second / p) - np.mean(first) ** 2
    score_fn, root = exact_score(sde, variance), math.sqrt(variance)

    def estimate(k):
        seed = random.seed_for(5, k)
        x0 = root * random.normal(random.fold_in(seed, "data"), (batch, 2))
        return tf.reduce_mean(loss(score_fn, sde, x0, seed).per_example)

    @tf.function(jit_compile=True, autograph=False)
    def estimates():
        return tf.map_fn(estimate, tf.range(draws), fn_output_signature=tf.float32)

    loss.check(sde)
    found = estimates().numpy().astype(float)
    assert found.mean() == pytest.approx(first.mean(), abs=4 * found.std() / draws**0.5)
    assert batch * found.var() == pytest.approx(exact, rel=0.13)


def test_importance_times_reduce_the_variance_of_the_likelihood_loss():
    """Song et al.'s reason for them: without, 1/t at small times dominates."""
    sde = lcss_tf.sdes.VPSDE()
    u, first, second = moments(sde, 1.0, "likelihood", 64)
    p = ImportanceTimes().density(sde, tf.constant(u, tf.float32)).numpy()
    uniform, importance = (np.mean(second / q) - np.mean(first) ** 2 for q in (1.0, p))
    assert importance < 0.003 * uniform


# What adapts ----------------------------------------------------------------------------------


def trained(times, sde, variance, weighting="noise_scale", steps=60, batch=4_096, dimension=2):
    """The state after so many batches of DSM at the exact score."""
    loss = DSMLoss(weighting, times)
    score_fn = exact_score(sde, variance)

    @tf.function(autograph=False)
    def learn(state, seed):
        x0 = variance**0.5 * random.normal(random.fold_in(seed, "data"), (batch, dimension))
        return times.update(state, loss(score_fn, sde, x0, seed, state=state).statistics)

    state = {name: tf.constant(value) for name, value in times.initial_state().items()}
    for k in range(steps):
        state = learn(state, random.seed_for(1, k))
    return state


@pytest.mark.parametrize("weighting", ["noise_scale", "likelihood"])
def test_adaptive_times_find_the_density_of_least_variance(weighting):
    """p ∝ √E[l²] in closed form, bin by bin; and the variance it brings."""
    sde, times = lcss_tf.sdes.VPSDE(), AdaptiveTimes(16, memory=1e6, floor=0.02)
    sde.t_min = 1e-2
    u, first, second = moments(sde, 1.0, weighting, 2)
    bins = np.minimum((u * 16).astype(int), 15)
    root = np.sqrt([second[bins == k].mean() for k in range(16)])
    expected = 0.98 * root / root.mean() + 0.02
    found = times.profile(trained(times, sde, 1.0, weighting)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0.15, atol=0.02)
    uniform, adaptive = (np.mean(second / p) - np.mean(first) ** 2 for p in (1.0, found[bins]))
    assert adaptive < {"noise_scale": 0.62, "likelihood": 0.36}[weighting] * uniform


def test_the_gradient_moment_is_the_root_of_the_noise_error():
    """r² = E[c l] = c² E‖e‖²/D: at the exact score c √(α² v/V) in closed form."""
    sde, times = lcss_tf.sdes.VPSDE(), AdaptiveTimes(16, memory=1e6, moment="gradient", floor=0.02)
    sde.t_min = 1e-2
    u, first, _ = moments(sde, 1.0, "noise_scale", 2)
    bins = np.minimum((u * 16).astype(int), 15)
    root = np.sqrt([first[bins == k].mean() for k in range(16)])
    found = times.profile(trained(times, sde, 1.0)).numpy()
    np.testing.assert_allclose(found, 0.98 * root / root.mean() + 0.02, rtol=0.1, atol=0.02)


def test_lcss_by_paths_adapts_as_denoising_score_matching_does():
    """Its own value lacks ½‖w‖², without which learnt times look large, and hard ones small."""
    sde, x0 = lcss_tf.sdes.VPSDE(), random.normal(1, (256, 3))
    score_fn = lambda x, t: -0.8 * x
    one, two = (
        make(times=AdaptiveTimes())(score_fn, sde, x0, 3).statistics for make in (DSMLoss, LCSSLoss)
    )
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4)


@pytest.mark.slow
def test_a_base_brings_what_bins_cannot():
    """Bins in the quantile of importance times: far finer where the noise is small."""
    sde = lcss_tf.sdes.VPSDE()
    u, first, second = moments(sde, 1.0, "likelihood", 2)
    variances = []
    for base in ("UniformTimes", "ImportanceTimes"):
        times = AdaptiveTimes(base=base)
        profile = times.profile(trained(times, sde, 1.0, "likelihood")).numpy()
        at = np.asarray(times.base.cdf(sde, tf.constant(u, tf.float32)))
        height = profile[np.minimum((at * times.num_bins).astype(int), times.num_bins - 1)]
        p = times.base.density(sde, tf.constant(u, tf.float32)).numpy() * height
        assert p.mean() == pytest.approx(1, rel=0.02)
        variances.append(np.mean(second / p) - np.mean(first) ** 2)
    assert variances[1] < 0.08 * variances[0]


def test_a_base_keeps_its_objective():
    """Over a log-normal that is a part of the objective, E[l] is the log-normal's."""
    sde, base = lcss_tf.sdes.VPSDE(), LogNormalTimes()
    times = AdaptiveTimes(num_bins=8, base=base)
    state = {"squares": tf.linspace(1.0, 90.0, 8), "counts": tf.fill([8], 1e3)}
    drawn = times.sample(sde, 0, 2**14, state=state)
    plain = base.sample(sde, 0, 2**14)
    value = np.mean(drawn.weight * value_at(drawn.t.numpy(), sde))
    assert value == pytest.approx(np.mean(value_at(plain.t.numpy(), sde)), rel=2e-3)
    assert np.max(np.abs(times.profile(state) - 1)) > 0.3
    assert "that of LogNormalTimes" in times.describe()


def test_memory_is_counted_in_examples():
    """After `memory` examples a batch counts 1/e; unseen bins go back to the overall moment."""
    times = AdaptiveTimes(num_bins=2, memory=100.0)
    state = {"squares": tf.constant([8.0, 2.0]), "counts": tf.constant([4.0, 4.0])}
    sums = {"squares": tf.constant([0.0, 50.0]), "counts": tf.constant([0.0, 100.0])}
    after = times.update(state, sums)
    np.testing.assert_allclose(after["squares"], [8 / math.e, 2 / math.e + 50], rtol=1e-6)
    np.testing.assert_allclose(after["counts"], [4 / math.e, 4 / math.e + 100], rtol=1e-6)
    even = times.profile(times.initial_state())
    np.testing.assert_array_equal(even, [1.0, 1.0])
    huge = times.profile({"squares": tf.constant([3e38, 1e30]), "counts": tf.constant([1e3, 1e3])})
    assert np.isfinite(huge).all()
    assert times.profile({k: 0 * v for k, v in state.items()}).numpy().tolist() == [1.0, 1.0]


# Users ----------------------------------------------------------------------------------------


def test_a_distribution_of_ones_own_is_a_cdf():
    """p = 2u: quantile √v, weight 1/(2u), mixed with a floor."""

    class Late(TimeDistribution):
        def component_cdf(self, sde, u):
            return u**2

    sde = lcss_tf.sdes.VPSDE()
    v = tf.linspace(0.0, 1.0, 11)
    np.testing.assert_allclose(Late(floor=0.0).quantile(sde, v), np.sqrt(v), atol=1e-6)
    u = tf.constant([0.1, 0.5, 1.0])
    np.testing.assert_allclose(Late(floor=0.2).weight(sde, u), 1 / (1.6 * u + 0.2), rtol=1e-5)
    loss = LCSSLoss(times=Late())
    assert np.mean(loss.times.sample(sde, 0, 4_096).t) == pytest.approx(
        0.9 * 2 / 3 + 0.05, rel=1e-3
    )


def test_names_classes_and_objects_are_taken():
    for times in ("logNormalTimes", LogNormalTimes, LogNormalTimes()):
        assert type(LCSSLoss(times=times).times) is LogNormalTimes
    assert type(LCSSLoss().times) is UniformTimes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LCSSLoss(times="nope"), "UniformTimes"),
        (lambda: LogNormalTimes(std=0.0), "std > 0"),
        (lambda: LogitNormalTimes(mean=math.nan), "finite mean"),
        (lambda: ImportanceTimes(floor=1.5), "from 0 to 1"),
        (lambda: AdaptiveTimes(floor=0.0), "floor > 0"),
        (lambda: AdaptiveTimes(num_bins=0), "num_bins >= 1"),
        (lambda: AdaptiveTimes(moment="third"), "'loss' or 'gradient'; got 'third'"),
        (lambda: AdaptiveTimes(base="AdaptiveTimes"), "must not be adaptive itself"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises((UsageError, KeyError), match=message):
        make()


def test_what_does_not_go_with_the_sde_is_refused_before_any_work():
    pearson, vp = lcss_tf.sdes.PearsonSDE(), lcss_tf.sdes.VPSDE()
    for loss in (
        LCSSLoss(times="LogNormalTimes"),
        LCSSLoss(times=AdaptiveTimes(base="LogNormalTimes")),
    ):
        with pytest.raises(UsageError, match="PearsonSDE has none: use times=UniformTimes"):
            loss.check(pearson)
        loss.check(vp)
    with pytest.raises(UsageError, match=r"almost no times on VPSDE, .* from -6.9. to 5.0"):
        DSMLoss(times=LogNormalTimes(mean=30.0)).check(vp)
    falling = lambda sde, t: 1.0 - 2.0 * t
    with pytest.raises(UsageError, match="finite and not negative"):
        LCSSLoss(times=ImportanceTimes(falling)).check(vp)
    with pytest.raises(UsageError, match="weighting is 0 at all times"):
        LCSSLoss(times=ImportanceTimes(lambda sde, t: 0 * t)).check(vp)
    with pytest.raises(UsageError, match="EDMWeighting needs the noise level"):
        LCSSLoss(times=ImportanceTimes("EDMWeighting")).check(pearson)


def test_the_documentations_code_runs():
    """docs/losses.md, Times and weights: what it passes to fit, what it registers, its gin keys."""
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()
    section = page.split("## Times and weights")[1].split("\n## ")[0]
    blocks = re.findall(r"```(\w*)\n(.*?)```", section, re.S)
    fitted = []
    model = SimpleNamespace(fit=lambda x, steps, loss: fitted.append(loss))
    try:
        for code in (code for language, code in blocks if language == "python"):
            exec(code, {"lcss": lcss_tf, "model": model, "x": None})
        fitted.append(LCSSLoss(weighting="SoftWeighting", times="LateTimes"))
    finally:
        for registry, name in (
            ("WEIGHTINGS", "SoftWeighting"),
            ("TIME_DISTRIBUTIONS", "LateTimes"),
        ):
            getattr(lcss_tf, registry)._parts.pop(name, None)
    (bindings,) = (code for language, code in blocks if not language)
    _gin.load(None, bindings.splitlines())
    fitted.append(gin.get_configurable("losses.LCSSLoss")())
    names = [(type(loss.weighting).__name__, type(loss.times).__name__) for loss in fitted]
    assert names == [
        ("function", "ImportanceTimes"),
        ("EDMWeighting", "LogNormalTimes"),
        ("SoftWeighting", "LateTimes"),
        ("MinSNRWeighting", "AdaptiveTimes"),
    ]
    assert fitted[-1].weighting.gamma == 5.0
    sde, x0 = lcss_tf.sdes.VPSDE(), random.normal(1, (8, 2))
    for loss in fitted:
        loss.check(sde)
        assert np.isfinite(loss(lambda x, t: -x, sde, x0, 0).per_example).all()
