"""Images of any aspect in examples of any aspect: cropped, padded or stretched, as Pillow does."""

import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.commands._samples import reference_data
from lcss_tf.data import TFDS, ImageFolder
from lcss_tf.data.decoding import FITS, decode_bytes, fitted
from lcss_tf.errors import UsageError
from lcss_tf.preparation import Source, prepare
from tests.data.helpers import encoded

SIZES = [(40, 60), (60, 40), (33, 90), (90, 20), (10, 15), (24, 36)]  # height, width


def smooth(seed, height, width, channels=3):
    """A picture with structure at every scale that Lanczos keeps apart: waves and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 60 * np.sin(y / 5 + seed)[..., None] + 50 * np.cos(x / 7)[..., None]
    noise = random.uniform(-15, 15, (height, width, channels))
    return np.clip(128 + waves + noise, 0, 255).astype(np.uint8)


def by_pillow(image, shape, fit):
    """The same by Pillow's own resize."""
    (h, w), (height, width) = image.shape[:2], shape[:2]
    picture = Image.fromarray(image)
    if fit == "crop":
        zoom = min(h / height, w / width)
        rows, columns = int(np.rint(height * zoom)), int(np.rint(width * zoom))
        top, left = (h - rows) // 2, (w - columns) // 2
        picture = picture.crop((left, top, left + columns, top + rows))
    if fit != "pad":
        return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
    zoom = max(h / height, w / width)
    rows, columns = max(1, int(np.rint(h / zoom))), max(1, int(np.rint(w / zoom)))
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas = np.zeros(shape, np.uint8)
    resized = picture.resize((columns, rows), Image.Resampling.LANCZOS)
    canvas[top : top + rows, left : left + columns] = np.asarray(resized)
    return canvas


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(24, 36, 3), (36, 24, 3), (16, 16, 3)], ids=str)
def test_each_fit_is_pillow_s_resize_to_a_level(fit, shape):
    for k, size in enumerate(SIZES):
        image = smooth(k, *size)
        got = fitted(tf.constant(image), shape, fit).numpy().astype(int)
        expected = by_pillow(image, shape, fit)
        assert np.abs(got - expected).max() <= 1, size  # Pillow rounds between its two passes
        assert np.mean(got != expected) < 1 / 3


@pytest.mark.parametrize("fit", FITS)
def test_an_image_of_the_right_size_stays_bit_for_bit(fit):
    image = smooth(0, 24, 36)
    content = tf.constant(encoded(Image.fromarray(image), "PNG"))
    assert np.array_equal(decode_bytes(content, (24, 36, 3), fit), image)


def test_padding_keeps_the_whole_image_in_the_middle_and_four_channels_are_clear_around_it():
    image = smooth(0, 24, 24, 4)
    image[..., 3] = 255
    got = fitted(tf.constant(image), (24, 37, 4), "pad").numpy()
    assert np.array_equal(got[:, 6:30], image)  # not resized: only a margin is missing
    assert not got[:, :6].any()
    assert not got[:, 30:].any()
    line = fitted(tf.constant(smooth(0, 2, 900)), (8, 8, 3), "pad").numpy()
    assert line.any(axis=(1, 2)).sum() == 1  # at least a pixel is left of it


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images") / "pictures"
    for k, size in enumerate([*SIZES, *SIZES]):
        place = root / ("cats" if k % 2 else "dogs")
        place.mkdir(parents=True, exist_ok=True)
        kind, options = (".png", {}) if k % 3 else (".jpg", {"quality": 90})
        Image.fromarray(smooth(k, *size)).save(place / f"{k:02}{kind}", **options)
    with zipfile.ZipFile(root.parent / "pictures.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, path.relative_to(root))
    return root


def stored(data, split="train"):
    return data.stored(tf.range(data.size(split), dtype=tf.int64), split).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("fit", FITS)
def test_the_folder_the_archive_and_prepared_records_give_the_same_bytes(fit, folder, tmp_path):
    here = ImageFolder(folder, (24, 36), test_every=4, fit=fit)
    zipped = ImageFolder(f"{folder}.zip", (24, 36), test_every=4, fit=fit, cache_mib=0)
    result, text, _ = prepare(Source(str(folder), (24, 36), test_every=4, fit=fit), tmp_path)
    prepared = TFDS("pictures", (24, 36, 3), data_dir=tmp_path)
    assert here.shape == (24, 36, 3)
    for split in ("train", "test"):
        assert np.array_equal(stored(zipped, split), stored(here, split))
        assert np.array_equal(stored(prepared, split), stored(here, split))
    assert "- shape: 24×36×3" in text
    assert result["made_from"]["resolution"] == [24, 36]
    again = prepare(Source(str(folder), (24, 36), test_every=4, fit=fit), tmp_path)
    assert again[0] == result  # it is known again, and left as it is
    other = next(name for name in FITS if name != fit)
    with pytest.raises(UsageError, match="holds a dataset made from"):
        prepare(Source(str(folder), (24, 36), test_every=4, fit=other), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fit", FITS)
def test_real_examples_of_a_metric_are_those_of_the_folder(fit, folder):
    bindings = [f"ImageFolder.fit = '{fit}'"]
    reference, _ = reference_data(str(folder), (5, 24, 36, 3), bindings)
    here = ImageFolder(folder, (24, 36), test_every=2, fit=fit)
    assert np.array_equal(stored(reference, "test"), stored(here, "test"))


def test_a_run_that_is_resumed_with_another_fit_notices(folder):
    seen = [ImageFolder(folder, (24, 36), fit=fit).fingerprint() for fit in FITS]
    assert [fields["fit"] for fields in seen] == list(FITS)
    assert len({fields["content"] for fields in seen}) == 1


@pytest.mark.slow
def test_records_of_another_aspect_are_fitted_too(folder, tmp_path):
    prepare(Source(str(folder), (40, 60), test_every=4, fit="stretch"), tmp_path)
    large = stored(TFDS("pictures", (40, 60, 3), data_dir=tmp_path))
    small = stored(TFDS("pictures", (20, 20, 3), data_dir=tmp_path, fit="pad"))
    expected = [fitted(tf.constant(image), (20, 20, 3), "pad") for image in large]
    assert np.array_equal(small, expected)


def test_conditions_are_fitted_as_their_images(folder):
    data = ImageFolder(folder, (24, 36), fit="pad", condition_root=str(folder))
    indices = tf.range(3, dtype=tf.int64)
    told = data.condition.info().unscale(data.condition.examples(indices))
    assert np.abs(told - data.stored(indices).numpy()).max() < 1e-3


@pytest.mark.parametrize("wrong", [0, (8, 0), (8, 8, 3), (8,), "88", 8.5], ids=str)
def test_a_resolution_is_one_side_or_two(wrong):
    with pytest.raises(UsageError, match="needs resolution >= 1, in pixels: one number"):
        ImageFolder("nowhere", wrong)


def test_an_unknown_fit_and_records_of_squares_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"fit must be one of \('crop', 'pad', 'stretch'\)"):
        ImageFolder("nowhere", 8, fit="cover")
    (tmp_path / "ffhq-r02.tfrecords").write_bytes(b"")
    with pytest.raises(UsageError, match="FFHQ's records are squares"):
        Source(str(tmp_path), (4, 8)).open()
