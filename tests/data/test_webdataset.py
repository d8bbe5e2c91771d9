"""WebDataset shards: examples by index, labels and names, archives that are not to be trusted."""

import io
import json
import tarfile
import zipfile
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import ImageFolder, WebDataset
from lcss_tf.data.files import expand, natural_key
from lcss_tf.data.tar_files import tar_index
from lcss_tf.errors import UsageError
from lcss_tf.preparation import Source, prepare
from tests.data import sources
from tests.data.helpers import classes

PICTURES = sources.in_order(sources.pictures())


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    return sources.write_shards(tmp_path_factory.mktemp("shards"), PICTURES)


def stored(data, split="train"):
    return data.stored(tf.range(data.size(split), dtype=tf.int64), split).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("cache_mib", [0, 16])
def test_shards_give_what_the_folder_gives(pattern, tmp_path, cache_mib):
    folder = ImageFolder(sources.write_folder(tmp_path / "a", PICTURES), 12, test_every=4)
    data = WebDataset(pattern, 12, test_every=4, cache_mib=cache_mib)
    assert data.name == "train"
    assert data.class_names() == list(sources.CLASSES)
    for split in ("train", "test"):
        assert np.array_equal(stored(data, split), stored(folder, split))
        numbers = np.array([sources.CLASSES.index(n) for n in folder.class_names()])
        assert np.array_equal(data.labels(split), numbers[folder.labels(split)])
    assert data.location(0, "train").endswith("train-0000.tar:{0}.{2}".format(*PICTURES[1]))


@pytest.mark.slow
def test_resuming_is_a_jump(pattern):
    data = WebDataset(pattern, (8, 12), flip=True, fit="pad", cache_mib=0)
    read = lambda start, count: [
        (x.numpy(), c.numpy())
        for x, c in data.training_pipeline(4, 3, start, None, classes(2)).take(count)
    ]
    whole, later = read(0, 6), read(4, 2)
    for (x, c), (again, d) in zip(whole[4:], later, strict=True):
        assert np.array_equal(x, again)
        assert np.array_equal(c, d)


@pytest.mark.parametrize("label", ["cls", "txt", "json:what.name"])
def test_labels_are_numbers_or_names_wherever_they_stand(pattern, label):
    data = WebDataset(pattern, 12, label=label, test_every=4)
    kept = [one[3] for k, one in enumerate(PICTURES) if k % 4]
    assert data.labels().tolist() == kept
    assert data.class_names() == list(sources.CLASSES)


def write(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            sources.add(archive, name, content)
    return str(path)


def good(count=4, ending="png"):
    return [(f"{k:03}.{ending}", PICTURES[k][1]) for k in range(count)]


def test_names_without_a_file_are_sorted_and_without_labels_there_are_none(tmp_path):
    path = write(tmp_path / "a.tar", good())
    assert WebDataset(path, 8, test_every=2).labels() is None
    assert WebDataset(path, 8, test_every=2).class_names() == []
    words = ["10", "b", "2", "b"]
    named = [(f"{k:03}.txt", f" {w}x\n".encode()) for k, w in enumerate(words)]
    data = WebDataset(write(tmp_path / "b.tar", good() + named), 8, label="txt", test_every=2)
    assert data.class_names() == ["2x", "10x", "bx"]
    assert data.labels("test").tolist() == [1, 0]
    (tmp_path / "classes.json").write_text(json.dumps({"bx": 0, "10x": 2, "2x": 1}))
    data = WebDataset(tmp_path / "b.tar", 8, label="txt", test_every=2)
    assert data.class_names() == ["bx", "2x", "10x"]
    assert data.labels("test").tolist() == [2, 1]


@pytest.mark.parametrize(
    ("content", "label", "message"),
    [
        (b"maybe", "cls", "are words, such as 'maybe', and integers, such as 1"),
        (b"\xff", "cls", "cannot be read"),
        (b"", "cls", "expected an integer or a name"),
        (b'{"a": 1', "json:a", "cannot be read"),
        (b'{"a": true}', "json:a", "is 'True'; expected an integer or a name"),
        (b'{"a": []}', "json:a.0", "cannot be read"),
        (b"[" * 100_000, "json:a", "cannot be read"),
    ],
)
def test_a_label_that_is_none_is_named(tmp_path, content, label, message):
    field = label.partition(":")[0]
    one = b'{"a": 1}' if field == "json" else b"1"
    labels = [(f"{k:03}.{field}", content if k == 2 else one) for k in range(4)]
    data = WebDataset(write(tmp_path / "a.tar", good() + labels), 8, label=label, test_every=2)
    with pytest.raises(UsageError, match=message):
        data.labels()


def test_a_label_without_a_name_and_a_missing_one_are_named(tmp_path):
    labels = [(f"{k:03}.cls", str(k).encode()) for k in range(4)]
    path = write(tmp_path / "a.tar", good() + labels)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(UsageError, match="run to [23], and 2 classes have names"):
        WebDataset(path, 8, test_every=2).labels()
    with pytest.raises(UsageError, match=r"a\.tar:001\.txt is missing.*has cls, png"):
        WebDataset(path, 8, label="txt", test_every=2).labels()
    (tmp_path / "classes.txt").write_text("cat\ncat\n")
    with pytest.raises(UsageError, match="holds a name twice"):
        WebDataset(path, 8, test_every=2).labels()
    (tmp_path / "classes.json").write_text('{"cat": 7}')
    with pytest.raises(UsageError, match="names classes as a list of words"):
        WebDataset(path, 8, test_every=2).labels()


def test_one_example_without_a_class_takes_all_classes_and_that_is_said_once(tmp_path, caplog):
    labels = [(f"{k:03}.cls", str(k % 2).encode()) for k in range(4) if k != 2]
    data = WebDataset(write(tmp_path / "a.tar", good() + labels), 8, test_every=2)
    assert data.labels() is None
    assert data.class_names() == []
    said = "There are no classes, for 1 of 4 examples have no field 'cls', the first being"
    assert caplog.text.count(said) == 1
    assert "a.tar:002.*" in caplog.text
    caplog.clear()
    assert WebDataset(write(tmp_path / "b.tar", good()), 8, test_every=2).labels() is None
    assert not caplog.text


def test_which_image_is_said_where_there_are_several(tmp_path):
    left = [(f"{k:03}.left.png", PICTURES[k][1]) for k in range(4)]
    right = [(f"{k:03}.right.png", PICTURES[k + 4][1]) for k in range(4)]
    path = write(tmp_path / "a.tar", left + right)
    with pytest.raises(UsageError, match="several images: left.png, right.png. Set WebDataset.im"):
        WebDataset(path, 8, test_every=2).require()
    chosen = stored(WebDataset(path, 8, image="middle.png;right.png", test_every=2))
    alone = stored(WebDataset(write(tmp_path / "b.tar", right), 8, test_every=2))
    assert np.array_equal(chosen, alone)


def test_bad_and_missing_images_end_the_run_or_are_replaced(tmp_path, caplog):
    members = [*good(8), ("008.png", b"no image"), ("009.txt", b"no picture"), ("010.heic", b"x")]
    path = write(tmp_path / "a.tar", members)
    data = WebDataset(path, 8, test_every=4)
    with pytest.raises(UsageError, match=r"a\.tar:009\.\* cannot be used: it has no image, but tx"):
        data.require()
    data = WebDataset(path, 8, test_every=4, on_bad_example="skip", cache_mib=0)
    data.require()
    assert [why for _, why in data.unread()] == [
        "it has no image, but txt", "HEIF is not read; convert it to PNG"
    ]  # fmt: skip
    assert len(stored(data)) == 6
    assert len(stored(data, "test")) == 3
    assert "008.png is bad (not an image" in caplog.text


def test_what_is_no_example_is_counted_and_left_out(tmp_path, caplog):
    beside = [
        ("README", b"x"), ("LICENSE.txt", b"x"), ("list.json", b"{}"), ("notes/readme.md", b"x"),
    ]  # fmt: skip
    texts = [(f"{k:03}.txt", b"cat") for k in range(4)]
    path = write(tmp_path / "a.tar", [beside[0], *good(), *texts, *beside[1:]])
    with caplog.at_level("INFO", logger="absl"):
        data = WebDataset(path, 8, label="txt", test_every=2)
        data.require()
    alone = WebDataset(write(tmp_path / "b.tar", good() + texts), 8, label="txt", test_every=2)
    for split in ("train", "test"):
        assert np.array_equal(stored(data, split), stored(alone, split))
        assert np.array_equal(data.labels(split), alone.labels(split))
    assert data.left_out() == {"no ending": 1, ".txt": 1, ".json": 1, ".md": 1}
    assert "a: 1 files are left out, of no example: .json" in caplog.text
    for lost in ("bird.txt", "009.bin"):  # like an example by its field, or by its key
        path = write(tmp_path / "c.tar", [*good(), *texts, (lost, b"x")])
        with pytest.raises(UsageError, match=rf"{lost[:-4]}\.\* cannot be used: it has no image"):
            WebDataset(path, 8, label="txt", test_every=2).require()


def test_an_empty_image_is_named_or_replaced(tmp_path, caplog):
    path = write(tmp_path / "a.tar", [*good(7), ("007.png", b"")])
    zipped = tmp_path / "a.zip"
    with zipfile.ZipFile(zipped, "w") as archive:  # neither is its member compressed
        for name, content in [*good(7), ("007.png", b"")]:
            archive.writestr(name, content)
    for kind in (partial(WebDataset, path), partial(ImageFolder, zipped)):
        with pytest.raises(UsageError, match=r":007\.png cannot be used: .*the file is empty"):
            kind(8, test_every=4).examples(tf.range(6, dtype=tf.int64))
        caplog.clear()
        data = kind(8, test_every=4, on_bad_example="skip", cache_mib=0)
        assert stored(data).shape == (6, 8, 8, 3)
        assert "007.png is bad (not an image: the file is empty)" in caplog.text


def test_data_that_changed_are_noticed(tmp_path):
    hashes = set()
    for k, members in enumerate(
        [good(), good()[::-1], good(6), [*good(3), ("x.png", good()[3][1])]]
    ):
        data = WebDataset(write(tmp_path / f"{k}.tar", members), 8, test_every=2)
        hashes.add(json.dumps(data.fingerprint()))
    assert len(hashes) == 4
    (tmp_path / "b").mkdir()
    moved = WebDataset(write(tmp_path / "b/9.tar", good()), 8, test_every=2)
    assert json.dumps(moved.fingerprint()) in hashes  # paths do not count


def test_held_out_shards_and_wrong_arguments(pattern, tmp_path):
    first, rest = pattern.replace("{0000..0002}", "0000"), pattern.replace("0000..", "0001..")
    data = WebDataset(rest, 12, test_pattern=first)
    assert (data.size(), data.size("test")) == (8, 4)
    with pytest.raises(FileNotFoundError, match=r"no file .*-0003\.tar. Set WebDataset\.pattern"):
        WebDataset(pattern.replace("0002", "0003"), 12).require()
    for wrong in ({"channels": 2}, {"test_every": 1}, {"resolution": 0}, {"fit": "x"}):
        with pytest.raises(UsageError):
            WebDataset(**{"pattern": pattern, "resolution": 8, **wrong})


def test_preparing_reads_shards_too(pattern, tmp_path):
    one = pattern.replace("{0000..0002}", "0001")
    result, _, _ = prepare(Source(one, (8, 12), test_every=2, fit="pad"), str(tmp_path))
    assert result["examples"] == {"train": 2, "test": 2}
    assert result["classes"] == list(sources.CLASSES)


# Patterns and the index.


def test_braces_asterisks_and_folders_stand_for_files(tmp_path):
    for name in ("a-9.tar", "a-10.tar", "b-9.tar", "other.txt"):
        (tmp_path / name).write_bytes(b"")
    names = lambda pattern: [p.rpartition("/")[2] for p in expand(tmp_path / pattern, "x", ".tar")]
    assert names("{a,b}-9.tar") == ["a-9.tar", "b-9.tar"]
    assert names("a-{9..10}.tar") == ["a-9.tar", "a-10.tar"]
    assert names("a-{10..9}.tar") == ["a-10.tar", "a-9.tar"]
    assert names("*.tar") == names(".") == ["a-9.tar", "a-10.tar", "b-9.tar"]
    with pytest.raises(FileNotFoundError, match="No file matches"):
        expand(tmp_path / "c*.tar", "x", ".tar")
    for last in ("9" * 14, "9" * 200):
        with pytest.raises(UsageError, match="more than 1,000,000 files"):
            expand(tmp_path / f"{{0..{last}}}.tar", "x", ".tar")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        expand(tmp_path / f"{{0..{'9' * 5_000}}}.tar", "x", ".tar")


def test_numbers_of_any_length_are_sorted_as_numbers():
    long = "9" * 5_000
    names = [f"a{long}", "a10", f"a0{long[1:]}", "a2", "a02", "b1", "a"]
    ordered = ["a", "a02", "a2", "a10", f"a0{long[1:]}", f"a{long}", "b1"]
    assert sorted(names, key=natural_key) == ordered


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_index_is_tarfile_s_own(tmp_path, form):
    names = ["a/0.txt", "long/" * 30 + "1.txt", "caf\u00e9.txt", "b" * 99 + ".t"]
    names = names if form != tarfile.USTAR_FORMAT else names[:1]
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for k, name in enumerate(names):
            sources.add(archive, name, bytes([k]) * (511 + k))
        archive.add(tmp_path, "folder", recursive=False)
    with tarfile.open(tmp_path / "a.tar") as archive:
        expected = [(m.name, m.offset_data, m.size) for m in archive if m.isfile()]
    assert [tuple(member) for member in tar_index(str(tmp_path / "a.tar"))] == expected


@pytest.mark.parametrize("padding", [1_024, 1_500, 10_240, 2**20, 2**20 + 2_048])
def test_zeros_behind_an_archive_are_padding(tmp_path, padding, caplog):
    (tmp_path / "a.tar").write_bytes(TWO[:3_072] + bytes(padding))
    assert [member.name for member in tar_index(str(tmp_path / "a.tar"))] == ["a.png", "b.png"]
    said = "a.tar has 1,049,600 bytes of zeros behind its end"
    assert caplog.text.count(said) == (padding > 2**20 + 1_024)


def test_a_large_index_is_kept_and_a_damaged_or_older_one_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "a.tar", [(f"{k}.txt", b"x" * (k % 700)) for k in range(4_200)])
    first = tar_index(path)
    (kept,) = (tmp_path / "cache" / "tar").iterdir()
    assert tar_index(path) == first
    monkeypatch.setattr("lcss_tf.data.tar_files._members", lambda *_: iter(()))
    assert tar_index(path) == first  # from the cache
    monkeypatch.undo()
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path / "cache"))
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(bytes(content))
    assert tar_index(path) == first  # its checksum is wrong: it is read again
    longer = write(tmp_path / "a.tar", [(f"{k}.txt", b"y") for k in range(5_000)])
    assert len(tar_index(longer)) == 5_000


def archive_of(*members, form=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in members:
            sources.add(archive, name, content)
    return bytearray(buffer.getvalue())


def sealed(content, place=0):
    """With the checksum of the header at a place made right again."""
    head = content[place : place + 512]
    head[148:156] = b" " * 8
    content[place + 148 : place + 156] = f"{sum(head):06o}\0 ".encode()
    return content


def claiming(size):
    content = archive_of(("a.png", b"x" * 600))
    content[124:136] = size
    return sealed(content)


def sparse():
    content = archive_of(("a.png", b"x" * 600))
    content[156:157] = b"S"
    return sealed(content)


def extended(text):
    content = archive_of(("a.png", b"x" * 100), ("b.png", b"x"))
    content[156:157] = b"x"
    content[512 : 512 + 100] = text.ljust(100, b"\0")
    return sealed(content)


TWO = archive_of(("a.png", b"x" * 600), ("b.png", b"y" * 600))
HOSTILE = {
    "empty": (b"", "is no tar archive: it is empty"),
    "zeros": (bytes(2_048), "is no tar archive: it is nothing but zeros"),
    "gzip": (b"\x1f\x8b\x08" + bytes(600), "compressed by gzip: unpack it by gunzip"),
    "text": (b"a web page" * 100, "is no tar archive: it is a text"),
    "cut in a member": (TWO[:900], "written to its end: member 0, at byte 0 of 900, claims 600"),
    "cut in a header": (TWO[: 512 + 1_024 + 100], "stops before member 1, at byte 1,536"),
    "cut between members": (TWO[:1_536], "stops before member 1.*without the zeros"),
    "zeros in the middle of a header": (
        TWO[:1_536] + b"\0" * 10 + TWO[1_546:], "member 1, at byte 1,536.*has a header that is none"
    ),
    "one bit": (
        TWO[:1_540] + bytes([TWO[1_540] ^ 1]) + TWO[1_541:], "has a header that is none"
    ),
    "two joined": (
        TWO + archive_of(("c.png", b"z")),
        r"has data behind its end, from byte 10,240 of 20,480 on.*tar --concatenate, or name both",
    ),
    "something behind": (
        TWO[:3_072] + bytes(2**20 + 3_000) + b"x", "behind its end, from byte 1,054,648 of 1,054"
    ),
    "one block of zeros": (TWO[: 3_072 + 512], "to its end: one block of zeros stands at byte 3,0"),
    "a block and a half": (TWO[: 3_072 + 800], "to its end: one block of zeros stands at byte 3,0"),
    "one block of zeros between": (
        TWO[:3_072] + bytes(512) + archive_of(("c.png", b"z")), "one block of zeros stands"
    ),
    "more than there is": (claiming(b"77777777777\0"), "claims 8,589,934,591 bytes"),
    "negative": (claiming(b"\xff" * 12), "not written to its end"),
    "no number": (claiming(b"not a number"), "is no tar archive"),
    "leads out": (archive_of(("../a.png", b"x")), "leads out of the archive"),
    "absolute": (archive_of(("/etc/a.png", b"x")), "leads out of the archive"),
    "a drive": (archive_of(("C:\\a.png", b"x")), "leads out of the archive"),
    "sparse": (sparse(), "is sparse"),
    "a long header": (
        archive_of(("n" * 2**21, b"x")), "has a header of 2,097,"
    ),
    "an extended header of nothing": (extended(b"nothing"), "extended header that is none"),
    "an extended header that is too long": (extended(b"99 path=a\n"), "extended header that is"),
    "an extended size": (extended(b"13 size=1e3\n"), "header that is none|has no size"),
    "an extended size of no digits": (
        extended("11 size=\u00b2\n".encode() + b"89 c=" + b"x" * 83 + b"\n"), "has no size"
    ),
    "an extended size of many digits": (
        extended(b"100 size=" + b"9" * 90 + b"\n"), "has no size"
    ),
    "twice": (archive_of(("a.png", b"x"), ("./a.png", b"y")), "two files called a.png"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_archives_that_are_not_to_be_trusted_are_refused(tmp_path, name):
    content, message = HOSTILE[name]
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UsageError, match=message) as error:
        WebDataset(tmp_path / "a.tar", 8, test_every=2).require()
    assert str(tmp_path / "a.tar") in str(error.value)


def test_a_shard_that_is_cut_while_it_is_read_is_named(tmp_path):
    path = write(tmp_path / "a.tar", good(8))
    data = WebDataset(path, 8, test_every=4, cache_mib=0)
    stored(data)
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:3_000])
    with pytest.raises(UsageError, match=r"a\.tar:00.\.png cannot be used"):
        data.examples(tf.range(6, dtype=tf.int64))
