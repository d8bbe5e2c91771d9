"""What fit takes: arrays and tf.data come back in their units, shape and dtype, or are refused."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import DataInfo, Digits, FromTFData, InMemory, from_user, training_batches
from lcss_tf.training.distribution import Distribution
from tests.data.helpers import classes

RANDOM = np.random.default_rng(0)
SHAPES = {
    "scalars": ((), "vector", (1,)),
    "vectors": ((3,), "vector", (3,)),
    "signals": ((16, 2), "signal", (16, 2)),
    "images": ((6, 5, 3), "image", (6, 5, 3)),
    "volumes": ((4, 6, 6, 1), "volume", (4, 6, 6, 1)),
}
# dtype in -> dtype out
DTYPES = {
    "float16": "float16",
    "float32": "float32",
    "float64": "float64",
    "int8": "float32",
    "uint16": "float32",
    "int32": "float64",
    "int64": "float64",
    ">f4": "float32",
}


def everything(data, split="train"):
    """All examples, scaled, and as they come back to a user, who has only the stored info."""
    scaled = data.examples(np.arange(data.size(split)), split)
    assert scaled.dtype == tf.float32
    info = DataInfo.from_json(data.info().to_json())
    return scaled.numpy(), info.unscale(scaled)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SHAPES)
def test_numbers_come_back_in_their_units_shape_and_dtype(name, dtype):
    raw_shape, kind, shape = SHAPES[name]
    x = RANDOM.uniform(1, 100, (50, *raw_shape)).astype(dtype)
    data = from_user(x)
    assert (data.kind, data.shape, data.size()) == (kind, shape, 50)
    scaled, back = everything(data)
    assert scaled.shape == (50, *shape)
    assert (back.shape, back.dtype) == (x.shape, DTYPES[dtype])
    np.testing.assert_allclose(back.astype(np.float64), x, rtol=2e-3 if "16" in dtype else 1e-5)
    assert scaled.mean() == pytest.approx(0, abs=1e-5)
    assert scaled.std() == pytest.approx(1, abs=1e-5)
    if kind == "vector":
        np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("raw_shape", "shape", "kind"),
    [
        ((8, 7, 3), (8, 7, 3), "image"),
        ((8, 7), (8, 7, 1), "image"),
        ((4, 8, 7, 1), (4, 8, 7, 1), "volume"),
        ((9,), (9,), "vector"),
    ],
)
def test_bytes_come_back_as_the_same_bytes(raw_shape, shape, kind):
    x = RANDOM.integers(0, 256, (20, *raw_shape), np.uint8)
    data = from_user(x)
    assert (data.kind, data.shape) == (kind, shape)
    scaled, back = everything(data)
    assert scaled.shape == (20, *shape)
    assert -1 <= scaled.min() < -0.9
    assert 0.9 < scaled.max() <= 1
    assert back.dtype == np.uint8
    assert np.array_equal(back, x)
    assert data.info().with_channels(back).shape == (20, *shape)


@pytest.mark.parametrize("size", [1.7e9, 1.7e15, 1e-30])
def test_large_offsets_and_small_spans_cost_no_digits(size):
    """Of seconds since 1970 and the like: float32 alone is good to 128 s."""
    x = size + (1e-9 * size) * RANDOM.normal(size=(500, 2))
    scaled, back = everything(from_user(x))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    tolerance = 4 * np.spacing(size) / x.std()  # x itself is good to one spacing of float64
    np.testing.assert_allclose(scaled, z, atol=1e-6 + tolerance)
    np.testing.assert_allclose(
        back - size, x - size, rtol=0, atol=2e-6 * x.std() + 2 * size * 1e-15
    )


def test_a_feature_that_never_changes_is_kept():
    x = np.stack([RANDOM.normal(0, 3, 100), np.full(100, 5.0), RANDOM.normal(0, 4, 100)], axis=1)
    data = from_user(x)
    scaled, back = everything(data)
    assert np.all(scaled[:, 1] == 0)
    np.testing.assert_allclose(back, x, atol=1e-5)
    stds = x.std(axis=0)[[0, 2]]
    assert data.scaling.stds[1] == pytest.approx(np.sqrt(np.mean(stds**2)))


def test_a_kind_may_be_named_and_adds_its_channel_axis():
    x = RANDOM.normal(size=(10, 8, 7)).astype(np.float32)
    assert from_user(x).kind == "signal"
    data = InMemory(x, kind="image")
    assert (data.kind, data.shape) == ("image", (8, 7, 1))
    np.testing.assert_allclose(everything(data)[1], x, atol=1e-6)
    assert InMemory(x[:, 0], kind="signal").shape == (7, 1)
    signals = InMemory(RANDOM.integers(0, 256, (10, 8, 2), np.uint8), kind="signal")
    assert (signals.kind, signals.shape, signals.raw_shape) == ("signal", (8, 2), None)
    deep = RANDOM.normal(size=(4, 2, 2, 2, 2, 2))
    assert InMemory(deep, kind="vector").shape == (2, 2, 2, 2, 2)


def test_labels_follow_their_examples_in_training():
    x = np.arange(12.0)
    for data in (
        from_user(x, labels=np.arange(12) % 3),
        from_user((x, list(np.arange(12.0) % 3))),
        from_user(tf.data.Dataset.from_tensor_slices((x, np.arange(12) % 3))),
    ):
        assert np.array_equal(data.labels(), np.arange(12) % 3)
        distribution = Distribution(1)
        batches = training_batches(data, distribution, 5, seed=1, condition=classes(3))
        for batch in itertools.islice(batches, 6):
            some, some_labels = distribution.first(batch)
            values = np.rint(data.info().unscale(some))
            assert np.array_equal(values % 3, some_labels)
        with pytest.raises(ValueError, match="num_classes = 3"):
            next(training_batches(data, distribution, 5, seed=1, condition=classes(2)))


def test_held_out_examples_are_chosen_or_passed_and_scaled_as_training():
    x, held = RANDOM.normal(5, 2, (40, 2)), RANDOM.normal(9, 2, (7, 2))
    with pytest.raises(ValueError, match=r"no held-out examples.*test_every=10.*validation="):
        from_user(x).require("test")
    assert from_user(x).size("test") == 0
    data = from_user((x, np.arange(40)), test_every=4)
    assert (data.size(), data.size("test")) == (30, 10)
    np.testing.assert_allclose(everything(data, "test")[1], x[::4], atol=1e-5)
    assert np.array_equal(data.labels("test"), np.arange(40)[::4])
    kept = np.delete(x, np.s_[::4], axis=0)
    np.testing.assert_allclose(data.scaling.means, kept.mean(axis=0))
    for source in (x, tf.data.Dataset.from_tensor_slices(x)):
        for validation in (held, tf.data.Dataset.from_tensor_slices(held)):
            if source is x and validation is not held:
                validation = (held, np.arange(7))
            data = from_user(source, validation=validation)
            scaled, back = everything(data, "test")
            np.testing.assert_allclose(back, held, atol=1e-5)
            np.testing.assert_allclose(scaled, (held - x.mean(axis=0)) / x.std(axis=0), atol=1e-5)
            data.require("test")
    with pytest.raises(ValueError, match="got both"):
        from_user(x, test_every=4, validation=held)
    with pytest.raises(ValueError, match=r"must look like x: float64 \[N, 2\]; got"):
        from_user(x, validation=held[:, :1])


def test_a_dataset_is_returned_as_it_is():
    digits = Digits()
    assert from_user(digits) is digits
    with pytest.raises(ValueError, match="digits is a dataset already"):
        from_user(digits, labels=[1])
    with pytest.raises(ValueError, match="digits is a dataset already"):
        from_user(digits, validation=np.ones((3, 8, 8, 1)))


def broken(value):
    x = RANDOM.normal(size=(9, 3))
    x[4, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((5, 2)), r"All numbers of x are 1: there is nothing to learn"),
        (np.zeros((5, 4, 4, 3), np.uint8), "nothing to learn"),
        (broken(np.nan), r"NaN or infinity; the first is in example 4 of 9.*isfinite"),
        (broken(-np.inf), "NaN or infinity; the first is in example 4"),
        (
            broken(1e200),
            "Feature 1 of x has values from .* to 1e.200, .* one number in float32.*outliers",
        ),
        (np.ones((0, 2)), r"must hold examples .*shape \(0, 2\)"),
        (np.ones((4, 0)), r"must hold examples .*shape \(4, 0\)"),
        (3.0, "must hold examples"),
        (np.ones((1, 2)), r"at least 2 examples; got an array of shape \(1, 2\)"),
        (np.array([{"a": 1}, {"a": 2}]), "x holds object"),
        (["a", "b"], "x holds <U1"),
        ({"x": [1.0, 2.0]}, "x holds object"),
        (np.array([True, False]), "x holds bool"),
        (np.ones((3, 2), complex), "x holds complex128"),
        ([[1.0, 2.0], [3.0]], "equal examples.*Resize or pad"),
        (np.ones((3, 1, 2, 3, 4, 5)), r'0 to 4 axes.*kind="vector"'),
        ((np.ones(3), np.ones(3), np.ones(3)), "is a pair .*got 3 entries"),
        ((np.arange(3.0), [0, 1]), "one integer for each of the 3 examples"),
        ((np.arange(3.0), [0.5, 1, 2]), "one integer for each"),
        ((np.arange(3.0), np.eye(3)), r"one-hot labels take labels\.argmax"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_with_the_remedy(x, message):
    with pytest.raises(ValueError, match=message):
        from_user(x)


def test_held_out_values_beyond_float32_are_refused():
    x = 1e-30 * RANDOM.normal(size=(50, 1))
    with pytest.raises(ValueError, match="held-out examples hold values that float32 cannot"):
        from_user(x, validation=np.array([[1e30]]))


def test_wrong_kinds_are_refused():
    with pytest.raises(ValueError, match="a kind of .*'sound'"):
        InMemory(np.arange(5.0), kind="sound")
    with pytest.raises(ValueError, match="'volume' have 4 axes"):
        InMemory(RANDOM.normal(size=(5, 3)), kind="volume")


# tf.data


def slices(x, *labels):
    return tf.data.Dataset.from_tensor_slices((x, *labels) if labels else x)


def _kinds():
    """Every shape in one dtype, and one shape in every dtype; the rest of the product is slow."""
    for name, dtype, batched in itertools.product(
        SHAPES, ("float32", "float64", "int32", "uint8"), (False, True)
    ):
        quick = batched and (dtype == "uint8" or name == next(iter(SHAPES)))
        yield pytest.param(name, dtype, batched, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("name", "dtype", "batched"), _kinds())
def test_tf_data_is_measured_and_comes_back(name, dtype, batched):
    raw_shape, kind, shape = SHAPES[name]
    if (name, dtype) == ("signals", "uint8"):
        kind, shape = "image", (16, 2, 1)  # bytes with two axes are a grey image
    x = RANDOM.uniform(0, 250, (30, *raw_shape)).astype(dtype)
    source = slices(x).batch(8) if batched else slices(x)
    data, array = FromTFData(source), InMemory(x)
    assert data.info().scaling == array.info().scaling
    assert (data.kind, data.shape, data.size()) == (kind, shape, 30)
    np.testing.assert_array_equal(everything(data)[0], everything(array)[0])
    assert everything(data)[1].dtype == everything(array)[1].dtype
    batch = next(iter(data.training_pipeline(7, seed=0)))
    np.testing.assert_array_equal(batch, everything(array)[0][:7])
    assert data.training_pipeline(7, seed=0).element_spec.shape == (7, *shape)


def test_grey_images_of_tf_data_come_back_without_a_channel_axis():
    x = RANDOM.integers(0, 256, (9, 6, 6), np.uint8)
    data = from_user(slices(x).batch(4))
    assert data.shape == (6, 6, 1)
    assert np.array_equal(everything(data)[1], x)


def counting(n=None):
    """The numbers 0, 1, …, a generator's, so of unknown length."""

    def numbers():
        yield from (range(n) if n else itertools.count())

    spec = tf.TensorSpec((), tf.int64)
    return tf.data.Dataset.from_generator(numbers, output_signature=spec)


@pytest.mark.parametrize("source", [counting(20), counting(), tf.data.Dataset.range(20)])
def test_the_order_is_the_users_and_shards_and_resuming_keep_it(source):
    data = from_user(source)
    finite = data.size() == 20

    def read(replicas, start_step, steps=8):
        distribution = Distribution(replicas)
        batches = training_batches(data, distribution, 6, seed=3, start_step=start_step)
        got = [distribution.concat(next(batches)).numpy() for _ in range(steps)]
        return np.rint(data.info().unscale(np.concatenate(got))).astype(int)

    expected = np.arange(48) % 20 if finite else np.arange(48)
    assert np.array_equal(read(1, 0), expected)
    assert np.array_equal(read(2, 0), expected)
    assert np.array_equal(read(2, 3, 5), expected[18:])
    # Several workers and uneven shards: each takes its own part of the same global batch.
    parts = data.training_pipeline(6, 0, 2, shards=((0, 2), (3, 3)))
    unscaled = [np.rint(data.info().unscale(part)).tolist() for part in parts.take(4)]
    assert unscaled == [expected[a:b].tolist() for a, b in ((12, 14), (15, 18), (18, 20), (21, 24))]


def test_a_long_dataset_holds_its_first_examples_only():
    data = from_user(tf.data.Dataset.range(10_000))
    assert data.size() is None
    assert np.array_equal(np.rint(data.info().unscale(data.some_examples(5))), np.arange(5))
    assert len(data.some_examples(10_000)) == 4_096
    with pytest.raises(ValueError, match=r"no random access: the first 4,096 .*index 5,000"):
        data.examples([3, 5_000])
    assert data.scaling.means[0] == pytest.approx(4_095 / 2)
    evaluation = data.pipeline(tf.data.Dataset.range(8).batch(4))
    assert np.array_equal(np.rint(data.info().unscale(next(iter(evaluation)))), np.arange(4))


def test_labels_beyond_num_classes_are_found_where_they_come():
    x, labels = np.arange(5_000.0), np.arange(5_000) // 4_500
    data = from_user(slices(x, labels))
    batches = iter(data.training_pipeline(2_500, 0, condition=classes(1)))
    next(batches)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels out of"):
        next(batches)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (slices({"image": np.ones((4, 2))}), "yields examples x or pairs.*dataset.map"),
        (slices(["a", "b"]), "must be numbers; got string"),
        (slices([True, False]), "must be numbers; got bool"),
        (slices(np.arange(4.0), np.arange(4.0)), "one integer for each example; got float64"),
        (slices(np.arange(4.0), np.eye(4, dtype=int)), "one integer for each example"),
        (slices(np.arange(1.0)), "at least 2 examples; got 1"),
        (slices(np.arange(4.0)).filter(lambda x: x > 9), "at least 2 examples; got 0"),
        (slices(np.ones((4, 2))), "nothing to learn"),
        (slices(broken(np.nan)), "NaN or infinity"),
        (
            tf.data.Dataset.from_generator(
                lambda: iter([[1.0]]), output_signature=tf.TensorSpec([None, None], tf.float32)
            ),
            "one known shape.*ensure_shape",
        ),
        (
            tf.data.Dataset.from_generator(
                lambda: iter([[1.0]]), output_signature=tf.TensorSpec(None, tf.float32)
            ),
            "known rank",
        ),
    ],
)
def test_tf_data_that_cannot_be_used_is_refused_with_the_remedy(source, message):
    with pytest.raises(ValueError, match=message):
        from_user(source)


def test_labels_beside_tf_data_are_refused():
    with pytest.raises(ValueError, match=r"Dataset\.zip"):
        from_user(slices(np.arange(4.0)), labels=[0, 1, 2, 3])


def test_pairs_batched_with_a_known_size_are_unbatched():
    x = RANDOM.normal(size=(12, 3))
    data = from_user(slices(x, np.arange(12)).batch(4, drop_remainder=True))
    assert (data.shape, data.size()) == ((3,), 12)
    assert np.array_equal(data.labels(), np.arange(12))
