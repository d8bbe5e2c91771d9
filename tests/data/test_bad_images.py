"""Whatever lies in a folder of images: it is read rightly, or named with the remedy."""

import io
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import ImageFolder, decode, index_batches
from lcss_tf.data.explained import for_people
from lcss_tf.data.index_stream import example_at
from tests.data.others import let_others_in, nobody


def picture(seed=0, height=12, width=12, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(image, *args, **kwargs):
    buffer = io.BytesIO()
    image.save(buffer, *args, **kwargs)
    return buffer.getvalue()


def png(seed=0):
    return encoded(Image.fromarray(picture(seed)), "PNG")


def read(content, shape=(12, 12, 3)):
    return decode.decode_bytes(tf.constant(content), shape).numpy()


def folder_of(place, contents):
    for name, content in contents.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place


@pytest.fixture(params=[0, 100], ids=["read on demand", "cached"])
def cache_mib(request):
    return request.param


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
    "tiff.png": (encoded(Image.fromarray(picture()), "TIFF"), "TIFF is not read; convert it"),
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
        for _ in for_people(data, batches, indices_of):
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
    let_others_in(tmp_path)
    (tmp_path / "2.png").chmod(0)
    data = ImageFolder(tmp_path, 12, cache_mib=0)
    with nobody(), pytest.raises(ValueError, match=r"2\.png cannot be used: .*chmod u\+r"):
        data.examples(tf.range(data.size(), dtype=tf.int64))
    (tmp_path / "locked").chmod(0)
    try:
        with nobody(), pytest.raises(PermissionError, match=r"locked may not be read.*chmod"):
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


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("endian", [">", "<"])
def test_exif_orientation_is_applied_as_pillow_does(turned, endian):
    smooth = np.linspace(0, 255, 24 * 16 * 3).reshape(24, 16, 3).astype(np.uint8)
    plain = encoded(Image.fromarray(smooth), "JPEG", quality=95)
    upright = Image.fromarray(read(plain, (24, 16, 3)))
    transpose = Image.Transpose
    how = {
        2: transpose.FLIP_LEFT_RIGHT, 3: transpose.ROTATE_180, 4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE, 6: transpose.ROTATE_270, 7: transpose.TRANSVERSE,
        8: transpose.ROTATE_90,
    }  # fmt: skip
    expected = np.asarray(upright.transpose(how[turned]) if turned > 1 else upright)
    # A directory of two fields: the maker's name, and the orientation.
    pack = lambda form, *values: struct.pack(endian + form, *values)
    tiff = {">": b"MM", "<": b"II"}[endian] + pack("HI", 42, 8) + pack("H", 2)
    tiff += pack("HHI", 0x010F, 2, 4) + b"abc\0" + pack("HHIHH", 0x0112, 3, 1, turned, 0)
    segment = b"Exif\0\0" + tiff + bytes(4)
    start = plain.index(b"\xff\xe0")
    after = start + 2 + struct.unpack(">H", plain[start + 2 : start + 4])[0]
    for place in (start, after):  # before or behind the JFIF segment
        content = (
            plain[:place]
            + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
            + plain[place:]
        )  # fmt: skip
        assert Image.open(io.BytesIO(content)).getexif()[0x0112] == turned
        assert np.array_equal(read(content, expected.shape), expected)


def test_every_format_is_read(tmp_path):
    exact = picture(1)
    few = np.uint8([[255, 0, 0], [0, 0, 255]])[np.arange(144).reshape(12, 12) % 2]
    for image, name, options in (
        (exact, "WEBP", {"lossless": True}),
        (exact, "BMP", {}),
        (few, "GIF", {}),
    ):
        content = encoded(Image.fromarray(image), name, **options)
        assert np.array_equal(read(content), image), name
        rgba = read(content, (12, 12, 4))
        assert np.array_equal(rgba[..., :3], image)
        assert np.all(rgba[..., 3] == 255)
        assert read(content, (12, 12, 1)).shape == (12, 12, 1)
    palette = encoded(Image.fromarray(few).quantize(2), "BMP")  # 8 bits and a palette
    assert np.array_equal(read(palette), few)
    animation = [Image.fromarray(few), Image.fromarray(255 - few)]
    for name, options in (("GIF", {}), ("WEBP", {"lossless": True})):
        content = encoded(animation[0], name, save_all=True, append_images=animation[1:], **options)
        assert np.array_equal(read(content), few), name


def test_what_is_clear_in_a_palette_or_a_webp_is_white():
    palette = Image.new("P", (12, 12))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((3, 2), 1)
    got = read(encoded(palette, "PNG", transparency=1))
    assert got[2, 3].tolist() == [255, 255, 255]
    assert got[0, 0].tolist() == [255, 0, 0]
    rgba = np.dstack([picture(2), np.full((12, 12), 255, np.uint8)])
    rgba[0, 0, 3] = 0
    got = read(encoded(Image.fromarray(rgba), "WEBP", lossless=True))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(got[1:], rgba[1:, :, :3])


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
    assert data.place_of(0, "test") == f"{archive}:cats/00.png"
    some = data.pipeline(index_batches(8, 4, 0), num_classes=2).take(3)
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
