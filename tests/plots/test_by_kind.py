"""Pictures of signals, volumes and tables show what they should."""

import warnings

import numpy as np
import pytest
from PIL import Image

from lcss_tf.data import DataInfo, Scaling
from lcss_tf.plots import by_kind, images
from lcss_tf.plots.by_kind import views


def info(shape, kind, columns=()):
    return DataInfo("x", shape, kind, Scaling.identity(), columns)


RANDOM = np.random.default_rng(0)
CASES = [
    (info((64, 2), "signal", ("left", "right")), ["waveforms", "spectra"]),
    (info((5, 6, 6, 1), "volume"), ["slices"]),
    (info((20, 8, 8, 2), "volume"), ["slices"]),
    (info((3,), "table", ("a", "b", "c")), ["pairs"]),
    (info((9,), "table"), ["pairs"]),
    (info((8, 8, 3), "image"), ["grid"]),
    (info((8, 8, 2), "image"), ["grid"]),
    (info((2,), "vector"), ["points"]),
    (info((7,), "vector"), []),
]


@pytest.mark.parametrize(("described", "names"), CASES, ids=lambda v: getattr(v, "kind", ""))
def test_every_kind_has_its_pictures(described, names):
    samples, data = RANDOM.normal(size=(2, 30, *described.shape))
    for beside in (None, data):
        pictures = views(samples, described, beside)
        assert list(pictures) == names
        for picture in pictures.values():
            assert picture.dtype == np.uint8
            assert picture.ndim == 3
            assert picture.std() > 5  # something is drawn


def test_the_spectrum_of_a_tone_and_of_noise():
    t = np.arange(128)
    tone = np.sin(2 * np.pi * 0.25 * t)[None, :, None]
    frequency, power = by_kind.mean_spectrum(tone)
    assert frequency[power[:, 0].argmax()] == 0.25
    _, power = by_kind.mean_spectrum(3.0 * RANDOM.normal(size=(4_000, 128, 1)))
    assert np.allclose(power[2:-2], 9.0, rtol=0.1)


def test_slices_run_from_left_to_right_and_data_lie_below():
    volumes = (
        np.zeros((2, 4, 8, 8, 1), np.uint8) + np.uint8([10, 60, 110, 160])[:, None, None, None]
    )
    picture = by_kind.slices(volumes, 255 - volumes)
    half = len(picture) // 2  # each under a heading of 18 pixels
    row = picture[18 + half // 4]
    assert [value for value in row[:, 0] if value in (10, 60, 110, 160)] == sorted(
        value for value in row[:, 0] if value in (10, 60, 110, 160)
    )
    assert {10, 60, 110, 160} <= set(row[:, 0].tolist())
    assert {245, 195, 145, 95} <= set(picture[half + 18 :].ravel().tolist())


HOSTILE = r"$\frac{a$"


@pytest.mark.parametrize(
    "described", [info((64, 1), "signal", (HOSTILE,)), info((2,), "table", (HOSTILE, "b"))]
)
def test_names_of_columns_are_literal_text(described):
    samples = RANDOM.normal(size=(30, *described.shape))
    for picture in views(samples, described, samples).values():
        assert picture.std() > 5


def test_samples_outside_the_datas_range_and_constant_columns_are_drawn():
    samples, data = RANDOM.normal(size=(30, 2)), np.zeros((30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert by_kind.pairs(samples + 100, data).std() > 5


@pytest.mark.parametrize(
    ("described", "frames"), [(info((4, 4, 1), "image"), 5), (info((2,), "vector"), 5)]
)
def test_a_trajectory_is_written(tmp_path, described, frames):
    by_kind.check_trajectory(described)
    trajectory = RANDOM.normal(size=(frames, 6, *described.shape)).astype(np.float32)
    gif, png = by_kind.write_trajectory(tmp_path / "out", trajectory, described)
    assert (gif.name, png.name) == ("out_trajectory.gif", "out_trajectory.png")
    with Image.open(gif) as opened:
        assert opened.n_frames == frames
    assert images.read_png(png).shape[2] == 3


def test_a_trajectory_of_other_data_is_refused():
    with pytest.raises(ValueError, match=r"x has the shape \(7,\)"):
        by_kind.check_trajectory(info((7,), "vector"))


def test_what_the_pictures_want():
    """As many images, more points; real examples beside all that is no image and no vector."""
    kinds = {described.kind: described for described, _ in CASES}
    wanted = {kind: by_kind.num_samples(described, 10) for kind, described in kinds.items()}
    assert wanted == {"signal": 10, "volume": 10, "image": 10, "table": 320, "vector": 320}
    beside = {kind for kind, described in kinds.items() if by_kind.shows_data(described)}
    assert beside == {"signal", "volume", "table"}


def test_the_main_view_is_the_first():
    for described, names in (CASES[0], CASES[5], CASES[8]):
        samples = RANDOM.normal(size=(9, *described.shape))
        picture = by_kind.main_view(samples, described)
        if names:
            np.testing.assert_array_equal(picture, views(samples, described)[names[0]])
        else:
            assert picture is None


def test_vectors_lie_over_their_density():
    plane, samples = info((2,), "vector"), RANDOM.normal(size=(9, 2))
    over = views(samples, plane, log_density=lambda x: -np.sum(x**2, axis=1))["points"]
    assert over.mean() < views(samples, plane)["points"].mean()
