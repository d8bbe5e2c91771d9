"""Folders and ZIP archives of images; whatever lies there is read rightly or named."""

import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import ImageFolder, index_batches
from lcss_tf.data.pipeline import example_at, with_named_errors
from lcss_tf.errors import UsageError
from tests.data.helpers import allow_others, as_nobody, classes, encoded, picture
from tests.packing import deflated, zip_of


@pytest.fixture
def folder(tmp_path):
    """Ten lossless 12×12 images, two of them in a subfolder."""
    (tmp_path / "more").mkdir()
    for i in range(10):
        place = tmp_path / "more" if i >= 8 else tmp_path
        Image.fromarray(picture(i)).save(place / f"{i:02}.png")
    (tmp_path / "README.txt").write_text("not an image")
    return tmp_path


def stored(dataset, split="train"):
    indices = tf.range(dataset.size(split), dtype=tf.int64)
    return dataset.info().unscale(dataset.examples(indices, split))


def test_images_of_the_right_size_are_read_bit_for_bit(folder):
    dataset = ImageFolder(folder, 12, test_every=5)
    expected = np.stack([picture(i) for i in range(10)])
    assert np.array_equal(stored(dataset, "test"), expected[[0, 5]])
    assert np.array_equal(stored(dataset), expected[[1, 2, 3, 4, 6, 7, 8, 9]])


def test_the_splits_are_disjoint_and_fixed(folder):
    first, second = (ImageFolder(folder, 12, test_every=4) for _ in range(2))
    train, test = set(first.paths("train")), set(first.paths("test"))
    assert not train & test
    assert len(train | test) == 10
    assert first.paths("train") == second.paths("train")


def test_random_access_in_any_order_and_with_repeats(folder):
    dataset = ImageFolder(folder, 12)
    whole = stored(dataset)
    some = dataset.examples(tf.constant([7, 0, 7], tf.int64))
    assert np.array_equal(dataset.info().unscale(some), whole[[7, 0, 7]])


@pytest.mark.slow
def test_mirrored_while_decoding_and_from_memory_are_the_same(folder):
    batches = index_batches(9, 64, seed=2).take(1)
    read, held = (
        next(iter(ImageFolder(folder, 12, flip=True, cache_mib=mib).pipeline(batches)))
        for mib in (0, 10)
    )
    assert np.array_equal(read, held)
    plain = next(iter(ImageFolder(folder, 12).pipeline(batches))).numpy()
    flips = (read.numpy() != plain).any(axis=(1, 2, 3))
    assert 16 <= flips.sum() <= 48
    assert np.array_equal(read, np.where(flips[:, None, None, None], plain[:, :, ::-1], plain))


def test_the_pipeline_keeps_order_and_static_shape(folder):
    dataset = ImageFolder(folder, 12, centered=False)
    stream = index_batches(dataset.size(), 4, seed=3)
    batches = dataset.pipeline(stream, seed=3)
    assert batches.element_spec.shape == (4, 12, 12, 3)
    whole = stored(dataset)
    for batch, (indices, _) in zip(batches.take(12), stream.take(12), strict=True):
        assert np.array_equal(dataset.info().unscale(batch), whole[indices.numpy()])


def test_a_pattern_chooses_files(folder):
    dataset = ImageFolder(folder, 12, pattern="more/*")
    assert dataset.size() + dataset.size("test") == 2
    with pytest.raises(FileNotFoundError, match=r"matches '\*.gif'"):
        ImageFolder(folder, 12, pattern="*.gif").require()


def test_construction_reads_nothing_and_a_missing_folder_says_where_and_how(tmp_path):
    dataset = ImageFolder(tmp_path / "nowhere", 1024)
    assert dataset.info().shape == (1024, 1024, 3)
    for use in (dataset.require, dataset.size, lambda: dataset.some_examples(4)):
        with pytest.raises(FileNotFoundError) as caught:
            use()
        message = str(caught.value)
        assert str(tmp_path / "nowhere") in message
        assert "images1024x1024" in message
        assert "https://github.com/NVlabs/ffhq-dataset" in message


def test_an_empty_folder_and_a_single_image_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no file"):
        ImageFolder(tmp_path, 8).require()
    Image.fromarray(picture(0)).save(tmp_path / "only.png")
    with pytest.raises(FileNotFoundError, match="at least two"):
        ImageFolder(tmp_path, 8).require("train")


def test_an_unreadable_file_is_named(tmp_path):
    for i in range(3):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"1\.png cannot be used: "):
        ImageFolder(tmp_path, 12).require()
    (tmp_path / "1.png").write_text("no image at all")
    with pytest.raises(ValueError, match=r"1\.png cannot be used: "):
        ImageFolder(tmp_path, 12).require()


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_process_ends_though_its_pipeline_is_still_at_work(folder, packed):
    """An input pipeline that runs Python code could keep its process from ending."""
    if packed:
        folder = shutil.make_archive(folder / "packed", "zip", folder)
    script = f"""
import tensorflow as tf
from lcss_tf.data import ImageFolder, index_batches
dataset = ImageFolder({str(folder)!r}, 512, cache_mib=0)
batches = dataset.pipeline(index_batches(dataset.size(), 8, seed=0)).prefetch(50)
iterator = iter(batches)
next(iterator)
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=120, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_wrong_arguments_are_refused(tmp_path):
    for wrong in ({"resolution": 0}, {"channels": 2}, {"test_every": 1}):
        with pytest.raises(ValueError, match="ImageFolder needs"):
            ImageFolder(tmp_path, **{"resolution": 8, **wrong})


def png(seed=0):
    return encoded(Image.fromarray(picture(seed)), "PNG")


def folder_of(place, contents):
    for name, content in contents.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place


@pytest.fixture(
    params=[0, pytest.param(100, marks=pytest.mark.slow)], ids=["read on demand", "cached"]
)
def cache_mib(request):
    return request.param


CONTENT, LENGTH = png(7), len(png(7))
CLAIMS = {  # packed, claimed size and checksum, whether deflated
    "bomb": (deflated(bytes(2**25)), 1_000, zlib.crc32(bytes(1_000)), True, "decompression bomb"),
    "crc": (deflated(CONTENT), LENGTH, 1, True, "checksum"),
    "stored": (CONTENT, LENGTH, 1, False, "checksum"),
    "short": (deflated(CONTENT), LENGTH - 1, 0, True, "more than the"),
    "long": (deflated(CONTENT), LENGTH + 1, 0, True, "truncated or damaged"),
}


def claiming(path, name):
    """An archive of five good images, and of one that claims what it is not."""
    packed, size, crc, deflate, _ = CLAIMS[name]
    zip_of(path, packed, size, crc, zipfile.ZIP_DEFLATED if deflate else 0, name="9.png")
    with zipfile.ZipFile(path, "a") as file:
        for i in range(5):
            file.writestr(f"{i}.png", png(i), zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize("name", CLAIMS)
def test_a_member_is_held_to_what_it_claims(name, tmp_path):
    data = ImageFolder(claiming(tmp_path / "x.zip", name), 12, cache_mib=0)
    assert data.size() == 5
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"x\.zip:9\.png cannot be used: .*{CLAIMS[name][-1]}"):
        data.check_examples([4])
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_member_that_lies_is_named_in_training_or_replaced(tmp_path, caplog):
    path = claiming(tmp_path / "x.zip", "bomb")
    with pytest.raises(ValueError, match=r"x\.zip:9\.png cannot be used: .*decompression bomb"):
        ImageFolder(path, 12).examples(tf.range(5, dtype=tf.int64))
    data = ImageFolder(path, 12, cache_mib=0, on_bad_example="skip")
    assert data.examples(tf.range(5, dtype=tf.int64)).shape == (5, 12, 12, 3)
    assert caplog.text.count("x.zip:9.png is bad (it unpacks to more than the 1,000 bytes") == 1
    zip_of(tmp_path / "huge.zip", bytes(2**19), 2**28 + 1, 0, name="9.png")
    with pytest.raises(ValueError, match=r"'9\.png' of .* would unpack to 268,435,457"):
        ImageFolder(tmp_path / "huge.zip", 12).size()


def bomb():
    """A PNG that says it has 10^10 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = lambda name, data: (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    )
    data = zlib.compress(bytes(1_000_000))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


BAD = {
    "truncated.png": (png()[:200], "truncated or damaged"),
    "truncated.jpg": (
        encoded(Image.fromarray(picture(height=200, width=200)), "JPEG")[:9_000],
        "truncated or damaged",
    ),
    "truncated.bmp": (
        encoded(Image.fromarray(picture()), "BMP")[:300],
        "a BMP of 12.12 pixels .*truncated or damaged",
    ),
    "text.png": (b"this is no image", "not an image"),
    "empty.png": (b"", "not an image.*empty"),
    "bomb.png": (bomb(), "10000000000 pixels.*decompression bomb"),
    "eps.png": (encoded(Image.fromarray(picture()), "EPS"), "EPS is not read; convert it"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_the_reason_and_the_remedy(tmp_path, name, cache_mib):
    content, reason = BAD[name]
    good = {f"{i}.png": png(i) for i in range(9)}
    folder_of(tmp_path, {**good, name: content})
    data = ImageFolder(tmp_path, 12, test_every=10, cache_mib=cache_mib)  # 0.png is held out
    with pytest.raises(ValueError, match=rf"{name} cannot be used: .*{reason}.*on_bad_example"):
        data.examples(tf.range(data.size(), dtype=tf.int64))


def test_in_training_a_bad_file_ends_the_run_with_its_name(tmp_path):
    folder_of(tmp_path, {f"{i}.png": png(i) for i in range(9)} | {"x.png": png()[:100]})
    data = ImageFolder(tmp_path, 12, cache_mib=0)
    stream = index_batches(data.size(), 4, seed=0)
    indices_of = lambda step: example_at(np.arange(4 * step, 4 * step + 4), data.size(), 0).numpy()
    batches = iter(data.pipeline(stream).prefetch(4))
    with pytest.raises(ValueError, match=r"x\.png cannot be used: .*truncated"):
        for _ in with_named_errors(data, batches, indices_of):
            pass


def test_skipping_puts_others_in_their_place_and_counts(tmp_path, cache_mib, caplog):
    good = {f"{i:02}.png": png(i) for i in range(20)}
    folder_of(tmp_path, {**good, **{name: content for name, (content, _) in BAD.items()}})
    data = ImageFolder(
        tmp_path, 12, test_every=30, on_bad_example="skip", cache_mib=cache_mib
    )  # fmt: skip
    size = 19 + len(BAD)
    assert data.size() == size
    with caplog.at_level("WARNING", logger="absl"):
        batches = [
            np.concatenate(
                list(data.pipeline(index_batches(size, 5, 3, start_step=s)).take(10 - s))
            )
            for s in (0, 4)
        ]
    assert np.array_equal(batches[0][20:], batches[1])  # the order does not depend on the start
    paths = data.paths()
    expected = {i: picture(int(os.path.basename(p)[:2])) for i, p in enumerate(paths[:19])}
    images = data.info().unscale(batches[0][:25])
    order = [i for i, _ in index_batches(size, 25, 3).take(1)][0].numpy()
    known = [image.tobytes() for image in expected.values()]
    for index, image in zip(order, images, strict=True):
        if index in expected:
            assert np.array_equal(image, expected[index])
        else:
            assert image.tobytes() in known
    assert len(data.skipped) == len(BAD)
    for name in BAD:
        assert caplog.text.count(f"{name} is bad") == 1
    assert f"Bad so far: {len(BAD)}" in caplog.text


def test_a_file_that_vanishes_in_mid_epoch(tmp_path):
    folder_of(tmp_path, {f"{i}.png": png(i) for i in range(9)})
    for policy in ("error", "skip"):
        data = ImageFolder(tmp_path, 12, on_bad_example=policy, cache_mib=0)
        everything = tf.range(data.size(), dtype=tf.int64)
        before = data.examples(everything).numpy()
        (tmp_path / "5.png").rename(tmp_path / "away")
        if policy == "error":
            with pytest.raises(ValueError, match=r"5\.png cannot be used: it is gone"):
                data.examples(everything)
        else:
            after = data.examples(everything).numpy()
            assert np.array_equal(np.delete(after, 4, 0), np.delete(before, 4, 0))
            assert list(data.skipped) == [("train", 4)]
        (tmp_path / "away").rename(tmp_path / "5.png")


def test_all_bad(tmp_path):
    folder_of(tmp_path, {f"{i}.png": b"no" for i in range(4)})
    data = ImageFolder(tmp_path, 12, on_bad_example="skip", cache_mib=0)
    with pytest.raises(ValueError, match="cannot be used: not an image"):
        data.examples(tf.range(3, dtype=tf.int64))


def test_no_permission_to_read(tmp_path):
    folder_of(tmp_path, {f"{i}.png": png(i) for i in range(4)} | {"locked/a.png": png()})
    allow_others(tmp_path)
    (tmp_path / "2.png").chmod(0)
    data = ImageFolder(tmp_path, 12, cache_mib=0)
    with as_nobody(), pytest.raises(ValueError, match=r"2\.png cannot be used: .*chmod u\+r"):
        data.examples(tf.range(data.size(), dtype=tf.int64))
    (tmp_path / "locked").chmod(0)
    try:
        with as_nobody(), pytest.raises(PermissionError, match=r"locked may not be read.*chmod"):
            ImageFolder(tmp_path, 12).require()
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_a_circle_of_links_and_a_link_to_itself(tmp_path):
    folder_of(tmp_path / "real", {f"{i}.png": png(i) for i in range(3)})
    folder_of(tmp_path / "root", {"0.png": png(7)})
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "real")
    assert ImageFolder(tmp_path / "root", 12).size() == 3  # 4, one held out
    (tmp_path / "real" / "back").symlink_to(tmp_path / "root")
    with pytest.raises(ValueError, match=r"link .*real/back|link .*linked/back leads back"):
        ImageFolder(tmp_path / "root", 12).require()
    (tmp_path / "real" / "back").unlink()
    (tmp_path / "real" / "self.png").symlink_to(tmp_path / "real" / "self.png")
    data = ImageFolder(tmp_path / "root", 12, cache_mib=0)
    with pytest.raises(ValueError, match=r"self\.png cannot be used"):
        data.examples(tf.range(data.size(), dtype=tf.int64))


def test_few_images_make_any_batch(tmp_path):
    folder_of(tmp_path, {f"{i}.png": png(i) for i in range(3)})
    data = ImageFolder(tmp_path, 12)
    batch = next(iter(data.pipeline(index_batches(data.size(), 8, 0))))
    found = {x.tobytes() for x in data.info().unscale(batch)}
    assert found == {picture(i).tobytes() for i in (1, 2)}


def test_mixed_sizes_become_one(tmp_path):
    sizes = [(12, 12), (24, 30), (50, 13), (7, 9)]
    folder_of(
        tmp_path,
        {f"{k}.png": encoded(Image.fromarray(picture(k, *s)), "PNG") for k, s in enumerate(sizes)},
    )
    assert ImageFolder(tmp_path, 12).examples(tf.range(3, dtype=tf.int64)).shape == (3, 12, 12, 3)


@pytest.fixture
def archive(tmp_path):
    """Ten images in two classes, stored and deflated in turn."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "no image")
        for i in range(10):
            name = f"{'cats' if i < 4 else 'dogs'}/{i:02}.png"
            method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[i % 2]
            file.writestr(name, png(i), method)
    return path


def test_an_archive_is_read_as_its_folder_would_be(archive, tmp_path, cache_mib):
    data = ImageFolder(archive, 12, test_every=5, cache_mib=cache_mib)
    assert data.class_names() == ["cats", "dogs"]
    assert data.labels().tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "folder")
    folder = ImageFolder(tmp_path / "folder", 12, test_every=5, cache_mib=cache_mib)
    assert folder.labels().tolist() == data.labels().tolist()
    for split in ("train", "test"):
        everything = tf.range(data.size(split), dtype=tf.int64)
        assert np.array_equal(data.examples(everything, split), folder.examples(everything, split))
    assert data.location(0, "test") == f"{archive}:cats/00.png"
    some = data.pipeline(index_batches(8, 4, 0), condition=classes(2)).take(3)
    for images, labels in some:
        for image, label in zip(data.info().unscale(images), labels.numpy(), strict=True):
            numbers = [i for i in range(10) if np.array_equal(image, picture(i))]
            assert [i >= 4 for i in numbers] == [label == 1]


def test_archives_that_are_not_to_be_trusted_are_refused(tmp_path, archive):
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cut\.zip is no ZIP archive, or is truncated"):
        ImageFolder(cut, 12).require()
    for name in ("../evil.png", "/etc/evil.png", "a/../../evil.png"):
        with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
            file.writestr(name, png())
        with pytest.raises(ValueError, match="leads out of the archive"):
            ImageFolder(tmp_path / "evil.zip", 12).require()
    content = bytearray(archive.read_bytes())
    place = content.find(png(2)[-60:])
    content[place + 5] ^= 255
    (tmp_path / "flipped.zip").write_bytes(content)
    data = ImageFolder(tmp_path / "flipped.zip", 12, cache_mib=0)
    with pytest.raises(ValueError, match=r"flipped\.zip:cats/02\.png cannot be used"):
        data.examples(tf.range(9, dtype=tf.int64))
    assert not (tmp_path / "evil.png").exists()


@pytest.fixture(params=["folder", "archive"])
def made(request, tmp_path):
    """(contents by name) → the root of a folder or of an archive that holds them."""

    def make(contents):
        if request.param == "folder":
            return folder_of(tmp_path / "root", contents)
        with zipfile.ZipFile(tmp_path / "root.zip", "w") as file:
            for name, content in contents.items():
                file.writestr(name, content)
        return tmp_path / "root.zip"

    return make


def labelled(root):
    """Class by the name of each file, of both splits."""
    data = ImageFolder(root, 12)
    names = data.class_names()
    return {
        os.path.basename(path): names[label]
        for split in ("train", "test")
        for path, label in zip(data.paths(split), data.labels(split), strict=True)
    }


HIDDEN = (
    ".ipynb_checkpoints/0.png", "__MACOSX/cat/._0.png", "cat/._0.png", "cat/.0.png",
    "cat/.cache/a/0.png", "Thumbs.db", "dog/desktop.ini", "@eaDir/0.png/small.jpg",
)  # fmt: skip


def test_hidden_entries_and_a_systems_own_are_no_images_and_no_classes(made):
    wanted = {"cat/0.png": png(0), "cat/1.png": png(1), "dog/2.png": png(2), "notes.txt": b"."}
    root = made(wanted | dict.fromkeys(HIDDEN, png(9)))
    data = ImageFolder(root, 12)
    assert data.class_names() == ["cat", "dog"]
    assert data.size() + data.size("test") == 3
    assert data.left_out() == {"hidden, or a system's own": len(HIDDEN), ".txt": 1}
    assert labelled(root) == {"0.png": "cat", "1.png": "cat", "2.png": "dog"}


def test_a_root_may_itself_be_hidden(tmp_path):
    root = folder_of(tmp_path / ".cache" / "images", {f"{i}.png": png(i) for i in range(3)})
    assert ImageFolder(root, 12).size() == 2


def test_endings_of_all_formats_are_read_and_others_are_bad_by_name(made):
    formats = {"a.tif": "TIFF", "b.tiff": "TIFF", "c.avif": "AVIF", "d.jfif": "JPEG",
               "e.JPE": "JPEG", "f.ico": "ICO", "g.ppm": "PPM", "h.jp2": "JPEG2000"}  # fmt: skip
    good = {
        name: encoded(Image.fromarray(picture(3, 16, 16)), kind) for name, kind in formats.items()
    }
    root = made(good | {"x.heic": b"1", "y.svg": b"2", "z.CR2": b"3"})
    with pytest.raises(ValueError, match=r"x\.heic cannot be used: HEIF is not read.*there are 3"):
        ImageFolder(root, 16).require()
    data = ImageFolder(root, 16, on_bad_example="skip")
    assert [path.replace(":", "/").split("/")[-1] for path, _ in data.unread()] == [
        "x.heic",
        "y.svg",
        "z.CR2",
    ]
    assert "a camera's raw file is not read" in data.unread()[2][1]
    assert data.size() + data.size("test") == len(good)
    assert [data.why_bad(i, "train") for i in range(data.size())] == [None] * data.size()


def test_classes_sort_naturally(made):
    root = made({f"{k}/{i}{k}.png": png(i) for k in (0, 1, 2, 10, 11) for i in range(2)})
    assert ImageFolder(root, 12).class_names() == ["0", "1", "2", "10", "11"]
    assert labelled(root)["110.png"] == "10"


@pytest.mark.parametrize(
    ("above", "names"),
    [("", ["cat", "dog"]), ("pets/", ["cat", "dog"]), ("a/b/c/", ["cat", "dog"])],
)
def test_classes_lie_below_the_folders_that_all_images_share(made, above, names):
    root = made({f"{above}{name}/{i}.png": png(i) for name in names for i in range(2)})
    assert ImageFolder(root, 12).class_names() == names


def test_one_folder_of_images_is_one_class_and_a_cover_beside_folders_none(made, caplog):
    assert ImageFolder(made({f"cat/{i}.png": png(i) for i in range(3)}), 12).class_names() == [
        "cat"
    ]
    mixed = {"top/cover.png": png(), "top/cat/0.png": png(1), "top/dog/0.png": png(2)}
    data = ImageFolder(made(mixed), 12, pattern="top/*")
    assert data.class_names() == []
    assert data.labels() is None
    said = "there are no classes, for 1 of 3 images lie above the folders of the others"
    assert caplog.text.count(said) == 1
    assert "cover.png. Move" in caplog.text


def test_only_names_that_lead_out_of_an_archive_are_refused(tmp_path):
    fine = ("12:30.png", "cat/12:30.png", "./a.png", "a..b/c..png", "a/../b.png", "..c.png")
    for k, name in enumerate(fine[:5]):
        with zipfile.ZipFile(tmp_path / f"{k}.zip", "w") as file:
            file.writestr(name, png(1))
            file.writestr("z.png", png(2))
        data = ImageFolder(tmp_path / f"{k}.zip", 12)
        assert data.size() == 1, name
    for name in ("../a.png", "..\\a.png", "b/../../a.png", "/a.png", "C:/a.png", "C:\\a.png"):
        with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
            file.writestr(name, png(1))
        with pytest.raises(ValueError, match="leads out of the archive"):
            ImageFolder(tmp_path / "evil.zip", 12).require()


@pytest.mark.parametrize("name", ["@__thumb", "@Recycle", "#recycle", "@eaDir", ".x"])
def test_folders_of_storage_devices_are_left_out(tmp_path, name):
    folder_of(tmp_path, {f"{i}.png": png(i) for i in range(3)} | {f"{name}/0.png": png()})
    data = ImageFolder(tmp_path, 12)
    assert data.size() == 2
    assert data.left_out() == {"hidden, or a system's own": 1}


@pytest.mark.parametrize("second", ["dog/1.png", "./dog//1.png", "dog\\1.png"])
def test_two_members_of_one_name_are_refused(tmp_path, second):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        warnings.simplefilter("ignore")  # of the zipfile module
        for k, name in enumerate(("dog/0.png", "dog/1.png", "dog/README", "dog/README", second)):
            file.writestr(name, png(k))
    with pytest.raises(UsageError, match=r"a\.zip holds two files called dog/1\.png"):
        ImageFolder(tmp_path / "a.zip", 12).require()


@pytest.fixture
def strange(tmp_path):
    """A folder whose names are Latin-1 and no UTF-8; a good image, others, and a bad one."""
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    for name, content in {b"c\xf4t/0.png": png(0), b"c\xf4t/\xe9.png": png(1),
                          b"dog/b\xe4d.png": b"no", b"dog/x\n.png": png(2)}.items():  # fmt: skip
        os.makedirs(os.path.dirname(root + b"/" + name), exist_ok=True)
        with open(root + b"/" + name, "wb") as file:
            file.write(content)
    return os.fsdecode(root)


def test_names_that_are_no_utf8_are_read_and_shown_escaped(strange, caplog):
    data = ImageFolder(strange, 12, on_bad_example="skip", cache_mib=0)
    images = data.info().unscale(data.examples(tf.range(3, dtype=tf.int64)))
    assert np.array_equal(images[0], picture(1))
    assert np.array_equal(images[2], picture(2))
    assert data.class_names() == ["c\\xf4t", "dog"]
    assert data.labels().tolist() == [0, 1, 1]
    assert r"caf\xe9/dog/b\xe4d.png is bad" in caplog.text
    assert data.location(2, "train").endswith(r"dog/x\n.png")
    assert data.name == r"caf\xe9"
    with pytest.raises(ValueError, match=r"b\\xe4d\.png cannot be used: not an image"):
        ImageFolder(strange, 12, cache_mib=0).examples(tf.range(3, dtype=tf.int64))


def test_names_in_archives_may_be_utf8_whatever_the_archive_says(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for i in range(3):
            file.writestr(f"été/{i}.png", png(i))
            file.writestr(f"猫/{i}.png", png(i))
    flagged = (tmp_path / "x.zip").read_bytes()
    silent = flagged
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = silent.find(start)
        while place >= 0:
            silent = silent[: place + flags + 1] + b"\0" + silent[place + flags + 2 :]
            place = silent.find(start, place + 1)
    (tmp_path / "silent.zip").write_bytes(silent)
    for name in ("x.zip", "silent.zip"):
        assert ImageFolder(tmp_path / name, 12).class_names() == ["été", "猫"]
    (tmp_path / "wrong.zip").write_bytes(flagged.replace("été".encode(), b"\xe9t\xe9ab"))
    with pytest.raises(ValueError, match="says that its names are UTF-8, and .* is not"):
        ImageFolder(tmp_path / "wrong.zip", 12).require()
