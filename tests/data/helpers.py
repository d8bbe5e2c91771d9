"""Shared by the tests of data: another user's view of files, images, records."""

import contextlib
import io
import os

import numpy as np
import tensorflow as tf


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
