import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_images

from lcss_tf.data import Photos, index_batches


def crops(data, count, **kwargs):
    return data.info().unscale(data.examples(tf.range(count, dtype=tf.int64), **kwargs))


def test_every_crop_lies_in_a_photograph():
    windows = [
        np.lib.stride_tricks.sliding_window_view(photo, (256, 256), axis=(0, 1))
        for photo in load_sample_images().images
    ]
    seen = set()
    for crop in crops(Photos(256), 12):
        found = [
            k
            for k, view in enumerate(windows)
            if np.any(np.all(view[:, :, :, 0, 0] == crop[0, 0], axis=2)
                      & np.all(view[:, :, :, -1, -1] == crop[-1, -1], axis=2))
        ]  # fmt: skip
        assert found
        seen.update(found)
    assert seen == {0, 1}


def test_a_crop_is_a_function_of_seed_split_and_index():
    data = Photos(16)
    whole = crops(data, 20)
    assert whole.shape == (20, 16, 16, 3)
    some = data.info().unscale(data.examples(tf.constant([7, 0, 7], tf.int64)))
    assert np.array_equal(some, whole[[7, 0, 7]])
    for other in ({"seed": 1}, {"split": "test"}):
        assert not np.array_equal(crops(data, 20, **other), whole)
    assert data.size() is None
    batch = next(iter(data.pipeline(index_batches(None, 20, 0))))
    assert np.array_equal(data.info().unscale(batch), whole)


def test_a_size_beyond_256_is_refused():
    with pytest.raises(ValueError, match="between 1 and 256 pixels; got 512"):
        Photos(512)
