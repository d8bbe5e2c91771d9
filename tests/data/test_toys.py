"""Simulated data: exact densities and scores, and the examples that follow them."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from lcss_tf.data import (
    Checkerboard,
    GaussianMixture,
    Mixture,
    Spiral,
    StudentMixture,
    Toy,
    TwoMoons,
    Vibrations,
)
from lcss_tf.data.toys import to_student
from lcss_tf.registry import DATASETS

TOYS = [Checkerboard(), Checkerboard(cells=2), GaussianMixture(), TwoMoons(), Spiral()]
MIXTURES = [GaussianMixture(), TwoMoons(), Spiral(), GaussianMixture(5, dimension=64)]
EXTENT = 3.2


def ids(toys):
    return [f"{toy.name}-{toy.shape[0]}-{i}" for i, toy in enumerate(toys)]


def examples(toy, count, start=0, **kwargs):
    return toy.examples(tf.range(start, start + count, dtype=tf.int64), **kwargs).numpy()


def cell_probabilities(toy, cells, fine=12):
    """The probability of each cell of a board on [−EXTENT, EXTENT]², by the midpoint rule."""
    count = cells * fine
    ticks = (np.arange(count) + 0.5) / count * 2 * EXTENT - EXTENT
    points = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(toy.log_density(points.astype(np.float32)).numpy().astype(np.float64))
    density = density.reshape(cells, fine, cells, fine) * (2 * EXTENT / count) ** 2
    return density.sum(axis=(1, 3))


def test_every_toy_is_registered():
    registered = {part for part in DATASETS.values() if isinstance(part, type)}
    assert {type(toy) for toy in TOYS} <= {part for part in registered if issubclass(part, Toy)}


@pytest.mark.parametrize("toy", TOYS, ids=ids(TOYS))
def test_the_density_is_normalised_and_the_examples_follow_it(toy):
    cells, count = 16, 20_000
    probability = cell_probabilities(toy, cells)
    assert probability.sum() == pytest.approx(1.0, abs=0.01)
    samples = examples(toy, count)
    frame = [[-EXTENT, EXTENT]] * 2
    observed = np.histogram2d(*samples.T, bins=cells, range=frame)[0]
    expected = count * probability / probability.sum()
    # Cells that expect little are counted as one.
    common = expected >= 20
    observed = np.append(observed[common], count - observed[common].sum())
    expected = np.append(expected[common], max(count - expected[common].sum(), 1.0))
    chi2, freedom = np.sum((observed - expected) ** 2 / expected), len(expected) - 1
    # Five standard deviations; the board's edges do not fall on cells' edges, which costs a few
    # thousandths of a probability in the midpoint rule.
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom)


def test_the_checkerboard_is_exact():
    toy = Checkerboard()
    points = np.float32([[-1.7, -1.7], [-0.5, -1.7], [0.1, 0.1], [0.1, -0.1], [1.8, 0.1], [9, 9]])
    dark = [True, False, True, False, False, False]
    assert np.array_equal(toy.log_density(points).numpy() > -np.inf, dark)
    assert np.allclose(toy.log_density(points).numpy()[dark], -np.log(6.0))
    assert np.all(toy.log_density(examples(toy, 50_000) * 0.999999).numpy() > -np.inf)


@pytest.mark.parametrize("toy", TOYS + MIXTURES[-1:], ids=ids(TOYS + MIXTURES[-1:]))
def test_the_variance_is_about_one(toy):
    samples = examples(toy, 20_000)
    assert samples.shape == (20_000, *toy.shape)
    assert samples.dtype == np.float32
    assert abs(samples.mean()) < 0.15
    assert samples.var() == pytest.approx(1.0, abs=0.06)
    assert np.all(samples.var(axis=0) > 0.05)


@pytest.mark.parametrize("toy", TOYS, ids=ids(TOYS))
def test_an_example_is_a_function_of_its_index(toy):
    whole = examples(toy, 50)
    scattered = toy.examples(tf.constant([40, 3, 3, 0], tf.int64)).numpy()
    assert np.array_equal(scattered, whole[[40, 3, 3, 0]])
    assert np.array_equal(whole, examples(toy, 50))


def test_splits_and_seeds_are_disjoint_streams():
    toy = TwoMoons()
    streams = [examples(toy, 500, split=s, seed=k) for s in ("train", "test") for k in (0, 1)]
    points = {tuple(point) for stream in streams for point in stream}
    assert len(points) == 4 * 500
    with pytest.raises(ValueError, match="'valid'"):
        toy.require("valid")


@pytest.mark.parametrize("toy", MIXTURES, ids=ids(MIXTURES))
@pytest.mark.parametrize(("alpha_t", "sigma_t"), [(1.0, 0.0), (0.6, 0.8)])
def test_the_score_is_the_gradient_of_the_log_density(toy, alpha_t, sigma_t):
    x = tf.constant(examples(toy, 40), tf.float64) + 0.1
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_density = toy.log_density(x, alpha_t, sigma_t)
    gradient = tape.gradient(log_density, x).numpy()
    score = toy.score(x, alpha_t, sigma_t).numpy()
    assert np.allclose(score, gradient, rtol=1e-8, atol=1e-8)
    single = toy.score(tf.cast(x, tf.float32), alpha_t, sigma_t).numpy()
    assert single.dtype == np.float32
    assert np.allclose(single, gradient, rtol=1e-3, atol=1e-3)


def test_noise_levels_may_differ_within_a_batch():
    toy = GaussianMixture()
    x = np.float32([[0.3, 0.2], [1.0, -1.0]])
    together = toy.score(x, tf.constant([1.0, 0.5]), tf.constant([0.1, 2.0])).numpy()
    apart = [toy.score(x[:1], 1.0, 0.1)[0], toy.score(x[1:], 0.5, 2.0)[0]]
    assert np.allclose(together, apart, rtol=1e-6)


def test_a_single_gaussian_has_the_textbook_density_and_score():
    toy = GaussianMixture(num_components=1, radius=2.0, component_std=0.5, dimension=3)
    x = np.array([[2.0, 0.5, 0.0]])
    log_density = -0.5 * 0.25 / 0.25 - 1.5 * np.log(2 * np.pi * 0.25)
    assert toy.log_density(x).numpy() == pytest.approx([log_density])
    assert np.allclose(toy.score(x), [[0.0, -2.0, 0.0]])


def test_the_curves_have_no_ripples():
    """Along the arm the density is as smooth as the continuous curve's."""
    toy = Mixture("line", np.stack([np.arange(200) * 0.0525, np.zeros(200)], axis=1), 0.07)
    x = np.stack([np.linspace(3.0, 3.2, 50), np.zeros(50)], axis=1)
    log_density = toy.log_density(x).numpy()
    assert np.ptp(log_density) < 1e-6
    for toy in (TwoMoons(), Spiral()):
        gaps = np.linalg.norm(np.diff(toy.means, axis=0), axis=1)
        assert np.median(gaps) < 0.8 * toy.component_std
    fine = Spiral(noise=0.01, turns=4.0)
    gaps = np.linalg.norm(np.diff(fine.means, axis=0), axis=1)
    assert np.median(gaps) < 0.8 * fine.component_std


def test_the_means_of_a_mixture_are_the_same_in_every_process():
    toy = GaussianMixture(num_components=3, radius=1.0, dimension=64)
    assert np.allclose(np.linalg.norm(toy.means, axis=1), 1.0)
    first = np.array([1.76405235, 0.40015721, 0.97873798])  # RandomState(0)'s, as NumPy promises
    assert np.allclose(toy.means[0, :3] / toy.means[0, 0], first / first[0], atol=1e-8)


def test_wrong_toys_are_refused():
    with pytest.raises(ValueError, match="even"):
        Checkerboard(cells=3)
    with pytest.raises(ValueError, match="radius"):
        GaussianMixture(component_std=1.5)
    with pytest.raises(ValueError, match="num_components"):
        GaussianMixture(num_components=0)
    with pytest.raises(ValueError, match="between 0 and 1; got 0.0"):
        TwoMoons(noise=0.0)
    with pytest.raises(ValueError, match="positive"):
        GaussianMixture(radius=1.0, component_std=0.0)


STUDENTS = [StudentMixture(), StudentMixture(5, 1.5, 0.3, 4.0), StudentMixture(3, dimension=7)]


def test_student_mixture_is_registered():
    assert DATASETS["StudentMixture"] is StudentMixture


@pytest.mark.parametrize("nu", [1.0, 2.5, 6.0, 60.0])
def test_bailey_s_numbers_are_student_s(nu):
    uniforms = tf.random.stateless_uniform([100_000, 2], [1, 2])
    t = to_student(uniforms, nu).numpy()[:, 0]
    assert stats.kstest(t, stats.t(nu).cdf).pvalue > 1e-3
    assert np.mean(np.abs(t) > stats.t(nu).isf(5e-4)) == pytest.approx(1e-3, rel=0.3)


def test_bailey_s_numbers_are_finite_at_the_edge_of_uniforms():
    edge = tf.constant([[0.0, 0.0], [1 - 2.0**-24, 0.0]])
    largest = math.sqrt(6 * (2 ** (48 / 6) - 1))
    assert np.allclose(to_student(edge, 6.0)[:, 0], [0.0, largest])


@pytest.mark.parametrize("data", STUDENTS)
def test_the_examples_are_those_of_the_density(data):
    samples = examples(data, 50_000)
    assert samples.dtype == np.float32
    nearest = np.argmin(((samples[:, None] - data.means) ** 2).sum(axis=2), axis=1)
    assert np.bincount(nearest).min() > 0.8 * len(samples) / len(data.means)
    # Coordinate by coordinate, the distribution function of the mixture.
    exact = stats.t(data.degrees_of_freedom, scale=data.component_scale)
    for d in range(data.shape[0]):
        cdf = lambda x, d=d: exact.cdf(x[:, None] - data.means[:, d]).mean(axis=1)
        assert stats.kstest(samples[:, d], cdf).pvalue > 1e-4


def test_the_density_is_the_textbook_s():
    data = STUDENTS[1]
    x = np.random.RandomState(0).normal(size=(50, 2)) * 2
    exact = stats.t(4.0, scale=0.3 * math.sqrt(0.5))
    each = exact.pdf(x[:, None] - data.means).prod(axis=2)
    assert np.allclose(data.log_density(x), np.log(each.mean(axis=1)))
    assert np.allclose(data.component_log_density(x), exact.logpdf(x))
    assert data.log_density(np.float32(x)).dtype == tf.float32


def test_the_gaussian_component_too_is_the_textbook_s():
    u = np.linspace(-1, 1, 11)
    assert np.allclose(GaussianMixture().component_log_density(u), stats.norm(0, 0.15).logpdf(u))


def test_the_variance_is_about_one_and_the_tails_are_heavy():
    samples = examples(StudentMixture(component_std=0.5), 50_000)
    assert samples.var() == pytest.approx(1.0, abs=0.03)
    radius = np.linalg.norm(samples, axis=1)
    gaussian = np.linalg.norm(examples(GaussianMixture(component_std=0.5), 50_000), axis=1)
    assert radius.max() > 1.5 * gaussian.max()


def test_a_student_example_is_a_function_of_its_index():
    data = StudentMixture()
    whole = examples(data, 50)
    scattered = data.examples(tf.constant([40, 3, 3, 0], tf.int64)).numpy()
    assert np.array_equal(scattered, whole[[40, 3, 3, 0]])
    assert not np.array_equal(whole, examples(data, 50, split="test"))


def test_wrong_student_mixtures_are_refused():
    with pytest.raises(ValueError, match="degrees_of_freedom > 2"):
        StudentMixture(degrees_of_freedom=2.0)
    with pytest.raises(ValueError, match="num_components"):
        StudentMixture(num_components=0)
    with pytest.raises(ValueError, match="radius"):
        StudentMixture(component_std=1.5)


def test_vibrations_have_two_bands_on_a_floor_and_unit_variance():
    x = examples(Vibrations(128), 4_000)[..., 0]
    assert x.mean() == pytest.approx(0.0, abs=0.01)
    assert x.var() == pytest.approx(1.0, rel=0.03)
    power = np.mean(np.abs(np.fft.rfft(x * np.hanning(128))) ** 2, axis=0)
    f = np.fft.rfftfreq(128)
    floor = np.median(power[f > 0.3])
    for low, high in ((0.05, 0.07), (0.17, 0.20)):
        assert power[(f >= low) & (f <= high)].min() > 20 * floor
    assert f[power.argmax()] < 0.08
