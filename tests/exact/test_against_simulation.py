"""Simulation, weights, prior and reverse time against the exact p_t where there is no kernel."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import lcss_tf
from lcss_tf import random
from lcss_tf.exact import ExactMixture
from lcss_tf.samplers import EulerMaruyama, ProbabilityFlowODE
from tests.siblings import siblings

COUNT = 50_000
GRID = np.linspace(-14, 14, 8_001)
CASES = {
    "power 4": ("GeneralizedNormalSDE", {"power": 4}, "GaussianMixture"),
    "pearson": ("PearsonSDE", {}, "StudentMixture"),
}


@pytest.fixture(params=siblings(CASES), scope="module")
def case(request):
    """(sde, data) in one dimension: three clusters."""
    name, options, dataset = CASES[request.param]
    data = lcss_tf.DATASETS[dataset](num_components=3, component_std=0.15, dimension=1)
    return lcss_tf.SDES[name](**options), data


def distribution_function(exact, i):
    """The exact distribution function of 1-D data at times[i]."""
    density = np.exp(exact.log_prob(GRID[:, None], i))
    total = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return lambda x: np.interp(x, GRID, total / total[-1])


def test_simulated_x_t_has_the_exact_law(case):
    """Kolmogorov–Smirnov, at 1 % of what sampling alone gives, with room for the weak error."""
    sde, data = case
    times = [0.05, 0.2, 0.5, 1.0]
    exact = ExactMixture(data, sde, times)
    x0 = data.examples(np.arange(COUNT))
    draw = tf.function(sde.sample_xt, jit_compile=True)
    for i, t in enumerate(times):
        x = draw(x0, tf.fill([COUNT], t), random.seed_for(0, i)).numpy()[:, 0]
        distance = stats.kstest(x, distribution_function(exact, i)).statistic
        assert distance < 1.63 / np.sqrt(COUNT) + 0.003, t


def test_the_data_end_up_as_the_prior(case):
    sde, data = case
    exact = ExactMixture(data, sde, [sde.T])
    prior = np.exp(sde.prior_log_prob(tf.constant(GRID[:, None], tf.float32)).numpy())
    gap = np.abs(np.exp(exact.log_prob(GRID[:, None], 0)) - prior)
    assert gap.max() < 0.002 * prior.max()


def test_the_paths_weight_points_at_the_exact_score(case):
    """E[w | x_t] = −∇log p_t(x_t): E[(w + ∇log p_t) h(x_t)] = 0 for several functions h.

    That is the minimiser of path smoothing, at every radius of the last step too.
    """
    sde, data = case
    times = [0.1, 0.4]
    exact = ExactMixture(data, sde, times)
    x0 = data.examples(np.arange(COUNT))
    for i, time in enumerate(times):
        t = tf.fill([COUNT], time)
        z = random.normal(3, x0.shape)
        std = tf.minimum(0.9 * sde.noise_scale(t), 0.1**0.5 * sde.prior_std())
        for x, w in (sde.sample_with_weight(x0, t, 1), sde.last_step(x0, t, std, 2).at(z)):
            x, w = x.numpy().astype(np.float64), w.numpy()
            gap = w + exact.score(x, i)
            for h in (np.tanh(x), np.sin(3 * x), np.exp(-2 * (x - 0.7) ** 2)):
                product = gap * h
                error = 4.5 * product.std() / np.sqrt(COUNT)
                assert product.mean() == pytest.approx(0, abs=error + 0.01), time


@pytest.mark.parametrize("kind", [pytest.param("SDE", marks=pytest.mark.slow), "ODE"])
def test_reverse_time_with_the_exact_score_gives_the_data_back(case, kind):
    """The reverse drift, its divergence term included, by both kinds of sampler."""
    sde, data = case
    if kind == "SDE":
        sampler = EulerMaruyama(num_steps=250, t_end=0.002)
    else:
        sampler = ProbabilityFlowODE(num_steps=60, t_end=0.002)
    times = np.float32(sampler.times(sde))
    exact = ExactMixture(data, sde, times.astype(np.float64))

    def score_fn(x, t):
        i = int(np.argmin(np.abs(times - t.numpy()[0])))
        return tf.constant(exact.score(x.numpy(), i), tf.float32)

    x_T = sde.broadcast_prior_sample((4_000, 1), random.as_seed(5))
    samples = sampler.sample_from(score_fn, sde, x_T, random.as_seed(6)).x.numpy()[:, 0]
    assert np.isfinite(samples).all()
    start = ExactMixture(data, sde, [0.002])
    distance = stats.kstest(samples, distribution_function(start, 0)).statistic
    assert distance < 1.63 / np.sqrt(4_000) + 0.015


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GaussianMixture", "Checkerboard", "Spiral"])
def test_24_split_steps_are_worth_250_of_euler(name):
    """Weak errors of E|x|² and E log p_t on Mirafzali's SDE, on 200,000 paths.

    Both are held against 192 split steps; log p_t is the Fokker–Planck density's.
    """
    data, sde = lcss_tf.DATASETS[name](), lcss_tf.SDES["MirafzaliSDE"]()
    times, n = [0.1, 0.4, 1.0], 200_000
    exact = ExactMixture(data, sde, times, spacing=0.3, time_step=0.2)
    x0 = data.examples(np.arange(n), "test", 3)

    def split(x, t, steps):
        one = lcss_tf.SDES["MirafzaliSDE"](simulation_steps=steps)
        return tf.function(one.sample_xt, jit_compile=True)(x, tf.fill([n], t), random.as_seed(1))

    @tf.function(jit_compile=True)
    def euler(x, t, steps):
        h = t / tf.cast(steps, tf.float32)
        for k in tf.range(steps):
            s = tf.fill([n], h * tf.cast(k, tf.float32))
            noise = tf.sqrt(h) * random.normal(random.seed_for(1, "euler", k), x.shape)
            x += h * sde.drift(x, s) + sde.diffusion(x, s) * noise
        return x

    for i, t in enumerate(times):
        t = np.float32(t)
        draws = {
            "24 split": split(x0, t, 24),
            "250 Euler": euler(x0, t, tf.constant(250)),
            "192 split": split(x0, t, 192),
        }
        figures = {}
        for scheme, x in draws.items():
            log_p, square = exact.log_prob(x.numpy(), i), np.sum(x.numpy() ** 2, axis=1)
            figures[scheme] = [(v.mean(), v.std() / n**0.5) for v in (log_p, square)]
        print(name, t, {k: [f"{m:.4f} ± {e:.4f}" for m, e in v] for k, v in figures.items()})
        for k in range(2):
            (split_mean, e), (fine, _) = figures["24 split"][k], figures["192 split"][k]
            euler_mean = figures["250 Euler"][k][0]
            assert abs(split_mean - fine) < max(abs(euler_mean - fine), 6 * e), (t, k)
