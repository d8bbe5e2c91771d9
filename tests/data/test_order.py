"""The order of training over real sources: pure, resumable without decoding, disjoint in parts."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import FFHQ, Arrays, ImageFolder, index_batches
from lcss_tf.data.image_folder import _Files
from lcss_tf.experiment.batches import training_batches
from lcss_tf.training.distribution import Distribution
from tests.data.test_ffhq import write as write_records

COUNT, BATCH, SEED = 21, 6, 4


@pytest.fixture(params=["folder", "cached folder", "archive", "records", "arrays"])
def data(request, tmp_path):
    """Twenty examples for training, example k of the number k."""
    if request.param == "arrays":
        values = np.arange(COUNT, dtype=np.float32)[:, None] + np.zeros(3, np.float32)
        np.save(tmp_path / "x.npy", values)
        return Arrays(tmp_path / "x.npy", (3,), test_every=COUNT, stored_range=(0, 255))
    images = np.tile(np.arange(COUNT, dtype=np.uint8).reshape(-1, 1, 1, 1), (1, 4, 4, 3))
    if request.param == "records":
        path = write_records(tmp_path / "x-r02.tfrecords", images)
        return FFHQ(path, 4, test_every=COUNT, cache_mib=0)
    for k, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{k:02}.png")
    if request.param == "archive":
        with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(tmp_path.glob("*.png")):
                file.write(path, path.name)
        return ImageFolder(tmp_path / "x.zip", 4, test_every=COUNT, cache_mib=0)
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


@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_workers_see_disjoint_parts_that_are_the_global_batch(data, workers):
    """Each worker has a pipeline of its own, as several machines would."""
    rows = BATCH // workers
    parts = [numbers(data, 10, shards=((k * rows, rows),)) for k in range(workers)]
    assert np.array_equal(np.concatenate(parts, axis=1), numbers(data, 10))
    # In an epoch (20 examples; 18 are whole batches) no worker sees what another one does.
    seen = np.concatenate([part[:3].ravel() for part in parts])
    assert len(set(seen)) == len(seen) == 18


def test_two_replicas_read_halves_of_the_batches_that_one_reads(data):
    """Through the strategy, and beginning in mid-epoch."""
    recipe = SimpleNamespace(data=data, num_classes=None, batch_size=BATCH, seed=SEED)
    read = {}
    for replicas in (1, 2):
        distribution = Distribution(replicas)
        batches = training_batches(recipe, distribution, 2)
        read[replicas] = [distribution.concat(next(batches)).numpy() for _ in range(8)]
        assert len(distribution.first(next(batches))) == BATCH // replicas
    assert np.array_equal(read[1], read[2])
    unscaled = np.rint(data.info().unscale(np.stack(read[2]))).reshape(8, BATCH, -1)[..., 0]
    assert np.array_equal(unscaled, numbers(data, 10)[2:])


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
