import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from lcss_tf.data import GaussianMixture, StudentMixture
from lcss_tf.data.student_mixture import to_student
from lcss_tf.registry import DATASETS

STUDENTS = [StudentMixture(), StudentMixture(5, 1.5, 0.3, 4.0), StudentMixture(3, dimension=7)]


def examples(data, count, **kwargs):
    return data.examples(tf.range(count, dtype=tf.int64), **kwargs).numpy()


def test_it_is_registered():
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
    law = stats.t(data.degrees_of_freedom, scale=data.component_scale)
    for d in range(data.shape[0]):
        cdf = lambda x, d=d: law.cdf(x[:, None] - data.means[:, d]).mean(axis=1)
        assert stats.kstest(samples[:, d], cdf).pvalue > 1e-4


def test_the_density_is_the_textbook_s():
    data = STUDENTS[1]
    x = np.random.RandomState(0).normal(size=(50, 2)) * 2
    law = stats.t(4.0, scale=0.3 * math.sqrt(0.5))
    each = law.pdf(x[:, None] - data.means).prod(axis=2)
    assert np.allclose(data.log_density(x), np.log(each.mean(axis=1)))
    assert np.allclose(data.component_log_density(x), law.logpdf(x))
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


def test_an_example_is_a_function_of_its_index():
    data = StudentMixture()
    whole = examples(data, 50)
    scattered = data.examples(tf.constant([40, 3, 3, 0], tf.int64)).numpy()
    assert np.array_equal(scattered, whole[[40, 3, 3, 0]])
    assert not np.array_equal(whole, examples(data, 50, split="test"))


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="degrees_of_freedom > 2"):
        StudentMixture(degrees_of_freedom=2.0)
    with pytest.raises(ValueError, match="num_components"):
        StudentMixture(num_components=0)
    with pytest.raises(ValueError, match="radius"):
        StudentMixture(component_std=1.5)
