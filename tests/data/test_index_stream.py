import itertools
import time

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data.index_stream import evaluation_batches, example_at, index_batches


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
    start = time.perf_counter()
    take(1, 50_000, 128, seed=5, start_step=10**9)
    assert time.perf_counter() - start < 5.0


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
    start = time.perf_counter()
    assert sum(1 for _ in stream.take(1_000)) == 1_000
    assert time.perf_counter() - start < 10.0  # 10 ms a batch, on a busy machine; 0.3 otherwise


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
        ({"shards": ((4, 5),)}, r"8 rows; got \(4, 5\)"),
        ({"shards": ()}, "at least one shard"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    arguments = {"num_examples": 10, "global_batch": 8, "seed": 0, **arguments}
    with pytest.raises(ValueError, match=message):
        index_batches(**arguments)


def test_evaluating_endless_data_asks_for_a_number():
    with pytest.raises(ValueError, match="how many examples"):
        evaluation_batches(None, 4)
