"""Data without a download: digits, photographs, moving digits; and the simulated sensor."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_images

from lcss_tf.data import Digits, MovingDigits, Photos, Vibrations, index_batches


def test_digits_have_a_fixed_stratified_split():
    digits = Digits()
    assert (digits.size("train"), digits.size("test")) == (1437, 360)
    train, test = (np.bincount(digits.labels(split), minlength=10) for split in ("train", "test"))
    assert train.sum() + test.sum() == 1797
    assert np.all(np.abs(test / (train + test) - 0.2) < 0.005)


def test_digits_splits_share_no_place_in_the_source():
    from sklearn.datasets import load_digits

    digits = Digits(centered=False)
    parts = [digits.stored(tf.range(digits.size(s), dtype=tf.int64), s) for s in ("train", "test")]
    together = np.concatenate(parts)[..., 0]
    source = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    order = lambda images: sorted(image.tobytes() for image in images)
    assert order(together) == order(source)


def test_digits_keep_their_17_grey_levels():
    digits = Digits()
    x = digits.examples(tf.range(1437, dtype=tf.int64)).numpy()
    assert x.shape == (1437, 8, 8, 1)
    assert (x.min(), x.max()) == (-1.0, 1.0)
    assert len(np.unique(digits.info().unscale(x))) == 17
    assert Digits(centered=False).examples(tf.range(9, dtype=tf.int64)).numpy().min() == 0.0


def test_digits_labels_belong_to_their_images():
    """Nearest class means recognise most digits, and would not if labels were out of order."""
    digits = Digits()
    x = {s: digits.examples(tf.range(digits.size(s), dtype=tf.int64), s) for s in ("train", "test")}
    x = {split: images.numpy().reshape(-1, 64) for split, images in x.items()}
    means = np.stack([x["train"][digits.labels() == k].mean(axis=0) for k in range(10)])
    distance = ((x["test"][:, None] - means) ** 2).sum(axis=2)
    assert np.mean(distance.argmin(axis=1) == digits.labels("test")) > 0.85


def crops(data, count, **kwargs):
    return data.info().unscale(data.examples(tf.range(count, dtype=tf.int64), **kwargs))


def test_every_crop_lies_in_a_photograph():
    windows = [
        np.lib.stride_tricks.sliding_window_view(photo, (256, 256), axis=(0, 1))
        for photo in load_sample_images().images
    ]
    seen = set()
    for crop in crops(Photos(256), 12):
        found = [
            k
            for k, view in enumerate(windows)
            if np.any(np.all(view[:, :, :, 0, 0] == crop[0, 0], axis=2)
                      & np.all(view[:, :, :, -1, -1] == crop[-1, -1], axis=2))
        ]  # fmt: skip
        assert found
        seen.update(found)
    assert seen == {0, 1}


def test_a_crop_is_a_function_of_seed_split_and_index():
    data = Photos(16)
    whole = crops(data, 20)
    assert whole.shape == (20, 16, 16, 3)
    some = data.info().unscale(data.examples(tf.constant([7, 0, 7], tf.int64)))
    assert np.array_equal(some, whole[[7, 0, 7]])
    for other in ({"seed": 1}, {"split": "test"}):
        assert not np.array_equal(crops(data, 20, **other), whole)
    assert data.size() is None
    batch = next(iter(data.pipeline(index_batches(None, 20, 0))))
    assert np.array_equal(data.info().unscale(batch), whole)


def test_a_size_beyond_256_is_refused():
    with pytest.raises(ValueError, match="between 1 and 256 pixels; got 512"):
        Photos(512)


def examples(data, count, **kwargs):
    return data.examples(tf.range(count, dtype=tf.int64), **kwargs).numpy()


@pytest.mark.parametrize("data", [Vibrations(64), MovingDigits(4, 12)], ids=lambda d: d.name)
def test_an_example_is_a_function_of_seed_split_and_index(data):
    whole = examples(data, 20)
    assert whole.shape == (20, *data.shape)
    assert np.array_equal(data.examples(tf.constant([9, 0], tf.int64)), whole[[9, 0]])
    for other in ({"seed": 1}, {"split": "test"}):
        assert not np.array_equal(examples(data, 20, **other), whole)


def test_a_digit_keeps_its_ink_while_it_moves_and_stays_inside():
    data = MovingDigits(frames=12, size=16)
    videos = data.info().unscale(examples(data, 50))[..., 0].astype(np.float64)
    ink = videos.sum(axis=(2, 3))
    assert np.allclose(ink, ink[:, :1], rtol=0.02)
    digits = Digits(centered=False)
    inks = digits.stored(tf.range(1437, dtype=tf.int64), "train").numpy().sum(axis=(1, 2, 3))
    assert all(np.abs(inks - value).min() < 0.01 * value for value in ink[:, 0])
    centre = (videos * np.arange(16)).sum(axis=(2, 3)) / ink
    steps = np.abs(np.diff(centre, axis=1))
    assert steps.max() < 2.6
    assert np.median(steps) > 0.5


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 8"):
        Vibrations(4)
    with pytest.raises(ValueError, match="size > 8"):
        MovingDigits(8, 8)
