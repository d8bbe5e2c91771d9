"""IDX files: every dtype, plain and compressed; Fashion-MNIST found, fetched or asked for."""

import gzip
import os

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import files
from lcss_tf.data import TFDS, Dequantised, FashionMNIST, Idx, index_batches
from lcss_tf.data import idx as idx_module
from lcss_tf.data.idx_files import read_idx
from lcss_tf.errors import UsageError
from tests.data.helpers import IDX_CODES, classes, idx, write_family

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (12, 5, 4), np.uint8)
PRESSED = {"": bytes, ".gz": gzip.compress}


def everything(data, split="train"):
    return data.info().unscale(data.examples(np.arange(data.size(split)), split))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No place of this machine holds data: an empty home, cache and system."""
    for name in ("HOME", "KERAS_HOME", "TFDS_DATA_DIR", "LCSS_TF_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(idx_module, "_DEBIAN", str(tmp_path / "debian"))
    return tmp_path


@pytest.mark.parametrize("ending", PRESSED)
@pytest.mark.parametrize("code", IDX_CODES)
def test_numbers_of_every_dtype_come_back(tmp_path, code, ending):
    array = RANDOM.integers(0, 100, (12, 5, 4)).astype(code)
    path = tmp_path / f"x{ending}"
    path.write_bytes(PRESSED[ending](idx(array)))
    stored = read_idx(str(path), 2**20).array
    assert stored.dtype == array.dtype.newbyteorder(">")
    assert np.array_equal(stored, array)
    data = Idx(path, (5, 4, 1))
    held_out = np.arange(12) % 10 == 0
    assert np.allclose(everything(data)[..., 0], array[~held_out], atol=1e-4)
    assert np.allclose(everything(data, "test")[..., 0], array[held_out], atol=1e-4)


def test_the_folder_of_a_family_has_labels_and_a_test_split(tmp_path):
    images, labels = write_family(tmp_path, 10, None, ending="")
    data = Idx(tmp_path, class_names=("dark", "bright"))
    assert (data.kind, data.shape, data.size(), data.size("test")) == ("image", (28, 28, 1), 6, 4)
    assert np.array_equal(everything(data)[..., 0], images[:6])
    assert np.array_equal(everything(data, "test")[..., 0], images[6:])
    assert np.array_equal(data.labels(), labels[:6])
    assert np.array_equal(data.labels("test"), labels[6:])
    assert data.class_names() == ["dark", "bright"]
    assert data.scaling.levels == 256
    x, y = next(iter(data.pipeline(index_batches(6, 3, 0), condition=classes(2))))
    assert (x.shape, y.shape) == ((3, 28, 28, 1), (3,))
    assert (float(tf.reduce_min(x)), float(tf.reduce_max(x))) >= (-1.0, 0.0)
    assert Idx(tmp_path, centered=False).scaling.low == 0
    same = Idx(
        tmp_path / "train-images-idx3-ubyte",
        labels_path=tmp_path / "train-labels-idx1-ubyte",
        test_path=tmp_path / "t10k-images-idx3-ubyte",
        test_labels_path=tmp_path / "t10k-labels-idx1-ubyte",
    )
    assert same.fingerprint() == data.fingerprint()
    (tmp_path / "emnist-letters-train-images-idx3-ubyte.gz").touch()
    with pytest.raises(UsageError, match="several data sets.*Give the files themselves"):
        Idx(tmp_path).require()


def test_colours_and_vectors_have_their_own_axes(tmp_path):
    (tmp_path / "colour").write_bytes(idx(RANDOM.integers(0, 256, (12, 5, 4, 3), np.uint8)))
    assert everything(Idx(tmp_path / "colour", (5, 4, 3))).shape == (10, 5, 4, 3)
    (tmp_path / "vectors").write_bytes(idx(RANDOM.normal(size=(12, 7)).astype(np.float32)))
    data = Idx(tmp_path / "vectors", (7,), stored_range=(-4, 4))
    assert (data.kind, data.scaling.stored_high) == ("vector", 4)


WHOLE = idx(GREY)
BAD = {
    "magic": (b"\1" + WHOLE[1:], "is no IDX file"),
    "dtype": (WHOLE[:2] + b"\x07" + WHOLE[3:], "is no IDX file.*0x08"),
    "no axes": (WHOLE[:3] + b"\0", "is no IDX file"),
    "empty": (b"", "is no IDX file: it is empty"),
    "a web page": (b"<!DOCTYPE html><html></html>", "it is a web page"),
    "header": (WHOLE[:9], "ends within its header of 3 axes"),
    "truncated": (WHOLE[:-1], "claims 12×5×4 numbers of uint8, 240 bytes, and holds 239"),
    "longer": (WHOLE + b"\0", "240 bytes, and holds"),
    "count": (WHOLE[:4] + b"\xff\xff\xff\xff" + WHOLE[8:], "claims 4294967295×5×4"),
    "axes": (WHOLE[:3] + b"\xff" + b"\xff" * 2000, "is no IDX file"),
    "no images": (WHOLE[:4] + bytes(4) + WHOLE[8:16], "holds no examples"),
}


@pytest.mark.parametrize("ending", PRESSED)
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_idx_file_is_refused(tmp_path, name, ending):
    content, message = BAD[name]
    path = tmp_path / f"x{ending}"
    path.write_bytes(PRESSED[ending](content))
    with pytest.raises(UsageError, match=message):
        Idx(path, (5, 4, 1)).require()


def test_a_compressed_file_is_unpacked_no_further_than_it_claims(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(WHOLE[:16] + bytes(50_000_000)))
    with pytest.raises(UsageError, match="240 bytes, and holds more"):
        Idx(path, (5, 4, 1)).require()
    path.write_bytes(gzip.compress(WHOLE)[:-20])
    with pytest.raises(UsageError, match=r"x\.gz cannot be unpacked.*truncated"):
        Idx(path, (5, 4, 1)).require()
    path.write_bytes(gzip.compress(WHOLE))
    with pytest.raises(UsageError, match="Unpack it by gunzip"):
        read_idx(str(path), 239)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(11, np.uint8), r"one integer for each of the 12 examples; got uint8 .*\(11,\)"),
        (np.zeros(12, np.float32), "got float32"),
        (np.zeros((12, 2), np.uint8), r"\(12, 2\)"),
        (np.full(12, 3, np.uint8), "labels of x run to 3, and 2 classes have names"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, message):
    (tmp_path / "x").write_bytes(WHOLE)
    (tmp_path / "y").write_bytes(idx(labels))
    data = Idx(tmp_path / "x", (5, 4, 1), tmp_path / "y", class_names=("a", "b"))
    with pytest.raises(UsageError, match=message):
        data.require()


def test_parts_that_do_not_fit_together_are_refused(tmp_path):
    for name, array in {
        "x": GREY,
        "wide": GREY.astype(np.int16),
        "y": np.zeros(12, np.uint8),
    }.items():
        (tmp_path / name).write_bytes(idx(array))
    x, y, wide = (tmp_path / name for name in ("x", "y", "wide"))
    with pytest.raises(UsageError, match="wide holds int16 and .*x uint8"):
        Idx(x, (5, 4, 1), test_path=wide).require()
    with pytest.raises(UsageError, match="x holds no labels, and the other file does"):
        Idx(x, (5, 4, 1), y, test_path=x).require()
    with pytest.raises(UsageError, match="needs test_path"):
        Idx(x, (5, 4, 1), y, test_labels_path=y)
    with pytest.raises(UsageError, match=r"Idx\.shape = \(28, 28, 1\) asks for"):
        Idx(x).require()
    with pytest.raises(FileNotFoundError, match=r"Set Idx\.labels_path"):
        Idx(x, (5, 4, 1), tmp_path / "none").require()
    with pytest.raises(FileNotFoundError, match="holds no train-images-idx3-ubyte"):
        Idx(tmp_path).require()


def test_fashion_mnist_is_found_where_it_may_lie(nowhere):
    data = FashionMNIST()
    assert (data.shape, data.info().scaling.levels) == ((28, 28, 1), 256)  # known without the data
    assert Dequantised(data).shape == (28, 28, 1)
    with pytest.raises(FileNotFoundError) as caught:
        data.require()
    for word in ("apt-get install dataset-fashion-mnist", "train-labels-idx1-ubyte.gz", "http://",
                 "FashionMNIST.download", "FashionMNIST.data_dir", str(nowhere)):  # fmt: skip
        assert word in str(caught.value)
    for place in ("debian", "TFDS_DATA_DIR/fashion_mnist", "KERAS_HOME/datasets/fashion-mnist",
                  "LCSS_TF_CACHE/fashion_mnist", "mine"):  # fmt: skip
        images, labels = write_family(nowhere / place, 10, None)
        data = FashionMNIST(nowhere / "mine" if place == "mine" else None)
        assert np.array_equal(everything(data, "test")[..., 0], images[6:])
        assert np.array_equal(data.labels(), labels[:6])
        assert data.class_names()[9] == "ankle boot"
        for name in os.listdir(nowhere / place):
            os.unlink(nowhere / place / name)
    (nowhere / "mine" / "train-images-idx3-ubyte").write_bytes(WHOLE)
    with pytest.raises(FileNotFoundError, match="mine lacks train-labels-idx1-ubyte"):
        FashionMNIST(nowhere / "mine").require()


def test_fashion_mnist_is_fetched_if_asked_and_verified(nowhere, monkeypatch):
    images, _ = write_family(nowhere / "server", 10, None)
    asked = []

    def download(url, path, timeout_s=30.0):
        asked.append(url.rpartition("/")[2])
        files.write_bytes(path, (nowhere / "server" / asked[-1]).read_bytes())

    monkeypatch.setattr(files, "download", download)
    with pytest.raises(UsageError, match="SHA-256 .*; expected 3aede38d.*It was removed"):
        FashionMNIST(download=True).require()
    assert not list((nowhere / "LCSS_TF_CACHE").rglob("*ubyte*"))
    known = {path.name: files.sha256(path) for path in (nowhere / "server").iterdir()}
    monkeypatch.setattr(idx_module, "_SHA256", known)
    asked.clear()
    assert np.array_equal(everything(FashionMNIST(download=True))[..., 0], images[:6])
    assert sorted(asked) == sorted(known)
    FashionMNIST().require()  # from the cache now
    assert len(asked) == 4


def test_without_a_network_the_message_says_what_to_put_where(nowhere, monkeypatch):
    def download(*_):
        raise OSError("Name or service not known")

    monkeypatch.setattr(files, "download", download)
    with pytest.raises(FileNotFoundError, match="not known.*put it into .*mine"):
        FashionMNIST(str(nowhere / "mine"), download=True).require()


def test_tfds_takes_idx_files_that_are_there(nowhere):
    images, labels = write_family(nowhere / "TFDS_DATA_DIR" / "mnist", 10, None)
    data = TFDS("mnist", (28, 28, 1))
    data.require()
    assert np.array_equal(everything(data)[..., 0], images[:6])
    assert np.array_equal(data.labels("test"), labels[6:])
    assert data.fingerprint()["examples"] == 6
    with pytest.raises(UsageError, match=r"TFDS\.train_split = 'train\[:9\]'"):
        TFDS("mnist", (28, 28, 1), train_split="train[:9]").require()
    with pytest.raises(FileNotFoundError, match="is not prepared"):
        TFDS("fashion_mnist", (28, 28, 1)).require()
    write_family(nowhere / "debian", 10, None)
    assert TFDS("fashion_mnist", (28, 28, 1)).class_names()[0] == "T-shirt/top"
