"""FFHQ's TFRecords, read by index; what was not written to its end is found."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import FFHQ
from lcss_tf.data.tfrecord_index import masked_crc, record_index

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)


def write(path, images):
    """uint8 images [N, H, W, C] as FFHQ's files hold them."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in images:
            chw = np.ascontiguousarray(image.transpose(2, 0, 1))
            feature = {
                "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=chw.shape)),
                "data": tf.train.Feature(bytes_list=tf.train.BytesList(value=[chw.tobytes()])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return path


def stored(data, split="train"):
    return data.stored(tf.range(data.size(split), dtype=tf.int64), split).numpy()


def test_the_checksum_is_crc_32c():
    crc = (masked_crc(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert ((crc >> 17 | crc << 15) & 0xFFFFFFFF) == 0xE3069283  # the published check value


def test_the_index_finds_every_record(tmp_path):
    random = np.random.default_rng(1)
    contents = [random.bytes(n) for n in (0, 1, 1000, 17, 70_000)]
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        for content in contents:
            writer.write(content)
    whole = (tmp_path / "x").read_bytes()
    offsets, lengths = record_index(tmp_path / "x")
    assert [whole[o : o + n] for o, n in zip(offsets, lengths, strict=True)] == contents


@pytest.mark.parametrize("cache_mib", [0, 10])
def test_images_are_read_as_they_are(tmp_path, cache_mib):
    write(tmp_path / "ffhq-r04.tfrecords", IMAGES)
    write(tmp_path / "ffhq-r03.tfrecords", IMAGES[:, ::2, ::2])
    data = FFHQ(tmp_path, 16, test_every=3, cache_mib=cache_mib)
    data.require()
    assert np.array_equal(stored(data), IMAGES[[1, 2, 4, 5]])
    assert np.array_equal(stored(data, "test"), IMAGES[[0, 3, 6]])
    small = FFHQ(tmp_path, 8, test_every=3, cache_mib=cache_mib)
    assert np.array_equal(stored(small), IMAGES[[1, 2, 4, 5], ::2, ::2])
    between = FFHQ(tmp_path / "ffhq-r04.tfrecords", 12, cache_mib=cache_mib)
    assert stored(between).shape == (6, 12, 12, 3)


@pytest.mark.parametrize("left", [3_000, 800 + 9, 5])
def test_half_a_shard_is_found_before_training(tmp_path, left):
    path = write(tmp_path / "ffhq-r04.tfrecords", IMAGES)
    path.write_bytes(path.read_bytes()[:left])
    expected = "was not written to its end" if left > 850 else "no TFRecord file"
    with pytest.raises(ValueError, match=rf"ffhq-r04\.tfrecords (is )?{expected}.*again"):
        FFHQ(path, 16).require()


def test_a_shard_of_which_the_end_is_zeros_is_found(tmp_path):
    path = write(tmp_path / "ffhq-r04.tfrecords", IMAGES)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 7 * 3] + bytes(5_000))
    with pytest.raises(ValueError, match="was not written to its end: record 3"):
        FFHQ(path, 16).require()


def test_other_records_are_named(tmp_path):
    path = write(tmp_path / "ffhq-r04.tfrecords", IMAGES)
    with pytest.raises(ValueError, match=r"Record 1 of .*r04.*cannot be used.*1 channels"):
        FFHQ(path, 16, channels=1, cache_mib=0).require()
    with tf.io.TFRecordWriter(str(tmp_path / "other-r04.tfrecords")) as writer:
        for _ in range(3):
            writer.write(b"something else")
    with pytest.raises(ValueError, match=r"Record 1 of .*other.*cannot be used"):
        FFHQ(tmp_path / "other-r04.tfrecords", 16, cache_mib=0).require()
    with pytest.raises(FileNotFoundError, match=r"Set FFHQ\.path"):
        FFHQ(tmp_path, 1024).require()
