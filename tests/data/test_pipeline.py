"""The order of training, batches in blocks, named errors; over real sources too."""

import itertools
import time
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import FFHQ, Arrays, ImageFolder, image_folder, pipeline, training_batches
from lcss_tf.data.pipeline import (
    MAX_FETCH,
    evaluation_batches,
    example_at,
    fetch_in_blocks,
    index_batches,
    with_named_errors,
)
from lcss_tf.training.distribution import Distribution
from tests.data.helpers import write_records


def take(count, *args, **kwargs):
    stream = index_batches(*args, **kwargs).take(count)
    return [(indices.numpy(), positions.numpy()) for indices, positions in stream]


@pytest.mark.parametrize("size", [1, 2, 3, 10, 257, 1437])
def test_every_epoch_sees_each_example_once(size):
    for seed, epoch in itertools.product((0, 7), range(3)):
        positions = epoch * size + np.arange(size)
        assert sorted(example_at(positions, size, seed).numpy()) == list(range(size))


def test_epochs_and_seeds_have_unrelated_orders():
    size = 1000
    orders = [
        example_at(epoch * size + np.arange(size), size, seed).numpy()
        for seed in (0, 1, 2)
        for epoch in range(4)
    ]
    # Uncorrelated orders have correlations of standard deviation 1/√1000, so 0.03; and one fixed
    # point on average.
    for one, other in itertools.combinations([np.arange(size), *orders], 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.15
        assert np.sum(one == other) < 8


def test_large_positions_and_sizes_are_exact():
    size = 3_000_000_000
    positions = np.int64(5) * size + np.array([0, 1, size - 1])
    indices = example_at(positions, size, seed=3).numpy()
    assert len(set(indices)) == 3
    assert np.all((indices >= 0) & (indices < size))


def test_batches_run_across_epochs_whole():
    batches = take(50, 10, 7, seed=4)
    assert {len(indices) for indices, _ in batches} == {7}
    stream = np.concatenate([indices for indices, _ in batches]).reshape(-1, 10)
    assert np.all(np.sort(stream, axis=1) == np.arange(10))
    positions = np.concatenate([positions for _, positions in batches])
    assert np.array_equal(positions, np.arange(350))


def test_a_batch_larger_than_the_data_holds_whole_epochs():
    indices, _ = take(1, 3, 9, seed=0)[0]
    assert np.all(np.sort(indices.reshape(3, 3), axis=1) == np.arange(3))


@pytest.mark.parametrize("size", [13, None])
def test_jumping_equals_running(size):
    whole = take(40, size, 8, seed=5)
    jumped = take(15, size, 8, seed=5, start_step=25)
    for (ran, ran_at), (got, got_at) in zip(whole[25:], jumped, strict=True):
        assert np.array_equal(ran, got)
        assert np.array_equal(ran_at, got_at)


def test_a_far_jump_is_as_fast_as_none():
    start = time.process_time()  # what others do on the machine does not count
    take(1, 50_000, 128, seed=5, start_step=10**9)
    assert time.process_time() - start < 5.0


@pytest.mark.parametrize("shards", [((0, 4), (4, 4)), ((0, 5), (5, 2), (7, 1)), ((4, 4),)])
def test_shards_are_the_parts_of_the_global_batch(shards):
    whole = take(6, 11, 8, seed=6, start_step=3)
    parts = take(6 * len(shards), 11, 8, seed=6, start_step=3, shards=shards)
    expected = [indices[first : first + rows] for indices, _ in whole for first, rows in shards]
    for (got, _), want in zip(parts, expected, strict=True):
        assert np.array_equal(got, want)


def test_batch_shapes_are_static_for_the_compiler():
    indices, positions = index_batches(10, 8, 0, shards=((0, 4), (4, 4))).element_spec
    assert indices.shape == positions.shape == (4,)
    assert indices.dtype == positions.dtype == tf.int64
    uneven, _ = index_batches(10, 8, 0, shards=((0, 5), (5, 3))).element_spec
    assert uneven.shape == (None,)


def test_endless_data_are_read_in_order():
    indices, positions = take(1, None, 5, seed=1, start_step=3)[0]
    assert np.array_equal(indices, np.arange(15, 20))
    assert np.array_equal(positions, indices)


def test_the_index_stream_is_no_bottleneck():
    stream = index_batches(50_000, 128, seed=0)
    start = time.process_time()
    assert sum(1 for _ in stream.take(1_000)) == 1_000
    assert time.process_time() - start < 10.0  # 10 ms a batch; 0.3 are measured


def test_evaluation_goes_through_each_example_in_order():
    batches = [batch.numpy() for batch in evaluation_batches(10, 4)]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert np.array_equal(np.concatenate(batches), np.arange(10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_examples": 0}, "num_examples=0"),
        ({"global_batch": 0}, "global_batch=0"),
        ({"start_step": -1}, "start_step=-1"),
        ({"shards": ((4, 5),)}, r"8 examples; got \(4, 5\)"),
        ({"shards": ()}, "At least one shard"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    arguments = {"num_examples": 10, "global_batch": 8, "seed": 0, **arguments}
    with pytest.raises(ValueError, match=message):
        index_batches(**arguments)


def test_evaluating_endless_data_asks_for_a_number():
    with pytest.raises(ValueError, match="how many examples"):
        evaluation_batches(None, 4)


@pytest.mark.parametrize("shape", [(3,), (2**17, 3), (2**19,)], ids=["many", "few", "one"])
def test_they_are_the_elements_in_order(shape):
    dataset = tf.data.Dataset.range(MAX_FETCH + 5).map(
        lambda i: (tf.fill(shape, tf.cast(i, tf.float32)), {"label": i})
    )
    got = list(fetch_in_blocks(dataset))
    assert [int(labels["label"]) for _, labels in got] == list(range(MAX_FETCH + 5))
    for i, (x, _) in enumerate(got):
        assert x.shape == shape
        assert np.all(x == i)


def test_batches_of_unknown_size_are_fetch_in_blocks_one_by_one():
    ragged = tf.data.Dataset.range(5).map(lambda i: tf.range(i))
    assert [len(x) for x in fetch_in_blocks(ragged)] == [0, 1, 2, 3, 4]


def test_a_bad_file_in_a_later_batch_is_named(tmp_path):
    for k in range(60):
        Image.fromarray(np.full((4, 4, 3), k, np.uint8)).save(tmp_path / f"{k:02}.png")
    data = ImageFolder(tmp_path, 4, test_every=60, cache_mib=0)
    order = example_at(np.arange(59), 59, 0).numpy()
    bad = data.paths()[order[13]]  # the second of the seventh batch
    with open(bad, "wb") as file:
        file.write(b"no image")
    batches = fetch_in_blocks(data.pipeline(index_batches(59, 2, 0)))
    indices_of = lambda step: example_at(np.arange(2 * step, 2 * step + 2), 59, 0).numpy()
    with pytest.raises(ValueError, match=rf"{bad} cannot be used: not an image"):
        list(itertools.islice(with_named_errors(data, batches, indices_of, ahead=MAX_FETCH), 10))


def test_an_iterator_that_is_left_until_the_interpreter_ends_is_silent(monkeypatch):
    """Modules are gone by then, and an error there is printed though nobody can act on it."""
    batches = with_named_errors(None, iter(range(3)), None)
    assert next(batches) == 0
    monkeypatch.setattr(pipeline, "tf", None)
    batches.close()


COUNT, BATCH, SEED = 21, 6, 4


@pytest.fixture(
    params=[
        "folder",
        pytest.param("cached folder", marks=pytest.mark.slow),
        pytest.param("archive", marks=pytest.mark.slow),  # read by offset, as records are
        pytest.param("records", marks=pytest.mark.slow),
        "arrays",
    ]
)
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


@pytest.mark.parametrize("start_step", [pytest.param(1, marks=pytest.mark.slow), 7])
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
    read = {}
    for replicas in (1, 2):
        distribution = Distribution(replicas)
        batches = training_batches(data, distribution, BATCH, SEED, start_step=2)
        read[replicas] = [distribution.concat(next(batches)).numpy() for _ in range(8)]
        assert len(distribution.first(next(batches))) == BATCH // replicas
    assert np.array_equal(read[1], read[2])
    unscaled = np.rint(data.info().unscale(np.stack(read[2]))).reshape(8, BATCH, -1)[..., 0]
    assert np.array_equal(unscaled, numbers(data, 10)[2:])


def test_resuming_decodes_nothing_that_it_skips(tmp_path, monkeypatch):
    for k in range(COUNT):
        Image.fromarray(np.full((4, 4, 3), k, np.uint8)).save(tmp_path / f"{k:02}.png")
    read, content = [], image_folder._Files.content

    def counting(self, index):
        told = tf.numpy_function(lambda i: read.append(int(i)) or np.int64(0), [index], tf.int64)
        with tf.control_dependencies([told]):
            return content(self, index)

    monkeypatch.setattr(image_folder._Files, "content", counting)
    data = ImageFolder(tmp_path, 4, test_every=COUNT, cache_mib=0)
    indices = index_batches(20, BATCH, SEED, start_step=10**9).take(1)
    (first,) = list(data.pipeline(indices))
    assert len(first) == BATCH
    looked_at, *read = read  # the first, so that a wrong folder shows at once
    assert looked_at == 0
    assert sorted(read) == sorted(next(iter(indices))[0].numpy())
