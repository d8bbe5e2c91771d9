"""Which example comes when: a pure function, so that resuming is a jump.

The whole of training is one endless row of **positions** 0, 1, 2, …: row r of
step s is position p = s·global_batch + r. Position p belongs to epoch p // n, and
reads the example at place p % n of that epoch's own permutation. Nothing is
shuffled in a buffer, nothing is skipped by reading it, and batches run on across
the ends of epochs: none is dropped or short.
"""

import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.errors import UsageError

_ROUNDS = 8  # of the cipher that permutes; TF's own default is 4


def example_at(positions, num_examples, seed):
    """The example at each position, int64 [B].

    Args:
      positions: int64 [B], not negative.
      num_examples: n, or None for endless data, where position p reads example p.
      seed: an int.
    """
    positions = tf.cast(positions, tf.int64)
    if num_examples is None:
        return positions
    epochs, places = positions // num_examples, positions % num_examples
    # The raw op: tf.random.experimental.index_shuffle pads a matrix of seeds on the wrong axis,
    # and a batch that spans two epochs needs a seed for each row.
    return tf.raw_ops.RandomIndexShuffle(
        index=places,
        seed=hashing.words(hashing.stream_key(seed, "order"), epochs, 3),
        max_index=tf.constant(num_examples - 1, tf.int64),
        rounds=_ROUNDS,
    )


def index_batches(num_examples, global_batch, seed, start_step=0, shards=None):
    """The endless stream of training batches from `start_step` on.

    Args:
      num_examples: n, or None for endless data.
      global_batch: examples a step, over all replicas of all workers.
      seed: an int; fixes the order.
      start_step: the first step delivered; a jump, at no cost.
      shards: the parts ``(first_row, rows)`` of each global batch that this
        pipeline delivers in turn, one for each local replica; by default the whole.

    Returns:
      A ``tf.data.Dataset`` of pairs (indices, positions), int64 [rows] each: for
      every step one pair for each shard, in order. The positions number the visits
      (`Dataset.visits`).

    Raises:
      ValueError: no examples, an empty batch, or a shard outside the global batch.
    """
    shards = ((0, global_batch),) if shards is None else tuple(shards)
    _check(num_examples, global_batch, start_step, shards)
    first_rows, row_counts = (tf.constant(part, tf.int64) for part in zip(*shards, strict=True))
    # A known batch size is what XLA compiles for, so it is kept wherever shards agree.
    static_rows = shards[0][1] if len({rows for _, rows in shards}) == 1 else None

    def batch(turn):
        step, shard = turn // len(shards), turn % len(shards)
        first = step * global_batch + first_rows[shard]
        positions = tf.range(first, first + row_counts[shard])
        positions = tf.ensure_shape(positions, [static_rows])
        indices = tf.ensure_shape(example_at(positions, num_examples, seed), [static_rows])
        return indices, positions

    turns = tf.data.Dataset.range(start_step * len(shards), np.iinfo(np.int64).max)
    return turns.map(batch)


def evaluation_batches(num_examples, batch_size):
    """Each of the first `num_examples` examples once, in order; the last batch may be short.

    Returns:
      A ``tf.data.Dataset`` of int64 index batches [B]; without positions, so
      that examples come as they are.

    Raises:
      ValueError: no examples or an empty batch.
    """
    if num_examples is None:
        raise UsageError(
            "These data are endless, so an evaluation must say how many examples it takes: "
            "evaluation_batches(10_000, batch_size)."
        )
    _check(num_examples, batch_size, 0, ((0, batch_size),))
    return tf.data.Dataset.range(num_examples).batch(batch_size)


def _check(num_examples, global_batch, start_step, shards):
    if num_examples is not None and num_examples < 1:
        raise UsageError(f"An epoch needs at least one example; got num_examples={num_examples}.")
    if global_batch < 1 or start_step < 0:
        raise UsageError(
            "The global batch is at least 1 and the first step at least 0; "
            f"got global_batch={global_batch}, start_step={start_step}."
        )
    if not shards:
        raise UsageError("index_batches needs at least one shard (first_row, rows); got none.")
    for first_row, rows in shards:
        if first_row < 0 or rows < 1 or first_row + rows > global_batch:
            raise UsageError(
                f"A shard (first_row, rows) lies within the global batch of {global_batch} rows; "
                f"got {(first_row, rows)}."
            )
