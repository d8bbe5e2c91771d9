"""Gradient variance and bias by time: against what the mathematics says of each loss."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.losses import DSMLoss, FDSSMLoss, ISMLoss, LCSSLoss, SSMLoss
from lcss_tf.training.diagnostics import GradientDiagnostics, _Running
from tests.training.helpers import data, make_state


@pytest.fixture(scope="module")
def state():
    return make_state()[0]


def measure(state, loss, num_draws=64, num_buckets=3):
    diagnostics = GradientDiagnostics(state.score, loss, num_draws, 32, num_buckets)
    return diagnostics.measure(state.network, tf.constant(data(32)), 0)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(DSMLoss(), marks=pytest.mark.slow),
        pytest.param(LCSSLoss("path"), marks=pytest.mark.slow),
        pytest.param(LCSSLoss("transition"), marks=pytest.mark.slow),
        pytest.param(LCSSLoss("gaussian", "control_variate", radius=0.02), marks=pytest.mark.slow),
        pytest.param(SSMLoss(), marks=pytest.mark.slow),
        pytest.param(FDSSMLoss(radius=0.02), marks=pytest.mark.slow),
    ],
    ids=["dsm", "path", "transition", "gaussian", "ssm", "fdssm"],
)
def test_unbiased_losses_show_no_bias(state, loss):
    measured = measure(state, loss)
    assert (measured.bias < 3 * measured.bias_error + 0.01 * measured.exact_norm).all(), measured


@pytest.mark.slow
def test_a_large_gaussian_radius_shows_its_bias(state):
    """The minimiser is ∇p_σ/p: at radius 1 far from the score."""
    small = measure(state, LCSSLoss("gaussian", "control_variate", radius=0.05))
    large = measure(state, LCSSLoss("gaussian", "control_variate", radius=2.0))
    assert (small.bias < small.bias_error).all()
    assert (large.bias > 1.5 * large.bias_error).any()


@pytest.mark.slow
def test_variances_are_ordered(state):
    """Exact trace < control variate < plain; the path's is DSM's."""
    exact = measure(state, ISMLoss()).variance
    reduced = measure(state, LCSSLoss("gaussian", "control_variate", radius=0.1)).variance
    plain = measure(state, LCSSLoss("gaussian", "plain", radius=0.1)).variance
    assert (exact <= 1.1 * reduced).all()
    assert (reduced < 0.2 * plain).all()
    dsm, path = (measure(state, loss).variance for loss in (DSMLoss(), LCSSLoss("path")))
    np.testing.assert_allclose(path, dsm, rtol=0.5)


def test_running_variance_is_numpys():
    vectors = np.random.default_rng(0).normal(size=(20, 7))
    running = _Running()
    for vector in vectors:
        running.add(vector)
    assert running.variance() == pytest.approx(vectors.var(axis=0, ddof=1).sum())
    np.testing.assert_allclose(running.mean, vectors.mean(axis=0))


def test_the_error_of_a_variance_is_its_standard_deviation():
    """Over many sets of draws; of Gaussian vectors with unequal variances, whose sum is 5.5."""
    scales = np.sqrt([1.0, 4.0, 0.25, 0.25])
    found = []
    for vectors in np.random.default_rng(1).normal(size=(2_000, 16, 4)) * scales:
        running = _Running()
        for vector in vectors:
            running.add(vector)
        found.append((running.variance(), running.variance_error()))
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(scales @ scales, abs=0.15)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(values.std(), rel=0.06)
    few = _Running()
    few.add(np.ones(3)), few.add(np.zeros(3))
    assert np.isnan(few.variance_error())


def test_large_data_have_no_bias_figure_and_tags_name_the_bucket(state):
    diagnostics = GradientDiagnostics(
        state.score, LCSSLoss("path"), num_draws=2, batch_size=8, num_buckets=2, exact_up_to=1
    )
    scalars = diagnostics.scalars(state.network, tf.constant(data(8)), 0)
    assert sorted(scalars) == [
        "gradient_variance_by_t/0.0-0.5",
        "gradient_variance_by_t/0.5-1.0",
    ]
    figures = diagnostics.measure(state.network, tf.constant(data(8)), 0).figures()
    assert set(figures) == {"variance", "variance_error"}
    with pytest.raises(ValueError, match="num_draws >= 2"):
        GradientDiagnostics(state.score, lcss_tf.LOSSES["DSMLoss"](), num_draws=1)
