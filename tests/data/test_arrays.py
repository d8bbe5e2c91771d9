import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import Arrays, DataInfo, arrays, index_batches
from lcss_tf.errors import UsageError

RANDOM = np.random.default_rng(0)
SHAPES = {"vector": (5,), "signal": (16, 2), "volume": (4, 6, 6, 1)}


def saved(path, array):
    np.save(path, array)
    return path


def everything(data, split="train"):
    return data.info().unscale(data.examples(tf.range(data.size(split), dtype=tf.int64), split))


@pytest.fixture(params=["memory", "files"])
def place(request, monkeypatch):
    """From memory, and as if the data were too large for it."""
    if request.param == "files":
        monkeypatch.setattr(arrays, "MEMORY_BYTES", 0)
    return request.param


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, np.float16])
def test_arrays_of_any_rank_come_back(tmp_path, place, kind, dtype):
    array = (RANDOM.uniform(0, 100, (23, *SHAPES[kind]))).astype(dtype)
    data = Arrays(saved(tmp_path / "x.npy", array), SHAPES[kind])
    assert data.kind == kind
    held_out = np.arange(23) % 10 == 0
    assert np.allclose(everything(data), array[~held_out], atol=5e-5)  # of 100, in float32
    assert np.allclose(everything(data, "test"), array[held_out], atol=5e-5)
    x = data.examples(tf.range(20, dtype=tf.int64)).numpy()
    if dtype == np.uint8:
        assert np.array_equal(everything(data), array[~held_out])
        assert x.min() >= -1
        assert x.max() <= 1
    else:
        assert x.std() == pytest.approx(1.0, abs=0.05)
    assert DataInfo.from_json(data.info().to_json()) == data.info()


def test_archives_hold_labels_and_are_read_compressed_or_not(tmp_path, place):
    array, labels = RANDOM.normal(size=(12, 8, 1)).astype(np.float32), np.arange(12) % 3
    np.savez(tmp_path / "plain.npz", signals=array, labels=labels)
    data = Arrays(tmp_path / "plain.npz", (8, 1))
    assert np.allclose(everything(data), array[np.arange(12) % 10 != 0], atol=1e-6)
    assert np.array_equal(data.labels(), labels[np.arange(12) % 10 != 0])
    np.savez_compressed(tmp_path / "small.npz", signals=array, other=array[:, 0])
    with pytest.raises(ValueError, match=r"holds the arrays \['signals', 'other'\].*Arrays.key"):
        Arrays(tmp_path / "small.npz", (8, 1)).require()
    data = Arrays(tmp_path / "small.npz", (8, 1), key="signals")
    if place == "memory":
        assert np.allclose(everything(data, "test"), array[[0, 10]], atol=1e-6)
    else:
        with pytest.raises(ValueError, match=r"compressed.*numpy\.save"):
            data.require()


def test_the_pipeline_is_static_and_the_last_axis_may_be_left_out(tmp_path, place):
    data = Arrays(saved(tmp_path / "x.npy", np.zeros((9, 8)) + np.arange(9)[:, None]), (8, 1))
    batches = data.pipeline(index_batches(data.size(), 4, 0))
    assert batches.element_spec.shape == (4, 8, 1)
    batch = data.info().unscale(next(iter(batches)))
    assert np.all(batch == batch[:, :1])


def test_pickles_are_refused(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"bad\.npy holds Python objects .*never"):
        Arrays(tmp_path / "bad.npy", (3,)).require()
    (tmp_path / "raw.npy").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ValueError, match=r"raw\.npy (holds Python objects|cannot be read)"):
        Arrays(tmp_path / "raw.npy", (3,)).require()
    np.savez(tmp_path / "bad.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"bad\.npz holds Python objects"):
        Arrays(tmp_path / "bad.npz", (3,)).require()


def test_what_is_not_finite_is_an_error_or_is_left_out_and_counted(tmp_path, caplog):
    array = RANDOM.normal(size=(20, 4))
    array[7, 2], array[11, 0] = np.nan, np.inf
    path = saved(tmp_path / "x.npy", array)
    with pytest.raises(
        ValueError, match=r"2 of 20 examples.*example 7 of .*x\.npy.*on_bad_example"
    ):
        Arrays(path, (4,)).require()
    data = Arrays(path, (4,), on_bad_example="skip")
    with caplog.at_level("WARNING", logger="absl"):
        assert data.size() + data.size("test") == 18
    assert "2 of 20 examples" in caplog.text
    assert np.isfinite(everything(data)).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["a", "b"]] * 4), "holds <U1"),
        (np.ones((4, 2), complex), "holds complex128"),
        (np.ones((4, 2), bool), "holds bool"),
        (np.ones((4, 3)), r"shape \(4, 3\).*Arrays.shape = \(2,\)"),
        (np.ones((4, 2)), "nothing to learn"),
        (np.ones((0, 2)), "holds no examples"),
        (np.ones((1, 2)), "0 examples for training"),
    ],
)
def test_wrong_arrays_are_refused_with_the_remedy(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        Arrays(saved(tmp_path / "x.npy", array), (2,)).require()


def test_half_a_file_and_no_file(tmp_path):
    path = saved(tmp_path / "x.npy", np.ones((100, 2)))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"x\.npy cannot be read"):
        Arrays(path, (2,)).require()
    with pytest.raises(FileNotFoundError, match=r"Set Arrays\.path"):
        Arrays(tmp_path / "none.npy", (2,)).require()
    with pytest.raises(ValueError, match="1 to 4 axes"):
        Arrays(path, (1, 2, 3, 4, 5))


def test_a_file_of_its_own_holds_the_test_split(tmp_path, place):
    x, labels = RANDOM.integers(0, 256, (9, 6, 5), np.uint8), np.arange(9) % 3
    np.savez(tmp_path / "a.npz", x=x[:6], labels=labels[:6])
    np.savez(tmp_path / "b.npz", x=x[6:], labels=labels[6:])
    data = Arrays(tmp_path / "a.npz", (6, 5, 1), test_path=tmp_path / "b.npz")
    assert np.array_equal(everything(data)[..., 0], x[:6])
    assert np.array_equal(everything(data, "test")[..., 0], x[6:])
    assert np.array_equal(data.labels(), labels[:6])
    assert np.array_equal(data.labels("test"), labels[6:])
    np.savez(tmp_path / "c.npz", x=x[6:])
    with pytest.raises(ValueError, match=r"c\.npz holds no labels, and the other file does"):
        Arrays(tmp_path / "a.npz", (6, 5, 1), test_path=tmp_path / "c.npz").require()
    np.savez(tmp_path / "d.npz", x=x[6:].astype(np.float32), labels=labels[6:])
    with pytest.raises(ValueError, match=r"d\.npz holds float32 and .*a\.npz uint8"):
        Arrays(tmp_path / "a.npz", (6, 5, 1), test_path=tmp_path / "d.npz").require()
    with pytest.raises(FileNotFoundError, match=r"none\.npz.*Set Arrays\.test_path"):
        Arrays(tmp_path / "a.npz", (6, 5, 1), test_path=tmp_path / "none.npz").require()


def test_a_bad_example_for_testing_is_left_out_of_the_test_split(tmp_path):
    x = RANDOM.normal(size=(9, 4))
    x[7, 1] = np.nan
    options = {"test_path": saved(tmp_path / "b.npy", x[6:]), "on_bad_example": "skip"}
    data = Arrays(saved(tmp_path / "a.npy", x[:6]), (4,), **options)
    assert np.allclose(everything(data), x[:6], atol=1e-6)
    assert np.allclose(everything(data, "test"), x[[6, 8]], atol=1e-6)


def test_a_flipped_bit_in_an_archive_that_is_mapped_is_found(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(4_000, dtype=np.float32).reshape(-1, 4))
    Arrays(path=str(path), shape=(4,)).require("train")
    content = bytearray(path.read_bytes())
    content[5_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match="checksum"):
        Arrays(path=str(path), shape=(4,)).require("train")
