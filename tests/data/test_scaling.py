import numpy as np
import pytest

from lcss_tf.data import DataInfo, Scaling

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


def test_impossible_scalings_are_refused():
    with pytest.raises(ValueError, match="low < high"):
        Scaling(1.0, 1.0, 0.0, 255.0, "uint8")
    with pytest.raises(ValueError, match="int8"):
        Scaling(0.0, 1.0, 0.0, 255.0, "int8")


def test_info_survives_json():
    info = DataInfo("digits", (8, 8, 1), "image", Scaling.for_images())
    again = DataInfo.from_json(info.to_json())
    assert again == info
    assert again.shape == (8, 8, 1)
    assert np.array_equal(again.unscale(np.float32([-1, 1])), [0, 255])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x", "scaling": {"low": 1}}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="description of data"):
        DataInfo.from_json(text)


def test_wrong_info_is_refused():
    with pytest.raises(ValueError, match="sound"):
        DataInfo("x", (8,), "sound", Scaling.identity())
    with pytest.raises(ValueError, match=r"\(8, 8\)"):
        DataInfo("x", (8, 8), "image", Scaling.for_images())
