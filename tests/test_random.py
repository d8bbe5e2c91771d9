"""Stateless draws: rows of a seed are rows of the global batch, in and outside XLA."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from lcss_tf import random
from lcss_tf.errors import UsageError

DRAWS = {"uniform": random.uniform, "normal": random.normal, "rademacher": random.rademacher,
         "sphere": random.sphere,
         "gamma": lambda seed, shape: random.gamma(seed, shape, 0.7)}  # fmt: skip


# XLA's programs take longest to make: one shape stands for all of them.
_CASES = [
    pytest.param(
        shape,
        jit,
        marks=pytest.mark.slow if shape in [(1,), (4, 4, 2)] or jit != (shape == (5, 3)) else (),
    )
    for shape in [(), (1,), (5, 3), (4, 4, 2)]
    for jit in (False, True)
]
# XLA takes long over gamma's loop; its rows are also tested below, without XLA.
_NAMES = [pytest.param(n, marks=pytest.mark.slow if n == "gamma" else ()) for n in sorted(DRAWS)]


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize(("shape", "jit"), _CASES)
def test_rows(name, shape, jit):
    draw = DRAWS[name]
    whole = tf.function(lambda s: draw(s, (12, *shape)), jit_compile=jit)
    part = tf.function(lambda s: draw(s, (5, *shape)), jit_compile=jit)
    seed = tf.constant([3, 4])
    rows = part(random.at_row(seed, tf.constant(7)))
    np.testing.assert_allclose(rows, whole(random.at_row(seed, 0))[7:], rtol=1e-6)
    np.testing.assert_allclose(whole(seed), whole(random.at_row(seed, 0)), rtol=1e-6)


def test_distributions():
    uniform = random.uniform(1, (4000, 5)).numpy().ravel()
    normal = random.normal(1, (4000, 5)).numpy().ravel()
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert set(np.unique(random.rademacher(1, (100, 3)))) == {-1.0, 1.0}
    radii = np.linalg.norm(random.sphere(1, (50, 7)), axis=1)
    np.testing.assert_allclose(radii, np.sqrt(7), rtol=1e-5)


def test_dimensions_and_seeds_are_uncorrelated():
    columns = random.normal(1, (20_000, 6)).numpy()
    assert np.abs(np.corrcoef(columns.T) - np.eye(6)).max() < 0.03
    streams = [random.normal(s, (20_000,)).numpy() for s in random.split(7, 4)]
    streams += [
        random.normal(random.seed_for(7, step, "noise"), (20_000,)).numpy() for step in (0, 1)
    ]
    assert np.abs(np.corrcoef(streams) - np.eye(6)).max() < 0.03


def test_fold_in_is_equal_in_and_outside_xla_and_keeps_the_row():
    seed = tf.constant([3, 4, 9])
    eager = random.seed_for(seed, 5, "noise")
    compiled = tf.function(lambda s: random.seed_for(s, 5, "noise"), jit_compile=True)(seed)
    np.testing.assert_array_equal(eager, compiled)
    assert int(eager[2]) == 9
    assert random.plain(eager).shape == (2,)
    assert not np.array_equal(random.plain(eager), random.plain(random.at_row(eager, 10)))


def test_seed_forms():
    np.testing.assert_array_equal(random.as_seed(5), [5, 0])
    with pytest.raises(ValueError, match="shape"):
        random.as_seed([1, 2, 3, 4])
    with pytest.raises(ValueError, match="batch axis"):
        random.normal(1, ())


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_its_authors_known_answers(key, counter, expected):
    word = lambda value: tf.constant(value, tf.uint32)
    result = random.threefry([word(k) for k in key], [word(c) for c in counter])
    assert tuple(int(x) for x in result) == expected


def test_tails_and_moments_of_normals():
    z = random.normal(3, (4_000, 1_000)).numpy().astype(np.float64)
    assert abs(z.mean()) < 3e-3
    assert z.var() == pytest.approx(1, abs=3e-3)
    assert (z**4).mean() == pytest.approx(3, abs=0.02)
    beyond = np.mean(np.abs(z) > 4.5)
    assert beyond == pytest.approx(2 * stats.norm.sf(4.5), rel=0.5)


@pytest.mark.parametrize("alpha", [0.25, 1 / 3, 1.0, 1.7, 8.0, 392.0])
def test_gamma_draws_are_of_their_distribution(alpha):
    draws = random.gamma(3, (200, 500), alpha).numpy().ravel()
    assert stats.kstest(draws, stats.gamma(alpha).cdf).pvalue > 1e-3
    assert draws.mean() == pytest.approx(alpha, rel=4 / np.sqrt(alpha * draws.size))
    assert (draws > 0).all()
    later = random.gamma(random.at_row([3, 0], 150), (50, 500), alpha).numpy()
    np.testing.assert_allclose(later.ravel(), draws[-later.size :], rtol=1e-5)
    with pytest.raises(UsageError, match="alpha > 0"):
        random.gamma(0, (2, 2), -alpha)
