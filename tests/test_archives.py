"""What is packed claims to be something: it is held to that, and no more of it is unpacked."""

import io
import json
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import archives, files
from lcss_tf.archives import ArchiveError, ArrayArchive
from lcss_tf.data import Arrays
from lcss_tf.importers import torch_file
from lcss_tf.metrics import KerasFeatures
from lcss_tf.training.checkpoints import CheckpointError, read
from tests.packing import deflated, zip_of

ZEROS = 32 * 2**20  # bytes that a bomb unpacks to, in 32 KiB
MOST = 4 * 2**20  # bytes that may be taken meanwhile


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture
def little_memory():
    """Fails if much more memory is taken than what is claimed."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST, f"{peak:,} bytes were taken"


CONTENT = bytes(range(256)) * 40
GOOD = deflated(CONTENT)
BAD = {
    "more than it claims": (deflated(bytes(ZEROS)), 1_000, zlib.crc32(bytes(1_000)), "bomb"),
    "one byte more": (GOOD, len(CONTENT) - 1, zlib.crc32(CONTENT[:-1]), "unpacks to more"),
    "less than it claims": (GOOD, len(CONTENT) + 9, zlib.crc32(CONTENT), "truncated or damaged"),
    "another checksum": (GOOD, len(CONTENT), 7, "checksum"),
    "cut": (GOOD[:-9], len(CONTENT), zlib.crc32(CONTENT), "truncated or damaged"),
    "bytes behind": (GOOD + b"behind", len(CONTENT), zlib.crc32(CONTENT), "bytes follow"),
    "not deflated": (
        b"\xff" * 99,
        len(CONTENT),
        zlib.crc32(CONTENT),
        "compressed data are damaged",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_member_is_held_to_its_claims(name, tmp_path, little_memory):
    packed, size, crc, message = BAD[name]
    (member,) = archives.members(zip_of(tmp_path / "x.zip", packed, size, crc))
    with pytest.raises(ArchiveError, match=message):
        archives.unpack(packed, member)
    with open(tmp_path / "x.zip", "rb") as file, pytest.raises(ArchiveError, match=message):
        for _ in archives.stream(file, member):
            pass


METHODS = {
    name: getattr(zipfile, f"ZIP_{name}") for name in ("STORED", "DEFLATED", "BZIP2", "LZMA")
}


@pytest.mark.parametrize("content", [CONTENT, b"", bytes(3 * 2**20 + 1), b"a"])
def test_a_good_member_is_unpacked(content, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for name, method in METHODS.items():
            file.writestr(name, content, method)
    for member in archives.members(tmp_path / "x.zip"):
        with open(tmp_path / "x.zip", "rb") as file:
            assert b"".join(archives.stream(file, member)) == content
            file.seek(member.offset)
            packed = file.read(member.packed)
        assert archives.unpack(packed, member) == content


@pytest.mark.parametrize("method", ["BZIP2", "LZMA"])
def test_members_of_other_methods_are_held_to_their_claims(method, tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", METHODS[method]) as file, file.open("x", "w") as entry:
        for _ in range(ZEROS // 2**20):
            entry.write(bytes(2**20))
    (honest,) = archives.members(path)
    bomb = honest._replace(size=1_000, crc=zlib.crc32(bytes(1_000)))
    for member, message in (
        (bomb, "bomb"), (honest._replace(crc=7), "checksum"),
        (honest._replace(size=honest.size + 1), "truncated or damaged"),
        (honest._replace(packed=honest.packed // 2), "truncated or damaged"),
        (honest._replace(offset=honest.offset + 1), "compressed data are damaged"),
    ):  # fmt: skip
        with open(path, "rb") as file, pytest.raises(ArchiveError, match=message):
            for _ in archives.stream(file, member):
                pass
    packed = path.read_bytes()[honest.offset :][: honest.packed]
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="bomb"):
        archives.unpack(packed, bomb)
    assert tracemalloc.get_traced_memory()[1] < 2 * MOST
    tracemalloc.stop()


def test_the_dictionary_of_a_stream_is_no_larger_than_what_it_gives(tmp_path):
    """An LZMA stream may claim to need 4 GiB of memory."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("x", CONTENT)
    (member,) = archives.members(tmp_path / "x.zip")
    packed = bytearray((tmp_path / "x.zip").read_bytes()[member.offset :][: member.packed])
    packed[5:9] = b"\xff" * 4
    assert archives.unpack(bytes(packed), member) == CONTENT


@pytest.mark.parametrize(
    ("packed", "size", "method", "message"),
    [
        (deflated(bytes(99)), 10**6, zipfile.ZIP_DEFLATED, "cannot give"),
        (b"12", 3, zipfile.ZIP_STORED, "cannot give"),
        (b"12", 2, 9, "other than deflate"),  # Deflate64
    ],
)
def test_impossible_claims_are_refused_before_anything_is_read(
    packed, size, method, message, tmp_path
):
    path = zip_of(tmp_path / "x.zip", packed, size, 0, method)
    with pytest.raises(ArchiveError, match=message):
        archives.members(path)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4), np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.zeros((0, 3), np.float32), np.array(7), np.arange(5, dtype=">f4"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_reads_them(array, save, tmp_path):
    save(tmp_path / "x.npz", **{"a/b": array, "other": np.ones(3)})
    with ArrayArchive(tmp_path / "x.npz") as archive:
        assert archive.names == ["a/b", "other"]
        assert archive.claim("a/b")[:2] == (array.shape, array.dtype)
        found = archive.read("a/b", array.shape, array.dtype)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        with pytest.raises(ArchiveError, match="expected int8 of shape"):
            archive.read("a/b", array.shape, np.int8)
        with pytest.raises(ArchiveError, match="no array 'c', but 'a/b', 'other'"):
            archive.read("c")
    np.testing.assert_array_equal(files.read_arrays(tmp_path / "x.npz")["a/b"], array)


@pytest.mark.parametrize("second", ["x.npy", "x"])
def test_two_arrays_of_one_name_are_refused(tmp_path, second):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        warnings.simplefilter("ignore")  # of the zipfile module
        for name, array in (("x.npy", np.zeros(3)), (second, np.ones(3))):
            archive.writestr(name, npy(array))
    with pytest.raises(ArchiveError, match=r"x\.npz holds two files called x"):
        ArrayArchive(tmp_path / "x.npz")


def test_compressed_arrays_unpack_to_a_limit(tmp_path, little_memory):
    np.savez_compressed(
        tmp_path / "x.npz", a=np.zeros(10**5, np.uint8), b=np.zeros(10**5, np.uint8)
    )
    with ArrayArchive(tmp_path / "x.npz", most=150_000) as archive:
        archive.read("a")
        with pytest.raises(ArchiveError, match="unpack to more than"):
            archive.read("b")
        assert archive.read("b", (10**5,)).shape == (10**5,)  # as expected: no bomb


def test_a_header_and_a_size_that_disagree_are_refused(tmp_path, little_memory):
    content = bytearray(npy(np.zeros(100, np.uint8)))
    place = content.index(b"(100,)")
    for text in (b"(999,)", b"(-9,) ", b"(1e5,)", b"open()"):
        content[place : place + 6] = text
        zip_of(tmp_path / "x.npz", deflated(content), len(content), zlib.crc32(content))
        assert files.read_arrays(tmp_path / "x.npz") is None
        with ArrayArchive(tmp_path / "x.npz") as archive, pytest.raises(ArchiveError, match="'x'"):
            archive.read("x")


def test_a_bomb_of_data_is_refused_by_its_shape(tmp_path, little_memory):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((4, ZEROS // 4), np.uint8))
    tracemalloc.reset_peak()
    with pytest.raises(ValueError, match=r"shape \(4, 8388608\).*Arrays.shape = \(8, 1\)"):
        Arrays(tmp_path / "x.npz", (8, 1)).require()


def test_a_npy_file_claims_no_more_than_it_holds(tmp_path):
    for content in (
        npy(np.zeros(10, np.uint8)).replace(b"(10,), }      ", b"(10000000000,)}"),
        npy(np.zeros(10))[:-1], b"", b"no array",
    ):  # fmt: skip
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(ArchiveError, match=r"x\.npy cannot be read|x\.npy holds Python"):
            archives.mapped(tmp_path / "x.npy")
    np.savez(tmp_path / "y.npy.npz", x=np.ones(3))
    (tmp_path / "y.npy.npz").rename(tmp_path / "y.npy")
    with pytest.raises(ArchiveError, match=r"call it \.npz"):
        archives.mapped(tmp_path / "y.npy")


# Archives of other kinds ------------------------------------------------------------------------


def tgz(path, **contents):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_a_file_of_a_gzipped_tar_is_read_within_limits(tmp_path):
    path = tgz(tmp_path / "x.tgz", zeros=bytes(2**20), wanted=b"content")
    assert archives.tar_member(path, "wanted", 2**21) == b"content"
    for name, most, said in (
        ("wanted", 2**20, "more than 1,048,576 bytes"), ("zeros", 2**19, "a bomb"),
        ("other", 2**21, "holds no other"),
    ):  # fmt: skip
        with pytest.raises(ArchiveError, match=said):
            archives.tar_member(path, name, most)
    content = path.read_bytes()
    for damaged in (content[:-9], content[:-8] + b"\0\0\0\0" + content[-4:], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ArchiveError, match="damaged"):
            archives.tar_member(path, "wanted", 2**21)


def test_files_of_other_libraries_are_measured_first(tmp_path):
    """Keras' models and PyTorch's checkpoints are archives too, which do not compress."""
    bomb = zip_of(tmp_path / "x.keras", bytes(2**19), 2**28 + 1, 0, name="model.weights.h5")
    with pytest.raises(ValueError, match=r"x\.keras .*would unpack to 268,435,457"):
        KerasFeatures(bomb).check(None)
    for name, said in (("x/data/0", "would unpack to"), ("x/code/constants.pkl", "")):
        path = zip_of(tmp_path / "x.pth", bytes(2**19), 2**28 + 1, 0, name=name)
        with pytest.raises(ValueError, match=rf"x\.pth .*{said}"):
            torch_file.read(path)
    zip_of(tmp_path / "x.pth", b"", 0, 0, 0, name="x/constants.pkl")
    with pytest.raises(ValueError, match="TorchScript archive, a program"):
        torch_file.read(tmp_path / "x.pth")


def test_downloads_come_over_https_alone(tmp_path, monkeypatch):
    def answers(url, **_):
        answer = io.BytesIO(b"content")
        answer.url = url.replace("https://sent.on", "http://sent.on")
        return answer

    monkeypatch.setattr("urllib.request.urlopen", answers)
    files.download("https://a.b/c", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"content"
    for url in ("http://a.b/c", "file:///etc/hosts", "https://sent.on/c"):
        with pytest.raises(ValueError, match="over https alone"):
            files.download(url, tmp_path / "d")
    with pytest.raises(OSError, match="more than 3 bytes"):
        files.download("https://a.b/c", tmp_path / "d", most_bytes=3)
    assert not (tmp_path / "d").exists()


# Checkpoints and models ---------------------------------------------------------------------------


def checkpoint(path, **arrays):
    meta = {"format": 2, "step": 3, "nonfinite_steps": 0, "model": {}}
    meta = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed(path, **({"meta": meta} | arrays))
    return path


VARIABLES = {"network": {"w": tf.Variable(tf.zeros((3, 2))), "b": tf.Variable(tf.zeros(2))}}


def test_a_checkpoint_is_compared_before_it_is_unpacked(tmp_path, little_memory):
    w, b = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    good = read(checkpoint(tmp_path / "x.npz", **{"network/w": w, "network/b": b}), VARIABLES)
    np.testing.assert_array_equal(good["network"]["w"], w)
    for shape, dtype, said in (
        ((ZEROS // 4,), np.float32, r"\(8388608,\) and float32"),
        ((3, 2), float, r"the stored one \(3, 2\) and float64"),
    ):
        arrays = {"network/w": np.zeros(shape, dtype), "network/b": b}
        path = checkpoint(tmp_path / "x.npz", **arrays)
        del arrays
        tracemalloc.reset_peak()
        with pytest.raises(CheckpointError, match=f"variable w has the shape.*{said}"):
            read(path, VARIABLES)


@pytest.mark.parametrize(
    "meta",
    [
        b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 9_999, b'{"format": 2}',
        b'{"format": 2, "step": 1e400, "nonfinite_steps": 0, "model": {}}',
        b'{"format": 2, "step": -1, "nonfinite_steps": 0, "model": {}}',
        b'{"format": 2, "step": 1, "nonfinite_steps": 0, "model": []}',
    ],
)  # fmt: skip
def test_a_hostile_description_names_its_file(meta, tmp_path):
    path = checkpoint(tmp_path / "x.lcss.npz", meta=np.frombuffer(meta, np.uint8))
    with pytest.raises(CheckpointError, match=r"x\.lcss\.npz"):
        lcss_tf.ScoreModel.load(path)


@pytest.mark.parametrize("key", ["network", "sde", "preconditioning", "ema_decay", "data"])
@pytest.mark.parametrize(
    "value", [[], "x", {"class": 3}, {"class": "VPSDE", "arguments": [1]}, 1e999]
)
def test_a_hostile_model_names_its_file(key, value, tmp_path):
    model = lcss_tf.ScoreModel()
    description = model.description() | {key: value}
    meta = {"format": 2, "step": 3, "nonfinite_steps": 0, "model": description}
    meta = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    path = checkpoint(tmp_path / "x.npz", meta=meta)
    with pytest.raises(CheckpointError, match=r"x\.npz"):
        lcss_tf.ScoreModel.load(path)
