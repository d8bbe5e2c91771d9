"""Moments and resolution of numbers of any size, and the sources that scale by them."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import Arrays, DataInfo, Scaling, Table, arrays, from_user
from lcss_tf.data.moments import RunningMoments, root_mean_square, unresolved

Z = np.random.default_rng(3).normal(size=(60, 2))
# Each far beyond what float32 resolves, or holds.
SIZES = {
    "seconds since 1970": 1.7e9 + 10 * Z,
    "beyond float32": 1e39 * Z,
    "below float32": 1e-42 * Z,
    "squares beyond float64": 1e160 * Z,
    "squares below float64": 1e-170 * Z,
    "near the end of float64": 1e307 * Z,
    "near the end, off centre": 1.2e308 + 1e306 * Z,
    "near the beginning": 1e-300 * Z,
    "small on large": 1e200 + 1e190 * Z,
}


def standard(x):
    """Standardised by mean and deviation of each column, in extended precision."""
    x = x.astype(np.longdouble)
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float64)


def back(data, split="train"):
    """What comes back to a user, who has only the stored description."""
    scaled = data.examples(tf.range(data.size(split), dtype=tf.int64), split)
    assert np.isfinite(scaled).all()
    return DataInfo.from_json(data.info().to_json()).unscale(scaled)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("parts", [1, 7])
def test_moments_of_any_size_are_those_of_extended_precision(name, parts):
    x = SIZES[name]
    wide = x.astype(np.longdouble)
    for axis in (0, None):
        moments = RunningMoments(axis)
        for part in np.array_split(x, parts):
            moments.add(part)
        resolution = np.spacing(np.abs(x).max())
        np.testing.assert_allclose(
            moments.mean, wide.mean(axis=axis).astype(float), rtol=1e-12, atol=2 * resolution
        )
        np.testing.assert_allclose(
            moments.std, wide.std(axis=axis).astype(float), rtol=1e-9, atol=2 * resolution
        )
        assert np.array_equal(moments.low, x.min(axis=axis))
        assert np.array_equal(moments.high, x.max(axis=axis))


def test_parts_of_very_different_size_merge():
    x = np.concatenate([1e-200 * Z[:20, 0], 1e150 * Z[20:40, 0], 3e5 * Z[40:, 0]])
    moments = RunningMoments()
    for part in np.array_split(x, 3):
        moments.add(part)
    wide = x.astype(np.longdouble)
    assert moments.mean == pytest.approx(float(wide.mean()), rel=1e-12)
    assert moments.std == pytest.approx(float(wide.std()), rel=1e-12)
    assert root_mean_square(np.array([3e200, 4e200])) == pytest.approx(np.sqrt(12.5) * 1e200)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("source", ["fit", "array", "table"])
def test_numbers_of_any_size_are_standardised_and_come_back_as_float64(tmp_path, name, source):
    x = SIZES[name]
    if source == "fit":
        data, kept = from_user(x), x
        expected = standard(x)
    elif source == "table":
        path = tmp_path / "t.csv"
        path.write_text("a,b\n" + "\n".join(f"{a!r},{b!r}" for a, b in x.tolist()))
        data, kept = Table(str(path), ("a", "b")), x[np.arange(60) % 5 != 0]
        expected = standard(kept)
    else:
        np.save(tmp_path / "x.npy", x)
        data, kept = Arrays(tmp_path / "x.npy", (2,)), x[np.arange(60) % 10 != 0]
        expected = standard(x.reshape(-1, 1)).reshape(x.shape)[np.arange(60) % 10 != 0]
    got = data.examples(np.arange(data.size()))
    spread = float(x.astype(np.longdouble).std())
    loss = 4 * float(np.spacing(np.abs(x).max())) / spread
    np.testing.assert_allclose(got, expected, atol=2e-6 + loss)
    again = back(data)
    assert again.dtype == np.float64
    np.testing.assert_allclose((again - kept) / spread, 0, atol=1e-6 + loss)


def test_numbers_that_are_read_from_their_file_are_scaled_as_those_in_memory(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", SIZES["beyond float32"])
    held = Arrays(tmp_path / "x.npy", (2,))
    expected = held.examples(np.arange(5))
    monkeypatch.setattr(arrays, "MEMORY_BYTES", 0)
    data = Arrays(tmp_path / "x.npy", (2,))
    np.testing.assert_array_equal(data.examples(np.arange(5)), expected)
    assert data.info() == held.info()


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", ">i8", "float32"])
def test_wide_integers_and_large_floats_with_a_range_keep_their_digits(tmp_path, dtype):
    x = (2**24 + 1 + np.arange(40).reshape(20, 2)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    for stored_range in (None, (2**24, 2**24 + 50)):
        data = Arrays(tmp_path / "x.npy", (2,), stored_range=stored_range)
        kept = x[np.arange(20) % 10 != 0].astype(np.float64)
        assert back(data).dtype == ("float32" if dtype == "float32" else "float64")
        np.testing.assert_allclose(back(data), kept, rtol=0, atol=1e-5)


def test_samples_beyond_the_last_number_end_there():
    scaling = Scaling.standardising([0.0], [1e308], "float64")
    assert scaling.unscale([9.0, -9.0, 0.5]).tolist() == [
        np.finfo(np.float64).max, -np.finfo(np.float64).max, 5e307,
    ]  # fmt: skip
    assert np.isnan(scaling.unscale([np.nan]))[0]
    assert Scaling.standardising([0.0], [6e4], "float16").unscale([2.0]) == 65_504
    assert scaling.log_slope == pytest.approx(-308 * np.log(10))
    assert scaling.scale([1.5e308, -1.5e308]).numpy() == pytest.approx([1.5, -1.5])
    assert Scaling.identity().scale([1.7e9 + 0.25]).dtype == tf.float32
    assert Scaling.standardising([1.7e9], [1.0]).scale([1.7e9 + 0.25]).numpy() == [0.25]


def test_ranges_that_float64_cannot_span_are_refused():
    for low, high in ((-1.7e308, 1.7e308), (0.0, np.inf), (0.0, 5e-324)):
        with pytest.raises(ValueError, match="float64 can hold"):
            Scaling(-1.0, 1.0, low, high, "float64")
    with pytest.raises(ValueError, match="all finite"):
        Scaling.standardising([0.0], [np.inf])


def test_values_that_float32_cannot_hold_after_scaling_are_named(tmp_path, caplog):
    x = np.tile(Z, (1, 1))
    x[7, 1] = 1e300
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"1 of 60 .*float32.*example 7 of .*x\.npy, with 1e\+300"):
        Arrays(tmp_path / "x.npy", (2,), stored_range=(-4, 4)).require()
    data = Arrays(tmp_path / "x.npy", (2,), stored_range=(-4, 4), on_bad_example="skip")
    assert data.size() + data.size("test") == 59
    rows = 1e-30 * Z
    rows[10, 1] = 1e30  # held out, so that it has no part in the moments
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "\n".join(f"{a!r},{b!r}" for a, b in rows.tolist()))
    with pytest.raises(ValueError, match=r"rows of .*t\.csv .*(row 11|line 12) holds 1e\+30"):
        Table(str(path), ("a", "b")).require()
    with pytest.raises(ValueError, match=r"example 1 holds 1e\+300"):
        from_user(Z).info().scale(np.array([[0.0, 0.0], [0.0, 1e300]]))


CONSTANT = {
    "a tenth": np.full(50, 0.1),
    "a third of float32": np.full(50, np.float32(1 / 3)),
    "one rounding apart": np.where(np.arange(50) % 2, 0.3, 0.1 + 0.2),
    "noise below the resolution": 1e6 + 1e-11 * Z[:50, 0],
    "in float32": (1e4 + 1e-5 * Z[:50, 0]).astype(np.float32),
    "integers that float64 cannot tell apart": 2**60 + np.arange(50),
    "negative": np.full(50, -1e-7),
    "huge": np.full(50, 1e308),
    "tiny": np.full(50, 1e-310),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_what_is_constant_but_for_rounding_is_refused_everywhere(tmp_path, name):
    column = CONSTANT[name]
    np.save(tmp_path / "x.npy", column[:, None])
    with pytest.raises(ValueError, match=r"nothing to learn.*x\.npy"):
        Arrays(tmp_path / "x.npy", (1,)).require()
    with pytest.raises(ValueError, match="nothing to learn"):
        from_user(column)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "\n".join(f"{float(a)!r},{k}" for k, a in enumerate(column)))
    if name != "in float32":  # as text the digits are those of float64
        with pytest.raises(ValueError, match=r"columns \['a'\] of .*t\.csv.*same number"):
            Table(str(path), ("a", "b")).require()
    # Beside others a feature that never changes is kept, at the others' spread.
    x = np.stack([column.astype(np.float64), 4 * Z[:50, 0]], axis=1)
    if name not in ("in float32", "huge"):
        data = from_user(x)
        assert np.abs(data.examples(np.arange(50))[:, 0]).max() < 1e-3
        np.testing.assert_allclose(data.scaling.stds, x[:, 1].std())
        np.testing.assert_allclose(back(data), x, rtol=1e-6, atol=1e-5)


def test_numbers_in_messages_are_plain(tmp_path):
    column = CONSTANT["one rounding apart"]
    np.save(tmp_path / "x.npy", column[:, None])
    for use in (Arrays(tmp_path / "x.npy", (1,)).require, lambda: from_user(column)):
        with pytest.raises(ValueError, match=r"from 0\.3 to 0\.30000000000000004"):
            use()


@pytest.mark.parametrize(
    "x",
    [
        np.float16(1000) + np.arange(50, dtype=np.float16) % 4,
        np.arange(50) % 2 + 2.0**40,
        np.eye(50)[0],
        1.7e9 + 1e-3 * Z[:50, 0],
        (1_000 + 0.01 * Z[:50, 0]).astype(np.float32),
    ],
)
def test_what_varies_by_more_than_rounding_is_data(x):
    data = from_user(x)
    np.testing.assert_allclose(back(data).astype(float), x.astype(float), rtol=1e-6, atol=1e-6)


def test_a_range_or_an_outlier_that_leaves_no_digits_is_refused(tmp_path):
    x = 0.7 + 1e-12 * Z
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match="one number in float32.*stored_range"):
        Arrays(tmp_path / "x.npy", (2,), stored_range=(0, 1)).require()
    Arrays(tmp_path / "x.npy", (2,)).require()
    far = Z.copy()
    far[8, 1] = 1e30
    with pytest.raises(ValueError, match="Feature 1 of x .*outliers"):
        from_user(far)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "\n".join(f"{a!r},{b!r}" for a, b in far.tolist()))
    with pytest.raises(
        ValueError, match=r"columns \['b'\] .*t\.csv.*'b' reaches from .* to 1e\+30"
    ):
        Table(str(path), ("a", "b")).require()
    mixed = np.stack([1.7e9 + 10 * Z[:, 0], Z[:, 1]], axis=1)
    np.save(tmp_path / "x.npy", mixed)
    with pytest.raises(ValueError, match="feature 0 of 2 become one number.*different sizes"):
        Arrays(tmp_path / "x.npy", (2,)).require()
    with pytest.raises(ValueError, match="Feature 0 of x .*different sizes"):
        from_user(mixed.reshape(30, 2, 2))
    np.testing.assert_allclose(back(from_user(mixed)), mixed, rtol=0, atol=1e-5)
    assert unresolved(far, Scaling.standardising([0, 1e28], [1, 1e29])).tolist() == [False, True]
