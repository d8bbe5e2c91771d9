"""Encoded images of every kind become uint8 of one shape, as Pillow reads them."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data.decoding import decode_bytes
from tests.data.helpers import encoded, picture


def decode(path, shape):
    return decode_bytes(tf.io.read_file(str(path)), shape).numpy()


def read(content, shape=(12, 12, 3)):
    return decode_bytes(tf.constant(content), shape).numpy()


def test_resizing_crops_the_centre_and_antialiases(tmp_path):
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:24] = 200  # the centre square
    Image.fromarray(wide).save(tmp_path / "wide.png")
    got = decode(tmp_path / "wide.png", (8, 8, 3))
    assert np.all(got == 200)
    stripes = np.tile(np.uint8([[0], [255]]), (32, 64))[..., None].repeat(3, axis=2)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    grey = decode(tmp_path / "stripes.png", (8, 8, 3))
    assert np.all(np.abs(grey.astype(int) - 127) < 12)  # without a filter: all 0 or all 255


def test_jpeg_is_read(tmp_path):
    smooth = np.linspace(40, 200, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.JPG", "JPEG", quality=98, subsampling=0)
    got = decode(tmp_path / "a.JPG", (16, 16, 3)).astype(int)
    assert np.abs(got - smooth).mean() < 3


def test_other_kinds_of_image_are_converted(tmp_path):
    grey = picture(1, channels=1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(decode(tmp_path / "grey.png", (12, 12, 3)), grey[..., None].repeat(3, 2))
    assert np.array_equal(decode(tmp_path / "grey.png", (12, 12, 1)), grey[..., None])

    few = np.uint8([[255, 0, 0], [0, 0, 255]])[np.arange(144).reshape(12, 12) % 2]
    Image.fromarray(few).quantize(2).save(tmp_path / "palette.png")
    assert np.array_equal(decode(tmp_path / "palette.png", (12, 12, 3)), few)

    rgba = picture(2, channels=4)
    rgba[..., 3] = 255
    rgba[0, 0] = (10, 20, 30, 0)  # invisible: the white below shows
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    got = decode(tmp_path / "alpha.png", (12, 12, 3))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(got[1:], rgba[1:, :, :3])
    assert np.array_equal(decode(tmp_path / "alpha.png", (12, 12, 4)), rgba)

    four = decode(tmp_path / "palette.png", (12, 12, 4))
    assert np.array_equal(four[..., :3], few)
    assert np.all(four[..., 3] == 255)

    deep = np.arange(144, dtype=np.uint16).reshape(12, 12) * 450
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(decode(tmp_path / "deep.png", (12, 12, 1))[..., 0], deep >> 8)

    cmyk = Image.fromarray(np.full((12, 12, 3), 120, np.uint8)).convert("CMYK")
    cmyk.save(tmp_path / "cmyk.jpg", quality=95)
    assert np.all(np.abs(decode(tmp_path / "cmyk.jpg", (12, 12, 3)).astype(int) - 120) < 6)


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


def chunk(name, data):
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


JPEG = encoded(Image.fromarray(picture()), "JPEG")
PNG = encoded(Image.fromarray(picture()), "PNG")
UNUSUAL = {
    "a JPEG of many comments": JPEG[:2] + 1_500 * b"\xff\xfe\0\x04ab" + JPEG[2:],
    "zeros between the segments of a JPEG": JPEG[:20] + bytes(3) + JPEG[20:],
    "the code of a frame where no segment is": JPEG[:20] + b"\0\xc0" + b"\xff" * 9 + JPEG[20:],
    "a PNG that begins with a text": PNG[:8] + chunk(b"tEXt", b"a\0" + b"\xff" * 9) + PNG[8:],
    "a PNG of many texts": PNG[:33] + 1_500 * chunk(b"tEXt", b"a\0b") + PNG[33:],
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_header_of_which_the_graph_finds_no_size_is_read_by_pillow(name):
    expected = np.asarray(Image.open(io.BytesIO(UNUSUAL[name])).convert("RGB"))
    assert np.array_equal(read(UNUSUAL[name]), expected)


@pytest.mark.parametrize(
    ("bits", "row", "level"), [(1, b"\x50", 1), (2, b"\x1b", 1), (4, b"\1#", 2)]
)
def test_a_transparent_grey_level_of_few_bits_is_that_of_the_png_standard(bits, row, level):
    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"tRNS", bytes([0, level])), (b"IDAT", zlib.compress(b"\0" + row))
    content = PNG[:8] + b"".join(chunk(*part) for part in (*parts, (b"IEND", b"")))
    stored = np.arange(4) if bits > 1 else np.arange(4) % 2
    grey = stored * 255 // (2**bits - 1)
    alpha = 255 * (stored != level)
    expected = np.stack([grey, grey, grey, alpha], axis=-1)[None]
    assert np.array_equal(read(content, (1, 4, 4)), expected)
