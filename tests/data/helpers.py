"""Shared by the tests of data: another user's view of files, images, records."""

import contextlib
import gzip
import io
import os

import numpy as np
import tensorflow as tf

from lcss_tf.conditioning import ConditionSpec


def classes(count):
    """What a network of so many classes is told."""
    return ConditionSpec("num_classes", count)


@contextlib.contextmanager
def as_nobody():
    """As a user who is not root: permissions do not apply to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def allow_others(tmp_path):
    """Opens the folders of a test to other users."""
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_uid == os.geteuid() and "pytest" in str(place):
            place.chmod(0o755)


def picture(seed=0, height=12, width=12, channels=3):
    """A uint8 image of noise, without a channel axis if it is grey."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image, *args, **kwargs):
    """The bytes of a Pillow image as `save` writes them."""
    buffer = io.BytesIO()
    image.save(buffer, *args, **kwargs)
    return buffer.getvalue()


def write_records(path, images):
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


IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array):
    """The bytes of an IDX file."""
    array = np.asarray(array)
    code = IDX_CODES[array.dtype.str[1:]]
    head = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_family(folder, images, labels, held_out=4, ending=".gz", size=28):
    """The four files of MNIST's family: all but the last `held_out` examples are for training.

    Args:
      folder: is made.
      images: uint8 [N, H, W], or a number: so many images of noise with two classes.
      labels: uint8 [N], or None for images that are made.
      held_out: examples of the test files.
      ending: ".gz", or "" for plain files.
      size: height and width of images that are made.
    """
    if isinstance(images, int):
        labels = np.arange(images, dtype=np.uint8) % 2
        noise = np.random.default_rng(0).integers(0, 120, (images, size, size), np.uint8)
        noise[:, : size // 2] += 120 * labels[:, None, None]  # a class is seen at a glance
        images = noise
    folder.mkdir(parents=True, exist_ok=True)
    write = gzip.compress if ending else bytes
    for prefix, part in (("train", slice(-held_out)), ("t10k", slice(-held_out, None))):
        (folder / f"{prefix}-images-idx3-ubyte{ending}").write_bytes(write(idx(images[part])))
        (folder / f"{prefix}-labels-idx1-ubyte{ending}").write_bytes(write(idx(labels[part])))
    return images, labels
