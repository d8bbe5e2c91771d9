import numpy as np
import pytest
from PIL import Image

from lcss_tf.data import DataInfo, Scaling
from lcss_tf.plots import images, trajectories

INFO = DataInfo("dots", (4, 4, 1), "image", Scaling.for_images())


def trajectory(frames=5, count=3):
    """From wide noise to a picture: grey but for one white pixel."""
    random = np.random.default_rng(0)
    picture = np.zeros((count, 4, 4, 1), np.float32)
    picture[:, 1, 2] = 1.0
    noise = random.normal(size=picture.shape)
    weights = np.linspace(1.0, 0.0, frames + 1)
    return np.stack([w * 30.0 * noise + (1 - w) * picture for w in weights]).astype(np.float32)


def test_noise_is_shrunk_and_the_samples_are_shown_as_they_are():
    shown = trajectories.to_images(trajectory(), INFO)
    assert shown.dtype == np.uint8
    assert ((shown[0] > 0) & (shown[0] < 255)).mean() > 0.9  # thirty times the range, unclipped
    np.testing.assert_array_equal(shown[-1], INFO.unscale(trajectory()[-1]))


def test_frames_and_picture():
    frames = trajectories.image_frames(trajectory(), INFO)
    assert len(frames) == 6
    assert {frame.shape for frame in frames} == {frames[0].shape}
    picture = trajectories.image_grid(trajectory(20), INFO, most=2, columns=9)
    assert picture.shape == (2 * 66 + 2, 9 * 66 + 2, 1)
    assert picture[:, -66:-2].max() == 255
    times = np.linspace(1, 0, 21)
    timed = trajectories.image_grid(trajectory(20), INFO, times, most=2, columns=9)
    np.testing.assert_array_equal(timed[18:], picture)
    assert timed[:18].min() < 100  # letters


def test_states_are_shown_where_something_happens():
    values = np.concatenate([np.zeros(90), np.linspace(0, 1, 11)])
    states = values[:, None] * np.ones(4)
    shown = trajectories._telling(states, 6)
    assert shown.tolist() == [0, 92, 94, 96, 98, 100]
    jump = np.where(np.arange(11)[:, None] > 6, 1.0, 0.0) * np.ones(4)
    places = trajectories._telling(jump, 5)
    assert len(set(places.tolist())) == 5
    assert {0, 7, 10} <= set(places.tolist())
    assert trajectories._telling(jump[:3], 9).tolist() == [0, 1, 2]


def test_particles_close_in_on_the_data():
    random = np.random.default_rng(0)
    points = random.normal(size=(300, 2))
    moving = np.stack([40 * points, 5 * points, points])
    frames = trajectories.particle_frames(moving, [1.0, 0.5, 0.0])
    red = [np.mean((frame[..., 0].astype(int) - frame[..., 2]) > 60) for frame in frames]
    assert len(frames) == 3
    assert all(share > 0.005 for share in red)  # each frame shows its particles
    picture = trajectories.particle_grid(moving, [1.0, 0.5, 0.0], columns=2)
    assert picture.shape[1] == 2 * (frames[0].shape[1] // 2)


def test_gif(tmp_path):
    frames = trajectories.image_frames(trajectory(), INFO)
    images.write_gif(tmp_path / "sub" / "trajectory.gif", frames, frame_ms=40, last_frame_ms=900)
    with Image.open(tmp_path / "sub" / "trajectory.gif") as gif:
        assert gif.n_frames == 6
        assert gif.info["loop"] == 0
        durations = []
        for i in range(6):
            gif.seek(i)
            durations.append(gif.info["duration"])
        np.testing.assert_array_equal(np.asarray(gif.convert("L")), frames[-1][..., 0])
    assert durations == [40] * 5 + [900]
    with pytest.raises(ValueError, match="at least one"):
        images.write_gif(tmp_path / "none.gif", [])
    with pytest.raises(ValueError, match="of one shape"):
        images.write_gif(tmp_path / "two.gif", [frames[0], frames[1][:10]])


def test_a_state_that_is_not_finite_is_drawn_empty():
    moving = np.stack([np.full((9, 2), np.nan), np.zeros((9, 2))])
    frames = trajectories.particle_frames(moving)
    assert len(frames) == 2
