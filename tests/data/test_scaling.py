"""Scaling and its inverse."""

import numpy as np
import pytest

from lcss_tf.data import DataInfo, Scaling
from lcss_tf.registry import DATASETS

VALUES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize(("centered", "low"), [(True, -1.0), (False, 0.0)])
def test_every_grey_level_survives_scaling(centered, low):
    scaling = Scaling.for_images(centered)
    scaled = scaling.scale(VALUES).numpy()
    assert scaled.dtype == np.float32
    assert scaled[0] == low
    assert scaled[-1] == pytest.approx(1.0, abs=1e-6)
    back = scaling.unscale(scaled)
    assert back.dtype == np.uint8
    assert np.array_equal(back, VALUES)
    step = np.diff(scaled)
    assert np.allclose(step, scaling.slope, atol=1e-6)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("on_centres", [False, True])
def test_bytes_are_scaled_as_floats_are(centered, on_centres):
    """Bytes have a way of their own, one pass over memory: its values are those of the formula."""
    scaling = Scaling.for_images(centered)
    scaling = scaling.on_centres() if on_centres else scaling
    values = np.arange(256, dtype=np.uint8).reshape(4, 64)
    got, expected = scaling.scale(values).numpy(), scaling.scale(np.float32(values)).numpy()
    assert (got.dtype, got.shape) == (np.float32, values.shape)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-7 if on_centres else 0)


def test_unscaling_clips_and_rounds():
    unscale = Scaling.for_images(centered=False).unscale
    got = unscale(np.array([-0.5, 1.7, 100.4 / 255, 100.6 / 255, np.nan, np.inf, -np.inf]))
    assert got.tolist() == [0, 255, 100, 101, 0, 255, 0]


def test_the_identity_changes_nothing():
    x = np.array([[-3.5, 0.0, 1e6]], np.float32)
    scaling = Scaling.identity()
    assert np.array_equal(scaling.scale(x), x)
    assert np.array_equal(scaling.unscale(x), x)
    assert scaling.unscale(x).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_a_large_mean_costs_no_digits(dtype):
    x = np.array([[1.7e9], [1.7e9 + 256], [1.7e9 + 1024]]).astype(dtype)
    standardising = Scaling.standardising([1.7e9 + 512.0], [400.0], "float64")
    ranged = Scaling(-1.0, 1.0, 1.7e9, 1.7e9 + 1024, "float64")
    exact = {standardising: (np.float64(x) - 1.7e9 - 512) / 400}
    if dtype != np.float32:  # of a narrow dtype only the mean is taken off in float64
        exact[ranged] = (np.float64(x) - 1.7e9) / 512 - 1
    for scaling, expected in exact.items():
        scaled = scaling.scale(x)
        np.testing.assert_allclose(scaled, expected, atol=1e-6)
        assert scaling.unscale(scaled).dtype == np.float64
        np.testing.assert_allclose(scaling.unscale(scaled), x, rtol=0, atol=1e-4)


def test_impossible_scalings_are_refused():
    with pytest.raises(ValueError, match="low < high"):
        Scaling(1.0, 1.0, 0.0, 255.0, "uint8")
    with pytest.raises(ValueError, match="int8"):
        Scaling(0.0, 1.0, 0.0, 255.0, "int8")


@pytest.mark.parametrize(
    ("centered", "levels", "offset"), [(True, 256, 7.0), (False, 256, 8.0), (True, 17, 3.0875)]
)
def test_dequantised_levels_fill_the_range(centered, levels, offset):
    """u + level, scaled: as (u + 255 x)/256 for images; never two levels at one place."""
    scaling = Scaling.for_images(centered, levels)
    assert scaling.bits_offset == pytest.approx(offset, abs=1e-4)
    stored = np.rint(np.linspace(0, 255, levels)).astype(np.uint8)
    scaled = scaling.scale(stored)
    low, high = (np.asarray(scaling.dequantise(scaled, np.float32(u))) for u in (0.0, 1.0))
    np.testing.assert_allclose(low[1:], high[:-1], atol=1e-6)
    np.testing.assert_allclose([low[0], high[-1]], [scaling.low, scaling.high], atol=1e-6)
    np.testing.assert_allclose(np.diff(low), scaling.level_width, atol=1e-6)
    if levels == 256:
        unit = (0.25 + np.float64(stored)) / 256
        expected = 2 * unit - 1 if centered else unit
        np.testing.assert_allclose(scaling.dequantise(scaled, 0.25), expected, atol=1e-6)


def test_levels_are_told_and_checked():
    assert DATASETS["Digits"]().scaling.levels == 17
    assert DATASETS["NoiseImages"]().scaling.levels == 256
    with pytest.raises(ValueError, match="at least 2 levels"):
        Scaling.for_images(levels=1)
    with pytest.raises(ValueError, match="levels = None"):
        Scaling.identity().dequantise(np.zeros(2), 0.5)
    # A description written before there were levels.
    text = DataInfo("x", (8, 8, 1), "image", Scaling.for_images()).to_json()
    old = text.replace(',\n    "levels": 256', "")
    assert "levels" not in old
    assert DataInfo.from_json(old).scaling.levels is None
