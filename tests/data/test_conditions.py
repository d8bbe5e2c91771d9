"""Conditions beside examples: rows stay together, moments are those of training, mirrored alike."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data import Arrays, DataInfo, ImageFolder, LowResolution, Table, from_user
from lcss_tf.data.pipeline import index_batches
from lcss_tf.data.rescaling import Rescaled, as_described
from lcss_tf.errors import UsageError
from lcss_tf.plots import write_png

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 3)).astype(np.float32)


def vector(size):
    return ConditionSpec("condition_size", size)


def image(channels):
    return ConditionSpec("condition_channels", channels)


def check_pairs(data, spec, raw_of, splits=("train", "test")):
    """In every pipeline the condition of an example is `raw_of` it, in raw units."""

    def check(x, told):
        expected = raw_of(data.info().unscale(x))
        found = data.info().condition.unscale(told).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
        assert told.dtype == tf.float32

    for split in splits:
        everything = tf.data.Dataset.range(data.size(split)).batch(data.size(split))
        check(*next(iter(data.pipeline(everything, split, condition=spec))))
    check(*next(iter(data.training_pipeline(8, seed=3, condition=spec))))
    assert DataInfo.from_json(data.info().to_json()) == data.info()


def check_moments(data, spec):
    told = data.conditions(spec, "train")(tf.range(data.size("train"), dtype=tf.int64))
    flat = np.asarray(told, np.float64).reshape(-1, told.shape[-1])
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(flat.std(0), 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("condition", "spec"),
    [
        (lambda x: 3 + x[:, 0], vector(1)),
        (lambda x: np.stack([x[:, 0], 1e-6 * x[:, 1]], 1), vector(2)),
        (lambda x: np.rint(100 * x[:, :2]).astype(int), vector(2)),
    ],
)
def test_of_arrays(condition, spec):
    data = from_user(X, condition=condition(X), test_every=4)
    check_pairs(data, spec, condition)
    check_moments(data, spec)


def test_a_large_offset_costs_no_digits():
    """1e9 with a spread of 1e3: float32 alone would leave steps of 64."""
    data = from_user(X, condition=1e9 + 1e3 * X[:, 0].astype(np.float64))
    told = data.conditions(vector(1))(tf.range(40, dtype=tf.int64))
    assert abs(float(np.corrcoef(told[:, 0], X[:, 0])[0, 1]) - 1) < 1e-9
    x, told = next(iter(data.training_pipeline(8, seed=0, condition=vector(1))))
    expected = 1e9 + 1e3 * data.info().unscale(x)[:, 0].astype(np.float64)
    np.testing.assert_allclose(data.info().condition.unscale(told), expected, atol=0.2, rtol=0)


@pytest.mark.parametrize(
    ("sides", "channels", "raw"),
    [((8,), 2, (8, 2)), ((4, 4), 1, (4, 4)), ((4, 4), 3, (4, 4, 3)), ((2, 4, 4), 1, (2, 4, 4, 1))],
)
def test_images_beside_signals_images_and_volumes(sides, channels, raw):
    x = RANDOM.normal(size=(12, *sides, 1))
    condition = RANDOM.integers(0, 255, (12, *raw)).astype(np.uint8)
    data = from_user(x, condition=condition, test_every=3)
    spec = image(channels)
    data.check_condition(spec)
    assert data.info().condition.shape == (*sides, channels)
    check_moments(data, spec)
    found = data.conditions(spec, "test")(tf.range(4, dtype=tf.int64))
    expected = condition[::3].astype(float)
    np.testing.assert_allclose(
        data.info().condition.scaling.invert(found).numpy().reshape(expected.shape), expected,
        atol=1e-3,
    )  # fmt: skip


def test_whole_numbers_are_classes():
    data = from_user(X, condition=np.arange(40) % 3)
    np.testing.assert_array_equal(data.labels(), np.arange(40) % 3)
    assert data.condition is None


def test_validation_brings_its_condition():
    data = from_user(X, condition=X[:, :1], validation=(X[:5], X[:5, :1]))
    check_pairs(data, vector(1), lambda x: x[:, :1])
    with pytest.raises(UsageError, match=r"validation has none. Pass the pair"):
        from_user(X, condition=X[:, :1], validation=X[:5])


def test_pairs_of_a_tf_data_dataset():
    for batched in (False, True):
        dataset = tf.data.Dataset.from_tensor_slices((X, X[:, :2]))
        data = from_user(dataset.batch(7) if batched else dataset)
        check_pairs(data, vector(2), lambda x: x[:, :2], splits=("train",))
    pictures = RANDOM.integers(0, 255, (6, 4, 4, 1)).astype(np.uint8)
    data = from_user(tf.data.Dataset.from_tensor_slices((pictures, pictures)))
    check_pairs(data, image(1), lambda x: x.astype(float), splits=("train",))


def table(tmp_path, rows):
    path = tmp_path / "rows.csv"
    lines = ["age,height,weight,sex", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines))
    return str(path)


def test_columns_of_a_table(tmp_path):
    ages = RANDOM.uniform(20, 80, 30)
    rows = [(a, a + 100, 2 * a, i % 2) for i, a in enumerate(ages)]
    rows[3] = (rows[3][0], *rows[3][1:3], "")  # the label is missing
    rows[5] = ("?", *rows[5][1:])  # the condition is
    path = table(tmp_path, rows)
    arguments = {"columns": ["height"], "condition": ["weight", "age"]}
    with pytest.raises(UsageError, match="line 7, row 6, column 'age': '\\?'"):
        Table(path, **arguments).require()
    data = Table(path, **arguments, label="sex", on_bad_example="skip")
    assert data.size("train") + data.size("test") == 28
    assert data.info().condition.columns == ("weight", "age")
    both = lambda x: np.concatenate([2 * (x - 100), x - 100], axis=1)
    check_pairs(data, vector(2), both)
    check_moments(data, vector(2))


def test_a_table_refuses_columns_twice_and_constant_ones(tmp_path):
    path = table(tmp_path, [(7, i, i * i, 0) for i in range(10)])
    with pytest.raises(UsageError, match=r"names 'age', and so does Table\.condition"):
        Table(path, ["age"], condition=["age"])
    with pytest.raises(UsageError, match=r"the same number.*\['age'\]"):
        Table(path, ["height"], condition=["weight", "age"]).condition.require()


def test_an_array_beside_arrays(tmp_path):
    x, told = X[:30], np.stack([X[:30, 1], 5 + X[:30, 2]], 1)
    both = lambda x: np.stack([x[:, 1], 5 + x[:, 2]], 1)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", told)
    np.savez(tmp_path / "both.npz", x=x, bmi=told)
    np.savez(tmp_path / "held.npz", x=x[:6], bmi=told[:6])
    sources = [
        Arrays(tmp_path / "x.npy", (3,), condition=str(tmp_path / "y.npy")),
        Arrays(tmp_path / "x.npy", (3,), condition=told),
        Arrays(tmp_path / "both.npz", (3,), condition="bmi"),
        Arrays(tmp_path / "both.npz", (3,), condition="bmi", test_path=tmp_path / "held.npz"),
        Arrays(
            tmp_path / "x.npy", (3,), condition=told, test_path=tmp_path / "x.npy",
            test_condition=told,
        ),
    ]  # fmt: skip
    for data in sources:
        check_pairs(data, vector(2), both)
        check_moments(data, vector(2))


def test_arrays_refuse_or_skip_conditions_with_nan(tmp_path):
    np.save(tmp_path / "x.npy", X)
    told = X[:, :1].copy()
    told[7] = np.nan
    data = Arrays(tmp_path / "x.npy", (3,), condition=told)
    with pytest.raises(UsageError, match="1 of 40 conditions of x hold NaN.*example 7"):
        data.require()
    data = Arrays(tmp_path / "x.npy", (3,), condition=told, on_bad_example="skip")
    assert data.size("train") + data.size("test") == 39
    check_pairs(data, vector(1), lambda x: x[:, :1])
    for other, words in (
        (X[:39, :1], r"one row for each of the 40 examples; got an array of shape \(39, 1\)"),
        ("nothing", "no array 'nothing' in .*x.npy, and no file"),
        (X[:, :1, None, None], r"numbers \[K\] for each example; got the shape \(1, 1, 1\)"),
    ):
        with pytest.raises((UsageError, FileNotFoundError), match=words):
            Arrays(tmp_path / "x.npy", (3,), condition=other).condition.require()


def folders(tmp_path, count=9, ending=".png"):
    """Images whose condition is their negative."""
    for i in range(count):
        picture = RANDOM.integers(0, 255, (4, 4, 3)).astype(np.uint8)
        for place, pixels in (("x", picture), ("y", 255 - picture)):
            (tmp_path / place / "sub").mkdir(parents=True, exist_ok=True)
            suffix = ending if place == "y" else ".png"
            path = tmp_path / place / ("sub" if i % 2 else ".") / f"{i}{suffix}"
            write_png(path.with_suffix(".png"), pixels)
            path.with_suffix(".png").rename(path)
    return ImageFolder(
        str(tmp_path / "x"), 4, test_every=3, flip=True, condition_root=str(tmp_path / "y")
    )


@pytest.mark.slow
@pytest.mark.parametrize("cache_mib", [0, 16])
def test_a_folder_of_condition_images(tmp_path, cache_mib):
    folders(tmp_path)
    data = ImageFolder(
        str(tmp_path / "x"), 4, test_every=3, flip=True, condition_root=str(tmp_path / "y"),
        cache_mib=cache_mib,
    )  # fmt: skip
    data.require()
    check_moments(data, image(3))
    check_pairs(data, image(3), lambda x: 255.0 - x)
    # Of many positions about half are mirrored, and the condition always with its example.
    plain = {p.tobytes() for p in data.info().unscale(data.some_examples(9))}
    batches = data.pipeline(index_batches(data.size("train"), 30, seed=1), condition=image(3))
    x, told = next(iter(batches))
    pixels = data.info().unscale(x)
    np.testing.assert_allclose(data.info().condition.unscale(told), 255.0 - pixels, atol=1e-2)
    assert 0.2 < np.mean([p.tobytes() not in plain for p in pixels]) < 0.8


def test_other_endings_do_and_missing_images_are_named(tmp_path):
    data = folders(tmp_path, ending=".bmp")  # a PNG by another name
    check_pairs(data, image(3), lambda x: 255.0 - x)
    (tmp_path / "y" / "sub" / "3.bmp").unlink()
    data = ImageFolder(str(tmp_path / "x"), 4, condition_root=str(tmp_path / "y"))
    with pytest.raises(UsageError, match=r"lacks the images that belong to 1 of .*sub/3\.png"):
        data.require()


def test_a_condition_image_that_is_not_the_only_one_is_refused(tmp_path):
    data = folders(tmp_path)
    there, beside = tmp_path / "x", tmp_path / "y"
    shutil.copy(beside / "4.png", beside / "4.bmp")
    assert data.condition.size("train") == 6  # the same name wins
    (beside / "4.png").rename(beside / "4.jpg")
    make = lambda: ImageFolder(str(there), 4, test_every=3, condition_root=str(beside))
    with pytest.raises(UsageError, match=r"2 images .* to 4\.png under .*x: 4\.(bmp|jpg) and 4\."):
        make().require()
    (beside / "4.jpg").unlink()
    make().require()
    shutil.copy(there / "4.png", there / "4.gif")
    with pytest.raises(UsageError, match=r"4\.bmp .* belong to two images .*: 4\.png and 4\.gif|"
                       r"4\.bmp .* belong to two images .*: 4\.gif and 4\.png"):  # fmt: skip
        make().require()


def test_a_condition_image_of_an_unread_kind_is_not_missing(tmp_path):
    folders(tmp_path)
    (tmp_path / "y" / "sub" / "3.png").rename(tmp_path / "y" / "sub" / "3.heic")
    data = ImageFolder(str(tmp_path / "x"), 4, condition_root=str(tmp_path / "y"))
    with pytest.raises(
        UsageError, match=r"sub/3\.heic, which belongs to sub/3\.png, .*: HEIF is not"
    ):
        data.require()


@pytest.mark.slow  # a data pipeline in each place of another
def test_a_bad_image_of_a_pair_is_replaced_as_a_pair(tmp_path):
    folders(tmp_path)
    (tmp_path / "x" / "2.png").write_bytes(b"none")
    (tmp_path / "y" / "sub" / "5.png").write_bytes(b"none")
    data = ImageFolder(
        str(tmp_path / "x"), 4, test_every=3, condition_root=str(tmp_path / "y"),
        on_bad_example="skip",
    )  # fmt: skip
    check_pairs(data, image(3), lambda x: 255.0 - x, splits=("train",))


def test_low_resolution_is_the_mean_of_blocks_of_mirrored_examples_too(tmp_path, monkeypatch):
    def low(x):
        means = x.astype(float).reshape(-1, 2, 2, 2, 2, 3).mean((2, 4))
        return means.repeat(2, 1).repeat(2, 2)

    folders(tmp_path)
    data = LowResolution(ImageFolder(str(tmp_path / "x"), 4, test_every=3, flip=True))
    check_pairs(data, image(3), low)
    check_moments(data, image(3))
    calls, augmented = [], data.data.augmented
    monkeypatch.setattr(data.data, "augmented", lambda *a: calls.append(a) or augmented(*a))
    next(iter(data.training_pipeline(4, seed=3, condition=image(3))))
    assert len(calls) == 1, "in the traced pipeline: an example and its condition are read once"
    signals = LowResolution(from_user(RANDOM.normal(size=(20, 8, 2))), factor=4)
    expect = lambda x: x.reshape(-1, 2, 4, 2).mean(2).repeat(4, 1)
    check_pairs(signals, image(2), expect, splits=("train",))
    with pytest.raises(UsageError, match=r"divide the sides \(8,\) .*got 3"):
        LowResolution(signals.data, factor=3)


def test_rescaled_data_keep_the_condition_s_scaling():
    data = from_user(X, condition=X[:, :1])
    later = from_user(X + 1, condition=10 * X[:, :1])
    again = as_described(later, data.info())
    assert again.info().condition.scaling == data.info().condition.scaling
    check_pairs(again, vector(1), lambda x: 10 * (x[:, :1] - 1), splits=("train",))
    assert as_described(data, data.info()) is data
    assert Rescaled(later, data.scaling).condition is later.condition


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (X[:7, :1], r"one row for each of the 40 examples; got an array of shape \(7, 1\)"),
        (np.where(X[:, :1] > 1, np.nan, 1), "condition holds NaN or infinity; the first"),
        (np.ones((40, 2)), "the same number for every example"),
        (np.ones((40, 2, 2)), r"must be numbers \[K\] for each example; got the shape \(2, 2\)"),
        (np.array(["a"] * 40), "training takes numbers"),
    ],
)
def test_what_cannot_be_a_condition(condition, message):
    with pytest.raises(UsageError, match=message):
        from_user(X, condition=condition)


def test_data_and_network_must_agree():
    data, plain = from_user(X, condition=X[:, :2]), from_user(X)
    for given, spec, message in (
        (data, vector(3), r"conditions of shape \(2,\), and the network has condition_size = 3. M"),
        (data, None, "the network takes no condition. Make it with condition_size = 2"),
        (plain, vector(1), "has condition_size = 1, and array has no condition. Give one"),
        (plain, ConditionSpec("num_classes", 2), "has no labels"),
    ):
        with pytest.raises(UsageError, match=message):
            given.check_condition(spec)
    with pytest.raises(UsageError, match="got condition as well"):
        from_user(lcss.data.Digits(), condition=X)
    with pytest.raises(UsageError, match="got labels, condition or test_every"):
        from_user(tf.data.Dataset.from_tensor_slices(X), condition=X)
