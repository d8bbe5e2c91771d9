"""Arrays in WebDataset shards are those of NumPy's files, from memory and by offset."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import Arrays, WebArrays
from lcss_tf.errors import UsageError
from tests.data import sources

X = np.random.default_rng(0).normal(size=(20, 6, 2)).astype(np.float32)
LABELS = np.arange(20) % 3


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def write(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            sources.add(archive, name, content)
    return str(path)


def write_shards(folder, x, texts=("",) * 20, shards=2):
    """Shards of arrays, labels, and texts of any length, which change the distances."""
    for shard, part in enumerate(np.array_split(np.arange(len(x)), shards)):
        members = []
        for k in part:
            members += [(f"{k:03}.npy", npy(x[k])), (f"{k:03}.cls", str(LABELS[k]).encode())]
            members += [(f"{k:03}.txt", texts[k].encode())]
        write(folder / f"a-{shard}.tar", members)
    return str(folder / f"a-{{0..{shards - 1}}}.tar")


@pytest.mark.parametrize("memory", [2**30, 100], ids=["memory", "by offset"])
@pytest.mark.parametrize("even", [True, False], ids=["even", "uneven"])
def test_shards_give_what_a_file_gives(tmp_path, monkeypatch, memory, even):
    monkeypatch.setattr("lcss_tf.data.web_arrays.MEMORY_BYTES", memory)
    monkeypatch.setattr("lcss_tf.data.arrays.MEMORY_BYTES", memory)
    np.savez(tmp_path / "x.npz", x=X, labels=LABELS)
    texts = [""] * 20 if even else ["y" * (k * k * 7) for k in range(20)]
    here = WebArrays(write_shards(tmp_path, X, texts), (6, 2))
    monkeypatch.setattr("lcss_tf.data.arrays.MEMORY_BYTES", 2**30)
    there = Arrays(tmp_path / "x.npz", (6, 2))
    there.require()
    monkeypatch.setattr("lcss_tf.data.arrays.MEMORY_BYTES", memory)
    assert (here.kind, here.name) == ("signal", "a")
    for split in ("train", "test"):
        indices = tf.range(here.size(split), dtype=tf.int64)
        assert np.array_equal(here.raw(indices, split), there.raw(indices, split))
        assert np.array_equal(here.labels(split), there.labels(split))
    assert np.allclose(here.scaling.means, there.scaling.means, rtol=1e-12)  # summed in parts
    assert np.allclose(here.scaling.stds, there.scaling.stds, rtol=1e-12)
    if memory > 100:  # another hash where examples are read from files
        assert here.fingerprint() == there.fingerprint()
    read = lambda start: list(here.training_pipeline(4, 1, start).take(2))
    assert np.array_equal(list(here.training_pipeline(4, 1).take(5))[3:], read(3))


def test_names_and_held_out_shards(tmp_path):
    write_shards(tmp_path, X)
    (tmp_path / "classes.txt").write_text("cat\ndog\nbee")
    data = WebArrays(tmp_path / "a-0.tar", (6, 2), test_pattern=str(tmp_path / "a-1.tar"))
    assert data.class_names() == ["cat", "dog", "bee"]
    assert (data.size(), data.size("test")) == (10, 10)
    assert data.labels("test").tolist() == LABELS[10:].tolist()


def test_examples_without_an_array_or_not_finite_are_named_or_left_out(tmp_path, caplog):
    x = X.copy()
    x[3, 2, 1] = np.nan
    members = [(f"{k}.npy", npy(x[k])) for k in range(8)] + [("9.txt", b"none")]
    path = write(tmp_path / "a.tar", members)
    with pytest.raises(UsageError, match=r"1 of 9 examples of a have no field 'npy'.*a\.tar:9\.\*"):
        WebArrays(path, (6, 2)).require()
    data = WebArrays(path, (6, 2), on_bad_example="skip")
    assert data.size() + data.size("test") == 7
    assert "hold NaN or infinity" in caplog.text


def test_what_is_no_example_is_left_out(tmp_path):
    members = [(f"{k}.npy", npy(X[k])) for k in range(8)]
    path = write(tmp_path / "a.tar", [("README.md", b"x"), *members, ("list.json", b"{}")])
    alone = write(tmp_path / "b.tar", members)
    here, there = WebArrays(path, (6, 2)), WebArrays(alone, (6, 2))
    assert here.fingerprint() == there.fingerprint()


REFUSED = {
    "no array": (b"a text, and no array", r"000\.npy is no array of NumPy: it is a text"),
    "empty": (b"", "is no array of NumPy: it is empty"),
    "a pickle": (npy(np.array([{}, {}], object), allow_pickle=True), "holds Python objects"),
    "pickled": (pickle.dumps(X[0]), "is no array of NumPy: it is a pickle"),
    "another shape": (npy(X[0, :5]), r"array of shape \(5, 2\), and WebArrays.shape = \(6, 2\)"),
    "cut": (npy(X[0])[:-4], "claims 48 bytes of numbers in C's order, and 44 are there"),
    "more": (npy(X[0]) + b"x", "claims 48 bytes of numbers in C's order, and 49 are there"),
    "Fortran": (npy(np.asfortranarray(X[0])), "in the order of Fortran"),
    "words": (npy(np.full((6, 2), "a")), "training takes numbers"),
    "another dtype": (npy(X[0].astype(np.float64)), "Save them in one dtype"),
}


@pytest.mark.parametrize("memory", [2**30, 100], ids=["memory", "by offset"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_array_is_named(tmp_path, monkeypatch, name, memory):
    monkeypatch.setattr("lcss_tf.data.web_arrays.MEMORY_BYTES", memory)
    content, message = REFUSED[name]
    rest = [(f"{k:03}.npy", npy(X[k])) for k in range(1, 4)]
    path = write(tmp_path / "a.tar", [("000.npy", content), *rest])
    with pytest.raises(UsageError, match=message):
        WebArrays(path, (6, 2), test_every=2).require()
