"""Samples beside what they were drawn given: the right pairs, and intervals that hold the truth."""

import numpy as np
import pytest

from lcss_tf.data import DataInfo, Scaling
from lcss_tf.plots import by_kind, given
from lcss_tf.plots.given import Given


def info(shape, kind, columns=()):
    return DataInfo("x", shape, kind, Scaling.identity(), columns)


def test_samples_are_sorted_by_their_condition():
    rows = given.by_condition(np.arange(11)[:, None], 4)  # 8, 9, 10 are no full round
    np.testing.assert_array_equal(rows[..., 0], [[0, 4], [1, 5], [2, 6], [3, 7]])
    np.testing.assert_array_equal(
        given.by_condition(np.arange(3)[:, None], 4)[..., 0], [[0], [1], [2]]
    )


@pytest.mark.parametrize("n", [4, 8, 20])
def test_intervals_hold_the_truth_as_often_as_is_due(n):
    """Of a distribution that is not symmetric, and differs from row to row."""
    random = np.random.default_rng(n)
    scale = random.uniform(0.1, 10, (20_000, 1, 1))
    drawn, truth = (
        scale * random.exponential(size=(20_000, n, 2)),
        scale[:, 0] * random.exponential(size=(20_000, 2)),
    )
    *_, held = given.coverage(drawn, truth)
    assert held.due == {4: 3 / 5, 8: 7 / 9, 20: 17 / 21}[n]
    assert abs(held.found - held.due) < 4 * held.error
    assert held.error == pytest.approx(np.sqrt(held.due * (1 - held.due) / 40_000), rel=0.05)
    # Too narrow, they hold less; of another condition too.
    assert given.coverage(scale + 0.5 * (drawn - scale), truth)[2].found < held.due - 0.05
    assert given.coverage(drawn[::-1], truth)[2].found < held.due - 0.05


def test_the_picture_shows_whether_samples_follow_their_conditions():
    """Of right samples the bars cross the line of the truth; of shuffled ones fewer do."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(40, 2))
    right = np.tile(truth, (10, 1)) + 0.01 * random.normal(size=(400, 2))
    described = info((2,), "table", ("age", "$weight"))
    pictures = [
        by_kind.views(x, described, given=Given(np.zeros((40, 1)), truth))
        for x in (right, right[::-1].copy(), right[:40], right[:10])
    ]
    assert all(list(p) == ["given", "pairs"] for p in pictures)
    red = [_red(p["given"]) for p in pictures]
    assert red[1] > 1.5 * red[0]  # bars and medians all over the plot
    assert all(share > 0 for share in red)


def _red(picture):
    r, g, b = np.moveaxis(picture.astype(int), -1, 0)
    return ((r > g + 40) & (r > b + 40)).mean()


@pytest.mark.parametrize(("count", "conditions"), [(6, 6), (24, 6), (70, 70), (5, 9), (1, 1)])
def test_images_stand_beside_their_condition_and_the_truth(count, conditions):
    condition = np.zeros((conditions, 4, 4, 1), np.uint8) + 60
    truth = np.zeros((conditions, 4, 4, 1), np.uint8) + 120
    samples = np.zeros((count, 4, 4, 1), np.uint8)
    samples += (180 + np.arange(count) % conditions).astype(np.uint8)[:, None, None, None]
    described = info((4, 4, 1), "image")
    pictures = by_kind.views(samples, described, given=Given(condition, truth))
    assert list(pictures) == ["given", "grid"]
    picture = pictures["given"][18:]  # below the headings
    rows = min(count, conditions, 60)
    areas = {level: (picture == level).all(axis=-1).sum() / 64**2 for level in (60, 120, 180)}
    assert areas == {60: rows, 120: rows, 180: max(1, count // conditions)}
    assert list(by_kind.views(samples, described, given=Given(np.zeros((9, 3)))))[0] == "grid"
    without = by_kind.views(samples, described, given=Given(condition))["given"]
    assert not (without[18:] == 120).all(axis=-1).any()


def test_numbers_are_stretched_alike_for_truth_and_samples():
    truth = np.linspace(-3, 5, 32, dtype=np.float32).reshape(2, 4, 4, 1)
    rows = given.image_rows(truth.copy(), Given(np.repeat(truth, 3, axis=-1), truth))
    starts = [2, 2 + 66, 2 + 2 * 66 + 10 + 2]  # given, truth, samples
    told, true, drawn = (rows[20:84, start : start + 64].astype(int) for start in starts)
    np.testing.assert_array_equal(drawn, true)
    assert true.max() - true.min() > 100
    np.testing.assert_allclose(told, true, atol=1)  # by its own quantiles, of the same numbers


def test_what_has_no_picture_keeps_its_own():
    signals = np.random.default_rng(0).normal(size=(6, 16, 1))
    described = info((16, 1), "signal")
    pictures = by_kind.views(signals, described, given=Given(np.zeros((6, 2)), signals))
    assert list(pictures) == ["waveforms", "spectra"]
    vectors = np.random.default_rng(0).normal(size=(6, 7))
    assert list(by_kind.views(vectors, info((7,), "vector"), given=Given(vectors, vectors))) == [
        "given"
    ]
    assert by_kind.views(vectors, info((7,), "vector"), given=Given(vectors)) == {}


def test_an_axis_that_the_users_data_lack_may_lack_here_too():
    column, grey = np.random.default_rng(0).normal(size=6), np.zeros((6, 4, 4), np.uint8)
    for x, described in ((column, info((1,), "vector")), (grey, info((4, 4, 1), "image"))):
        assert next(iter(by_kind.views(x, described, given=Given(grey, x)))) == "given"
