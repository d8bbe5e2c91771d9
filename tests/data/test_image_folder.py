import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import ImageFolder, index_batches
from lcss_tf.data.decode import decode as decode_tensor


def decode(path, shape):
    return decode_tensor(str(path), shape).numpy()


def picture(seed, height=12, width=12, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Ten lossless 12×12 images, two of them in a subfolder."""
    (tmp_path / "more").mkdir()
    for i in range(10):
        place = tmp_path / "more" if i >= 8 else tmp_path
        Image.fromarray(picture(i)).save(place / f"{i:02}.png")
    (tmp_path / "README.txt").write_text("not an image")
    return tmp_path


def stored(dataset, split="train"):
    indices = tf.range(dataset.size(split), dtype=tf.int64)
    return dataset.info().unscale(dataset.examples(indices, split))


def test_images_of_the_right_size_are_read_bit_for_bit(folder):
    dataset = ImageFolder(folder, 12, test_every=5)
    expected = np.stack([picture(i) for i in range(10)])
    assert np.array_equal(stored(dataset, "test"), expected[[0, 5]])
    assert np.array_equal(stored(dataset), expected[[1, 2, 3, 4, 6, 7, 8, 9]])


def test_the_splits_are_disjoint_and_fixed(folder):
    first, second = (ImageFolder(folder, 12, test_every=4) for _ in range(2))
    train, test = set(first.paths("train")), set(first.paths("test"))
    assert not train & test
    assert len(train | test) == 10
    assert first.paths("train") == second.paths("train")


def test_random_access_in_any_order_and_with_repeats(folder):
    dataset = ImageFolder(folder, 12)
    whole = stored(dataset)
    some = dataset.examples(tf.constant([7, 0, 7], tf.int64))
    assert np.array_equal(dataset.info().unscale(some), whole[[7, 0, 7]])


def test_mirrored_while_decoding_and_from_memory_are_the_same(folder):
    batches = index_batches(9, 64, seed=2).take(1)
    read, held = (
        next(iter(ImageFolder(folder, 12, flip=True, cache_mib=mib).pipeline(batches)))
        for mib in (0, 10)
    )
    assert np.array_equal(read, held)
    plain = next(iter(ImageFolder(folder, 12).pipeline(batches))).numpy()
    flips = (read.numpy() != plain).any(axis=(1, 2, 3))
    assert 16 <= flips.sum() <= 48
    assert np.array_equal(read, np.where(flips[:, None, None, None], plain[:, :, ::-1], plain))


def test_the_pipeline_keeps_order_and_static_shape(folder):
    dataset = ImageFolder(folder, 12, centered=False)
    stream = index_batches(dataset.size(), 4, seed=3)
    batches = dataset.pipeline(stream, seed=3)
    assert batches.element_spec.shape == (4, 12, 12, 3)
    whole = stored(dataset)
    for batch, (indices, _) in zip(batches.take(12), stream.take(12), strict=True):
        assert np.array_equal(dataset.info().unscale(batch), whole[indices.numpy()])


def test_a_pattern_chooses_files(folder):
    dataset = ImageFolder(folder, 12, pattern="more/*")
    assert dataset.size() + dataset.size("test") == 2
    with pytest.raises(FileNotFoundError, match=r"matches '\*.gif'"):
        ImageFolder(folder, 12, pattern="*.gif").require()


def test_construction_reads_nothing_and_a_missing_folder_says_where_and_how(tmp_path):
    dataset = ImageFolder(tmp_path / "nowhere", 1024)
    assert dataset.info().shape == (1024, 1024, 3)
    for use in (dataset.require, dataset.size, dataset.moments):
        with pytest.raises(FileNotFoundError) as caught:
            use()
        message = str(caught.value)
        assert str(tmp_path / "nowhere") in message
        assert "images1024x1024" in message
        assert "https://github.com/NVlabs/ffhq-dataset" in message


def test_an_empty_folder_and_a_single_image_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no file"):
        ImageFolder(tmp_path, 8).require()
    Image.fromarray(picture(0)).save(tmp_path / "only.png")
    with pytest.raises(FileNotFoundError, match="at least two"):
        ImageFolder(tmp_path, 8).require("train")


def test_an_unreadable_file_is_named(tmp_path):
    for i in range(3):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"1\.png cannot be used: "):
        ImageFolder(tmp_path, 12).require()
    (tmp_path / "1.png").write_text("no image at all")
    with pytest.raises(ValueError, match=r"1\.png cannot be used: "):
        ImageFolder(tmp_path, 12).require()


def test_resizing_crops_the_centre_and_antialiases(tmp_path):
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:24] = 200  # the centre square
    Image.fromarray(wide).save(tmp_path / "wide.png")
    got = decode(tmp_path / "wide.png", (8, 8, 3))
    assert np.all(got == 200)
    stripes = np.tile(np.uint8([[0], [255]]), (32, 64))[..., None].repeat(3, axis=2)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    grey = decode(tmp_path / "stripes.png", (8, 8, 3))
    assert np.all(np.abs(grey.astype(int) - 127) < 12)  # without a filter: all 0 or all 255


def test_jpeg_is_read(tmp_path):
    smooth = np.linspace(40, 200, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.JPG", "JPEG", quality=98, subsampling=0)
    got = decode(tmp_path / "a.JPG", (16, 16, 3)).astype(int)
    assert np.abs(got - smooth).mean() < 3


def test_other_kinds_of_image_are_converted(tmp_path):
    grey = picture(1, channels=1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(decode(tmp_path / "grey.png", (12, 12, 3)), grey[..., None].repeat(3, 2))
    assert np.array_equal(decode(tmp_path / "grey.png", (12, 12, 1)), grey[..., None])

    few = np.uint8([[255, 0, 0], [0, 0, 255]])[np.arange(144).reshape(12, 12) % 2]
    Image.fromarray(few).quantize(2).save(tmp_path / "palette.png")
    assert np.array_equal(decode(tmp_path / "palette.png", (12, 12, 3)), few)

    rgba = picture(2, channels=4)
    rgba[..., 3] = 255
    rgba[0, 0] = (10, 20, 30, 0)  # invisible: the white below shows
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    got = decode(tmp_path / "alpha.png", (12, 12, 3))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(got[1:], rgba[1:, :, :3])
    assert np.array_equal(decode(tmp_path / "alpha.png", (12, 12, 4)), rgba)

    four = decode(tmp_path / "palette.png", (12, 12, 4))
    assert np.array_equal(four[..., :3], few)
    assert np.all(four[..., 3] == 255)

    deep = np.arange(144, dtype=np.uint16).reshape(12, 12) * 450
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(decode(tmp_path / "deep.png", (12, 12, 1))[..., 0], deep >> 8)

    cmyk = Image.fromarray(np.full((12, 12, 3), 120, np.uint8)).convert("CMYK")
    cmyk.save(tmp_path / "cmyk.jpg", quality=95)
    assert np.all(np.abs(decode(tmp_path / "cmyk.jpg", (12, 12, 3)).astype(int) - 120) < 6)


@pytest.mark.slow
def test_a_process_ends_though_its_pipeline_is_still_at_work(folder):
    """An input pipeline that ran Python code could keep its process from ending."""
    script = f"""
import tensorflow as tf
from lcss_tf.data import ImageFolder, index_batches
dataset = ImageFolder({str(folder)!r}, 512, cache_mib=0)
batches = dataset.pipeline(index_batches(dataset.size(), 8, seed=0)).prefetch(50)
iterator = iter(batches)
next(iterator)
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=120, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_wrong_arguments_are_refused(tmp_path):
    for wrong in ({"resolution": 0}, {"channels": 2}, {"test_every": 1}):
        with pytest.raises(ValueError, match="ImageFolder needs"):
            ImageFolder(tmp_path, **{"resolution": 8, **wrong})
