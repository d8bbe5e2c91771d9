"""An author's mistakes in the four methods are named before any long work."""

import math

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.errors import UsageError
from lcss_tf.sdes.author import check_methods
from lcss_tf.training.prior_check import density_doubt
from tests.siblings import siblings


class Ours(lcss.SDE):
    """dx = −x dt + √2 dw, as its author meant it."""

    def drift(self, x, t):
        return -x

    def diffusion(self, x, t):
        return tf.fill([x.shape[0], *[1] * (len(x.shape) - 1)], math.sqrt(2.0))

    def prior_sample(self, shape, seed):
        return tf.random.stateless_normal(shape, seed)

    def prior_log_prob(self, x):
        log_p = -0.5 * (x**2 + math.log(2 * math.pi))
        return tf.reduce_sum(log_p, axis=list(range(1, len(x.shape))))


def other(**methods):
    return type("Theirs", (Ours,), methods)()


@pytest.mark.parametrize("name", siblings(lcss.SDES))
@pytest.mark.parametrize("shape", [(2,), (4, 4, 1)])
def test_every_sde_passes(name, shape):
    sde = lcss.SDES[name]()
    if name in ("MatrixOUSDE", "RotatingSDE") and len(shape) > 1:
        pytest.skip("for vectors")
    shape = sde.state_shape(shape)
    sde.expect(shape)
    check_methods(sde, shape)
    assert density_doubt(sde, shape, 0) is None


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"drift": lambda self, x, t: tf.reduce_sum(x, axis=1)}, r"drift returned the shape \[3\]"),
        ({"diffusion": lambda self, x, t: t}, r"diffusion returned the shape \[3\] for x of shape"),
        ({"diffusion": lambda self, x, t: tf.eye(4)}, r"\[3, 1\], \[3, 2\] or \[3, 2, 2\]"),
        ({"prior_sample": lambda self, shape, seed: tf.zeros(shape[1:])}, r"expected \[3, 2\]"),
        ({"prior_log_prob": lambda self, x: -0.5 * x**2}, r"_prob returned .*expected \[B\]"),
    ],
)  # fmt: skip
def test_a_wrong_method_is_named(methods, said):
    network = lcss.networks.MLP(width=8, depth=1)
    with pytest.raises(UsageError, match=said):
        lcss.ScoreModel(network, other(**methods)).fit(np.eye(8, 2), steps=1)


@pytest.mark.parametrize(
    ("methods", "kind"),
    [
        ({"drift": lambda self, x, t: t * x}, ValueError),
        ({"drift": lambda self, x, t: tf.constant(np.sinh(x), tf.float32)}, NotImplementedError),
        ({"prior_log_prob": lambda self, x: x.mean()}, AttributeError),
    ],
)
def test_an_error_inside_a_method_keeps_its_kind_and_says_where(methods, kind):
    with pytest.raises(kind) as caught:
        check_methods(other(**methods), (2,))
    (note,) = caught.value.__notes__
    assert f"in Theirs.{next(iter(methods))} for x of shape [3, 2]" in note
    assert "TensorFlow's functions, not NumPy's" in note


def test_a_method_that_is_missing_is_named():
    class Half(lcss.SDE):
        def drift(self, x, t):
            return -x

    with pytest.raises(UsageError, match=r"Half must define diffusion\(x, t\)"):
        check_methods(Half(), (2,))


@pytest.mark.parametrize("shape", [(1,), (2,), (8, 8, 1)])
def test_a_density_of_another_distribution_is_noticed(shape):
    """One that is too wide by a tenth, too narrow, or that of heavier tails."""
    assert density_doubt(Ours(), shape, 0) is None
    for log_p in (
        lambda x: -0.5 * (x / 1.1) ** 2,
        lambda x: -0.5 * (x / 0.8) ** 2,
        lambda x: -1.5 * tf.math.log(1 + x**2),
    ):
        wrong = other(
            prior_log_prob=lambda self, x, log_p=log_p: tf.reduce_sum(
                log_p(x), axis=list(range(1, len(x.shape)))
            )
        )
        assert "does not look like the density of Theirs.prior_sample" in density_doubt(
            wrong, shape, 0
        )


def test_flat_densities_raise_no_doubt():
    flat = other(
        prior_sample=lambda self, shape, seed: tf.random.stateless_uniform(shape, seed),
        prior_log_prob=lambda self, x: tf.reduce_sum(0 * x, axis=1),
    )
    assert density_doubt(flat, (2,), 0) is None
