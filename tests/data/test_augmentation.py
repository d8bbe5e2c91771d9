"""Augmented images: exact where they can be, told by their labels, the same in every batch."""

import math

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data import Augmented, Dequantised, ImageFolder, LowResolution, from_user
from lcss_tf.data.augmentation import TRANSFORMS
from lcss_tf.data.pipeline import index_batches, training_batches
from lcss_tf.data.rescaling import Rescaled
from lcss_tf.errors import UsageError
from lcss_tf.plots import write_png
from lcss_tf.training import Distribution

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 6, 6, 2), dtype=np.uint8)
CLASSES = ConditionSpec("num_classes", 3)


def images(raw=IMAGES, **options):
    return Augmented(from_user(raw, test_every=4), **options)


def label(**values):
    """A label [1, 9] of named parts; the rest is 0."""
    names = ("flip_x", "flip_y", "n", "cos", "sin", "cos_2", "sin_2", "x", "y")
    assert set(values) <= set(names)
    return tf.constant([[values.get(name, 0.0) for name in names]])


def test_the_label_zero_leaves_images_bit_for_bit():
    x = RANDOM.normal(size=(5, 6, 6, 2)).astype(np.float32)
    x[0, 0, 0] = -0.0, np.inf
    labels = np.zeros((5, 9), np.float32)
    labels[3, 0] = 1.0
    found = images().transformed(tf.constant(x), labels).numpy()
    kept = np.arange(5) != 3
    assert found[kept].tobytes() == x[kept].tobytes()
    assert (found[3] != x[3]).any()


def test_flips_quarter_turns_and_translations_are_exact():
    data, x = images(), RANDOM.normal(size=(1, 6, 6, 2)).astype(np.float32)
    found = lambda **parts: data.transformed(tf.constant(x), label(**parts)).numpy()[0]
    np.testing.assert_array_equal(found(flip_x=1.0), x[0, :, ::-1])
    np.testing.assert_array_equal(found(flip_y=1.0), x[0, ::-1])
    # Rows run downwards: a positive angle turns the first axis (columns) to the second (rows).
    np.testing.assert_array_equal(found(cos=-1.0, sin=1.0), np.rot90(x[0], -1))
    np.testing.assert_array_equal(found(cos=-2.0), np.rot90(x[0], 2))
    np.testing.assert_array_equal(found(cos=-1.0, sin=-1.0), np.rot90(x[0]))
    moved = found(x=2 / (0.125 * 6), y=-1 / (0.125 * 6))  # two pixels right, one up
    np.testing.assert_array_equal(moved[:-1, 2:], x[0, 1:, :-2])
    np.testing.assert_array_equal(moved[:-1, 1], x[0, 1:, 0])  # beyond the border: reflected
    np.testing.assert_array_equal(moved[:-1, 0], x[0, 1:, 1])
    both = found(flip_x=1.0, cos=-1.0, sin=1.0)
    np.testing.assert_array_equal(both, np.rot90(x[0, :, ::-1], -1))


def smooth(points):
    """A function of the plane, at points [..., 2] in [−1, 1]²."""
    return np.sin(3 * points[..., 0] + 1) * np.cos(2 * points[..., 1]) + points[..., 0]


def error_of(size):
    """The largest error inside of an analytic image, changed in every way at once."""
    theta, phi, n, n_scale = 0.7, -1.1, 1.5, -0.8
    rotation = lambda a: np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    pull = np.diag([2 ** (0.2 * n), 2 ** (-0.2 * n)])
    change = rotation(phi) @ pull @ rotation(-phi) @ rotation(theta) * 2 ** (0.2 * n_scale)
    change = change @ np.diag([-1, 1])
    shift = np.array([3.0, -2.0])
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    places = np.stack([columns, rows], -1)
    sources = (places - shift) @ np.linalg.inv(change).T
    expected = smooth(sources / (size / 2))
    told = label(
        flip_x=1.0,
        n=n_scale,
        cos=math.cos(theta) - 1,
        sin=math.sin(theta),
        cos_2=n * math.cos(2 * phi),
        sin_2=n * math.sin(2 * phi),
        x=shift[0] / (0.125 * size),
        y=shift[1] / (0.125 * size),
    )
    x = smooth(places / (size / 2))[None, ..., None].astype(np.float32)
    data = images(RANDOM.integers(0, 256, (4, size, size, 1), dtype=np.uint8))
    found = data.transformed(tf.constant(x), told).numpy()[0, ..., 0]
    inside = (np.abs(sources) < size / 2 - 2).all(-1)
    assert inside.mean() > 0.5
    return np.abs(found - expected)[inside].max()


def test_every_change_of_an_analytic_image_by_linear_interpolation():
    errors = [error_of(size) for size in (32, 64, 128)]
    assert errors[0] < 0.01
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, 2, atol=0.25)


def test_each_change_is_drawn_as_often_and_as_far_as_it_says():
    data = images(probability=0.3, transforms=TRANSFORMS, scale_std=0.5)
    count = 20_000
    labels = data.augmentations(tf.range(count, dtype=tf.int64), seed=1).numpy()
    near = 4 * np.sqrt(0.3 * 0.7 / count)
    for k in (0, 1, 2, 5, 6, 7):
        share = np.mean(labels[:, k] != 0)
        # A translation by less than half a pixel is none: |n| < 0.5 / (0.125 · 6).
        expected = 0.3 * (1 if k != 7 else math.erfc(0.5 / 0.75 / math.sqrt(2)))
        assert share == pytest.approx(expected, abs=near)
    turned = np.any(labels[:, 3:5] != 0, axis=1)
    assert np.mean(turned) == pytest.approx(1 - 0.7**2, abs=near)
    stretch = np.hypot(labels[:, 5], labels[:, 6])
    for values in (labels[:, 2], stretch):
        assert np.mean(values[values != 0] ** 2) == pytest.approx(1, abs=0.06)
    np.testing.assert_allclose((labels[:, 3] + 1) ** 2 + labels[:, 4] ** 2, 1, atol=1e-6)
    np.testing.assert_allclose(labels[:, 7] * 0.75, np.rint(labels[:, 7] * 0.75), atol=1e-5)
    # The changes are independent.
    applied = np.stack([labels[:, 0] != 0, labels[:, 1] != 0, stretch != 0, labels[:, 2] != 0])
    assert np.abs(np.corrcoef(applied) - np.eye(4)).max() < 0.03


def test_a_change_depends_on_seed_and_position_alone():
    data = images(probability=0.8, transforms=TRANSFORMS)
    positions = tf.constant([3, 70, 5_000_000_000], tf.int64)
    together = data.augmentations(positions, seed=2)
    np.testing.assert_array_equal(data.augmentations(positions[2:], seed=2), together[2:])
    assert (data.augmentations(positions, seed=3).numpy() != together.numpy()).any()
    alone = images(probability=0.8, transforms=("scale",)).augmentations(positions, seed=2)
    np.testing.assert_array_equal(alone[:, 2], together[:, 2])  # whatever else is drawn


def test_examples_are_never_changed_and_probability_zero_changes_nothing():
    data, still = images(probability=1.0), images(probability=0.0)
    indices = tf.range(9, dtype=tf.int64)
    plain = data.data.examples(indices)
    np.testing.assert_array_equal(data.examples(indices), plain)
    np.testing.assert_array_equal(still.augmented(indices, indices + 100), plain)
    assert (data.augmented(indices, indices + 100).numpy() != plain.numpy()).any()
    assert not still.augmentations(indices).numpy().any()


@pytest.mark.parametrize("shards", [None, ((0, 3), (3, 3))])
@pytest.mark.parametrize("start", [0, 2])
def test_batches_hold_images_classes_and_the_labels_of_their_changes(shards, start):
    raw = from_user(IMAGES, np.arange(12) % 3, test_every=4)
    data = Augmented(raw, probability=0.6)
    distribution = Distribution(num_replicas=2 if shards else 1)
    batches = training_batches(data, distribution, 6, 5, start, CLASSES, 9)
    indices = iter(index_batches(9, 6, 5, start, shards))
    for _ in range(3):
        values = [v.values for v in tf.nest.flatten(next(batches))]  # of each replica
        for x, labels, told in zip(*values, strict=True):
            places, positions = next(indices)
            np.testing.assert_array_equal(labels, np.take(raw.labels("train"), places))
            np.testing.assert_array_equal(told, data.augmentations(positions, 5))
            np.testing.assert_array_equal(x, data.transformed(raw.examples(places), told))
            assert told.numpy().any()


def test_data_as_they_are_have_zeros_for_a_network_that_is_told():
    distribution = Distribution(1)
    batches = training_batches(images().data, distribution, 4, 0, augmentation_size=9)
    x, told = distribution.first(next(batches))
    assert x.shape == (4, 6, 6, 2)
    np.testing.assert_array_equal(told, np.zeros((4, 9)))


def test_datasets_around_keep_the_labels_and_conditions_follow_their_images(tmp_path):
    for name, offset in (("x", 0), ("y", 7)):
        (tmp_path / name).mkdir()
        for i in range(6):
            image = np.random.default_rng(i + offset).integers(0, 256, (4, 4, 3), dtype=np.uint8)
            write_png(tmp_path / name / f"{i}.png", image)
    folder = ImageFolder(
        str(tmp_path / "x"), 4, test_every=3, flip=True, condition_root=str(tmp_path / "y")
    )
    data = Augmented(folder, probability=0.7)
    spec = ConditionSpec("condition_channels", 3)
    indices = positions = tf.range(4, dtype=tf.int64)
    expected = data.changed(folder.condition.augmented(indices, positions, seed=2), positions, 2)
    assert (expected.numpy() != folder.condition.examples(indices).numpy()).any()
    for around in (data, Dequantised(data), Rescaled(data, data.scaling)):
        found = around.conditions(spec, seed=2)(indices, positions)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_array_equal(
            around.augmentations(positions, 2), data.augmentations(positions, 2)
        )
        assert around.augmentation_size == 9
    np.testing.assert_array_equal(
        data.conditions(spec)(indices), folder.condition.examples(indices)
    )
    low = LowResolution(images(probability=0.7), factor=3)
    x, means = next(
        iter(low.training_pipeline(6, 3, 0, None, ConditionSpec("condition_channels", 2)))
    )
    np.testing.assert_allclose(low.condition.of_examples(x), means, atol=1e-5)


def test_numbers_beside_augmented_images_stay():
    data = Augmented(from_user(IMAGES, condition=np.arange(12.0), test_every=4), probability=1.0)
    indices = tf.range(4, dtype=tf.int64)
    told = data.conditions(ConditionSpec("condition_size", 1))
    np.testing.assert_array_equal(told(indices, indices + 9), told(indices))


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match=r"expects a dataset of images.*\(2,\)"):
        Augmented(lcss.data.TwoMoons())
    with pytest.raises(UsageError, match=r"got ndarray.*from_user\(array\)"):
        Augmented(IMAGES)
    with pytest.raises(UsageError, match="that are not Augmented yet"):
        Augmented(Dequantised(images()))
    with pytest.raises(UsageError, match=r"among.*'flip_x'.*got \['mirror'\]"):
        images(transforms=("mirror",))
    with pytest.raises(UsageError, match=r"'rotate90'.*sides \(4, 6\)"):
        images(IMAGES[:, :4], transforms=("rotate90",))
    with pytest.raises(UsageError, match="probability from 0 to 1.*got 1.5"):
        images(probability=1.5)
    with pytest.raises(UsageError, match="positive scale_std"):
        images(scale_std=0.0)
