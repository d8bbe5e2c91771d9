import io
import os

import numpy as np
import pytest
from PIL import Image

from lcss_tf.plots import images


def numbered(count, height=3, width=2, channels=1):
    values = np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(values, (count, height, width, channels))


def test_a_grid_places_each_image_row_by_row():
    canvas = images.grid(numbered(5), columns=3, padding=1, scale=1, background=0)
    expected = np.uint8([
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        *[[0, 1, 1, 0, 2, 2, 0, 3, 3, 0]] * 3,
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        *[[0, 4, 4, 0, 5, 5, 0, 0, 0, 0]] * 3,
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ])  # fmt: skip
    assert np.array_equal(canvas[..., 0], expected)


def test_enlarging_repeats_pixels():
    image = np.uint8([[1, 2], [3, 4]])[None, :, :, None]
    canvas = images.grid(image, padding=0, scale=3)
    assert np.array_equal(canvas[..., 0], np.kron(image[0, :, :, 0], np.ones((3, 3), np.uint8)))


@pytest.mark.parametrize(("size", "expected"), [(8, 64), (28, 84), (32, 64), (64, 64), (256, 256)])
def test_small_images_are_enlarged_by_a_whole_factor(size, expected):
    canvas = images.grid(np.zeros((1, size, size, 3), np.uint8), padding=0)
    assert canvas.shape == (expected, expected, 3)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (64, 8, 8)]
)
def test_grids_are_nearly_square(count, columns, rows):
    canvas = images.grid(numbered(count), padding=0, scale=1)
    assert canvas.shape == (rows * 3, columns * 2, 1)


def test_padding_of_rgba_is_opaque():
    canvas = images.grid(np.zeros((3, 2, 2, 4), np.uint8), columns=2, padding=1, scale=1)
    assert np.all(canvas[0] == [128, 128, 128, 255])
    assert np.all(canvas[1:3, 1:3] == 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), "float32"),
        (np.zeros((2, 4, 4, 2), np.uint8), r"channels; got the shape \(2, 4, 4, 2\)"),
        (np.zeros((4, 4, 3), np.uint8), r"\[N, H, W, C\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), "at least one image"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        images.grid(wrong)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_every_value(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 256, (9, 5, channels), dtype=np.uint8)
    path = tmp_path / "new" / "folder" / "image.png"
    images.write_png(path, image)
    back = np.asarray(Image.open(path)).reshape(image.shape)
    assert np.array_equal(back, image)
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(images.encode_png(image)))), back.squeeze()
    )
    with pytest.raises(ValueError, match=r"\(9, 5\)"):
        images.encode_png(image[..., 0])


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    old, new = np.zeros((4, 4, 1), np.uint8), np.ones((4, 4, 1), np.uint8)
    images.write_png(path, old)
    before = path.read_bytes()

    def fail(source, target):
        assert os.path.getsize(source) > 0
        raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="went away"):
            images.write_png(path, new)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["image.png"]
    images.write_png(path, new)
    assert np.array_equal(np.asarray(Image.open(path)), new[..., 0])
    assert os.listdir(tmp_path) == ["image.png"]


def test_titles_stand_above_their_columns():
    picture = np.full((10, 200, 3), 7, np.uint8)
    titled = images.titled(picture, ["cat", "a name that is far too long for its share", "猫"])
    assert titled.shape == (28, 200, 3)
    assert np.array_equal(titled[18:], picture)
    thirds = np.array_split(titled[:18].min(axis=(0, 2)), 3)
    assert all(third.min() < 100 for third in thirds)
    with pytest.raises(ValueError, match="at least one title"):
        images.titled(picture, [])


def test_few_classes_have_several_columns():
    for classes, count, columns in ((2, 64, 8), (10, 64, 10), (3, 36, 6), (1, 9, 3), (5, 4, 5)):
        titles = [str(k) for k in range(classes)]
        assert images.column_titles(titles, count) == titles * (columns // classes)
    assert images.column_titles([], 64) == []
