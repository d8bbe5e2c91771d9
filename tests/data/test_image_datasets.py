import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import Digits, ImageDataset, evaluation_batches, index_batches

RAMP = np.arange(4)[:, None] + 30 * np.arange(2)[:, None, None] + 50 * np.arange(3)  # (2, 4, 3)


class Ramp(ImageDataset):
    """Image i holds the numbers i, i + 1, i + 2, … from left to right."""

    def __init__(self, flip):
        super().__init__("ramp", (2, 4, 3), flip=flip, centered=False)

    def size(self, split="train"):
        return 100

    def stored(self, indices, split="train", seed=0):
        return tf.cast(indices[:, None, None, None] + RAMP, "uint8")


def batches_of(dataset, seed=0, **kwargs):
    stream = index_batches(dataset.size(), 8, seed, **kwargs)
    return dataset.pipeline(stream, seed=seed)


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


def test_moments_are_those_of_the_whole_split():
    digits = Digits()
    x = digits.examples(tf.range(1437, dtype=tf.int64)).numpy().astype(np.float64)
    assert digits.moments() == pytest.approx((x.mean(), x.var()), rel=1e-9)
    mean, _ = digits.moments(max_examples=100)
    spaced = x[np.arange(100) * 1437 // 100]
    assert mean == pytest.approx(spaced.mean(), rel=1e-9)


def test_a_pipeline_gives_the_examples_in_the_streams_order():
    digits = Digits()
    got = list(digits.pipeline(evaluation_batches(360, 128), "test"))
    assert [len(batch) for batch in got] == [128, 128, 104]
    expected = digits.examples(tf.range(360, dtype=tf.int64), "test")
    assert np.array_equal(tf.concat(got, axis=0), expected)
    assert batches_of(digits).element_spec.shape == (8, 8, 8, 1)


def test_flips_are_fair_and_only_in_training():
    dataset = Ramp(flip=True)
    stream = index_batches(100, 50, seed=1).take(40)
    flipped = []
    for batch, (indices, _) in zip(dataset.pipeline(stream, seed=1), stream, strict=True):
        stored = dataset.info().unscale(batch)
        ramp = indices.numpy()[:, None, None, None] + RAMP
        is_flipped = stored[:, 0, 0, 0] > stored[:, 0, 3, 0]
        expected = np.where(is_flipped[:, None, None, None], ramp[:, :, ::-1], ramp)
        assert np.array_equal(stored, expected)
        flipped.append(is_flipped)
    assert abs(np.mean(flipped) - 0.5) < 0.05
    assert not np.array_equal(flipped[0], flipped[1])
    test = np.concatenate(list(dataset.pipeline(evaluation_batches(100, 10))))
    assert np.array_equal(test, dataset.examples(tf.range(100, dtype=tf.int64)))


def test_no_flip_unless_asked():
    dataset = Ramp(flip=False)
    batch = next(iter(batches_of(dataset))).numpy()
    assert np.all(batch[:, :, 0] < batch[:, :, 3])


def test_flips_do_not_depend_on_shards_or_on_where_the_run_began():
    dataset = Ramp(flip=True)
    whole = np.concatenate(list(batches_of(dataset, seed=2).take(30)))
    halves = np.concatenate(list(batches_of(dataset, seed=2, shards=((0, 4), (4, 4))).take(60)))
    resumed = np.concatenate(list(batches_of(dataset, seed=2, start_step=20).take(10)))
    assert np.array_equal(halves, whole)
    assert np.array_equal(resumed, whole[160:])


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'valid'"):
        Digits().size("valid")
    with pytest.raises(ValueError, match="'valid'"):
        Digits().pipeline(evaluation_batches(3, 3), "valid")


def test_info_needs_no_data():
    info = Digits(centered=False).info()
    assert (info.name, info.shape, info.kind) == ("digits", (8, 8, 1), "image")
    assert info.scaling.low == 0.0
