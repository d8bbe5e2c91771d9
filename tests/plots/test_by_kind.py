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
    half = (len(picture) - 12) // 2
    row = picture[half // 4]
    assert [value for value in row[:, 0] if value in (10, 60, 110, 160)] == sorted(
        value for value in row[:, 0] if value in (10, 60, 110, 160)
    )
    assert {10, 60, 110, 160} <= set(row[:, 0].tolist())
    assert {245, 195, 145, 95} <= set(picture[half + 12 :].ravel().tolist())


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
