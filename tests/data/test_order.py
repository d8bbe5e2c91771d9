"""The order of training over real sources: pure, resumable without decoding, disjoint in parts."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import Arrays, ImageFolder, index_batches
from lcss_tf.data.image_folder import _Files

COUNT, BATCH, SEED = 21, 6, 4


@pytest.fixture(params=["folder", "cached folder", "arrays"])
def data(request, tmp_path):
    """Twenty examples for training, example k of the number k."""
    if request.param == "arrays":
        values = np.arange(COUNT, dtype=np.float32)[:, None] + np.zeros(3, np.float32)
        np.save(tmp_path / "x.npy", values)
        return Arrays(tmp_path / "x.npy", (3,), test_every=COUNT, stored_range=(0, 255))
    for k in range(COUNT):
        Image.fromarray(np.full((4, 4, 3), k, np.uint8)).save(tmp_path / f"{k:02}.png")
    cache = 10 if request.param == "cached folder" else 0
    return ImageFolder(tmp_path, 4, test_every=COUNT, cache_mib=cache)


def numbers(data, steps, **kwargs):
    """The examples' numbers in batches: [steps, rows]."""
    batches = data.pipeline(index_batches(data.size(), BATCH, SEED, **kwargs), seed=SEED)
    unscaled = [np.rint(data.info().unscale(batch)) for batch in batches.take(steps)]
    return np.array([batch.reshape(len(batch), -1)[:, 0] for batch in unscaled], int)


def test_every_epoch_is_a_permutation_and_the_same_again(data):
    seen = numbers(data, 10).ravel().reshape(3, 20)
    assert np.array_equal(np.sort(seen, axis=1), np.tile(np.arange(1, COUNT), (3, 1)))
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(numbers(data, 10).ravel(), seen.ravel())


@pytest.mark.parametrize("start_step", [1, 7])
def test_resuming_goes_on_with_the_next_example(data, start_step):
    resumed = numbers(data, 10 - start_step, start_step=start_step)
    assert np.array_equal(resumed, numbers(data, 10)[start_step:])


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_see_disjoint_parts_that_are_the_global_batch(data, workers):
    """Each worker has a pipeline of its own, as several machines would."""
    rows = BATCH // workers
    parts = [numbers(data, 10, shards=((k * rows, rows),)) for k in range(workers)]
    assert np.array_equal(np.concatenate(parts, axis=1), numbers(data, 10))


def test_resuming_decodes_nothing_that_it_skips(tmp_path, monkeypatch):
    for k in range(COUNT):
        Image.fromarray(np.full((4, 4, 3), k, np.uint8)).save(tmp_path / f"{k:02}.png")
    read, content = [], _Files.content

    def counting(self, index):
        told = tf.numpy_function(lambda i: read.append(int(i)) or np.int64(0), [index], tf.int64)
        with tf.control_dependencies([told]):
            return content(self, index)

    monkeypatch.setattr(_Files, "content", counting)
    data = ImageFolder(tmp_path, 4, test_every=COUNT, cache_mib=0)
    indices = index_batches(20, BATCH, SEED, start_step=10**9).take(1)
    (first,) = list(data.pipeline(indices))
    assert len(first) == BATCH
    looked_at, *read = read  # the first, so that a wrong folder shows at once
    assert looked_at == 0
    assert sorted(read) == sorted(next(iter(indices))[0].numpy())
