"""`PlaneMixture` against a closed form and against reference solutions."""

import json

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import expm

import lcss_tf
from lcss_tf.exact import ExactMixture, PlaneMixture, exact_mixture
from lcss_tf.exact.mixtures import coupled_coordinate
from tests.conftest import FIXTURES
from tests.exact.sdes import Power
from tests.sdes.test_path import Turning

A = np.array([[1.0, -2.0], [2.0, 1.0]])


class Spiral:
    """dx = −A x dt + √2 dw: a rotation, with a closed form."""

    def drift(self, x, t):
        return -tf.linalg.matvec(tf.constant(A, x.dtype), x)

    def diffusion(self, x, t):
        return tf.sqrt(2.0 * tf.ones_like(x))


def relative_square(a, b):
    return np.sum((a - b) ** 2) / np.sum(b**2)


def test_the_closed_form_of_a_turning_gaussian():
    """N(e^{−At} μ, v I) with v = 1 − (1 − s²) e^{−2t}, at times in any order."""
    data = lcss_tf.DATASETS["GaussianMixture"](means=((0.9, -0.4),), component_std=0.3)
    times = [0.5, 0.1]
    exact = PlaneMixture(data, Spiral(), times, extent=5.0)
    for i, t in enumerate(times):
        mean, variance = expm(-A * t) @ [0.9, -0.4], 1 - (1 - 0.3**2) * np.exp(-2 * t)
        x = mean + variance**0.5 * np.random.RandomState(i).normal(size=(500, 2))
        assert relative_square(exact.score(x, i), (mean - x) / variance) < 1e-5
        log_p = -((x - mean) ** 2).sum(1) / (2 * variance) - np.log(2 * np.pi * variance)
        np.testing.assert_allclose(exact.log_prob(x, i), log_p, atol=0.02)
    assert (exact.error < 0.2).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coupled_rotating", "coupled_swirl_moons"])
def test_reference_solutions(name):
    archive = np.load(FIXTURES / f"{name}.npz")
    meta = json.loads(bytes(archive["meta.json"]))
    data = lcss_tf.DATASETS["GaussianMixture"](
        means=meta["means"], component_std=meta["component_std"]
    )
    exact = exact_mixture(data, Turning(meta["omega"], swirl=meta["q"] == 0), archive["t"])
    for i in range(len(archive["t"])):
        found = exact.score(archive[f"t{i}.x"], i)
        assert relative_square(found, archive[f"t{i}.score"]) < 5e-4


def test_the_right_one_is_chosen_and_what_neither_takes_is_refused():
    data = lcss_tf.DATASETS["GaussianMixture"](num_components=2)
    assert type(exact_mixture(data, lcss_tf.SDES["VPSDE"](), [0.5])) is ExactMixture
    assert type(exact_mixture(data, Power(2), [0.5])) is ExactMixture
    with pytest.raises(ValueError, match="diffusion is a matrix"):
        exact_mixture(data, lcss_tf.SDES["MatrixOUSDE"](), [0.5])
    with pytest.raises(ValueError, match=r"times \[T\] > 0; got \[0.0\]"):
        PlaneMixture(data, Spiral(), [0.0])
    with pytest.raises(ValueError, match="has reached the ends of the grid"):
        PlaneMixture(data, Spiral(), [0.5], spacing=2.0, extent=1.0)
    with pytest.raises(ValueError, match="`means` .*Digits"):
        PlaneMixture(lcss_tf.DATASETS["Digits"](), Spiral(), [0.5])


def test_a_coupled_sde_is_asked_in_the_shape_of_the_data_alone():
    """Its drift may take x apart, which it cannot with one column."""
    for swirl in (False, True):
        assert coupled_coordinate(Turning(1.5, swirl), 2, 1.0) == 0
    assert coupled_coordinate(Power(2), 2, 1.0) is None
