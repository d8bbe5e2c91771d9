"""The input pipeline: which example comes when, batches for every replica, readable errors.

**Order.** Training reads one endless sequence of **positions** 0, 1, 2, …: example r of step s has
position p = s·global_batch + r. Position p belongs to epoch p // n and reads the example at place
p % n of that epoch's own permutation. The order is a pure function, so resuming is a jump. There is
no shuffle buffer, nothing is skipped by reading it, and batches run across the ends of epochs:
none is dropped or short.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data import hashing
from lcss_tf.display import Bar
from lcss_tf.errors import UsageError
from lcss_tf.typing import Tensor

Shards = Sequence[tuple[int, int]]  # parts (first index, size) of each global batch

MAX_FETCH = 16  # batches that cross from TensorFlow to Python in one call
_FETCH_BYTES = 2**20  # per call, unless a single batch is larger
_FETCHES_AHEAD = 2  # calls prepared in advance
_BATCHES_AHEAD = 4
_CIPHER_ROUNDS = 8  # of the cipher that permutes; TensorFlow's own default is 4
_BAR_DELAY_S = 3  # of reading before a progress bar appears


def example_at(positions: Tensor, num_examples: int | None, seed: int) -> Tensor:
    """The index of the example at each position, int64 [B].

    Args:
      positions: int64 [B], not negative.
      num_examples: n, or None for endless data, where position p reads example p.
      seed: fixes the permutations.
    """
    positions = tf.cast(positions, tf.int64)
    if num_examples is None:
        return positions
    epochs, places = positions // num_examples, positions % num_examples
    # The raw op: tf.random.experimental.index_shuffle pads a matrix of seeds on the wrong axis,
    # and a batch that spans two epochs needs a seed for each example.
    return tf.raw_ops.RandomIndexShuffle(
        index=places,
        seed=hashing.words(hashing.stream_key(seed, "order"), epochs, 3),
        max_index=tf.constant(num_examples - 1, tf.int64),
        rounds=_CIPHER_ROUNDS,
    )


def index_batches(
    num_examples: int | None,
    global_batch: int,
    seed: int,
    start_step: int = 0,
    shards: Shards | None = None,
) -> tf.data.Dataset:
    """The endless stream of training batches from `start_step` on.

    Args:
      num_examples: n, or None for endless data.
      global_batch: examples per step, over all replicas of all workers.
      seed: fixes the order.
      start_step: the first step delivered; jumping there costs nothing.
      shards: the parts ``(first, size)`` of each global batch that this pipeline delivers in turn,
        one per local replica; by default the whole batch.

    Returns:
      A dataset of pairs (indices, positions), int64 [size] each: for every step one pair per
      shard, in order. The positions number the augmented examples (`Dataset.augmented`).

    Raises:
      UsageError: no examples, an empty batch, or a shard outside the global batch.
    """
    shards = ((0, global_batch),) if shards is None else tuple(shards)
    _check(num_examples, global_batch, start_step, shards)
    firsts, sizes = (tf.constant(part, tf.int64) for part in zip(*shards, strict=True))
    static_size = shard_size(shards)

    @tf.autograph.experimental.do_not_convert  # rewriting the cipher's functions takes a second
    def batch(turn: Tensor) -> tuple[Tensor, Tensor]:
        step, shard = turn // len(shards), turn % len(shards)
        first = step * global_batch + firsts[shard]
        positions = tf.range(first, first + sizes[shard])
        positions = tf.ensure_shape(positions, [static_size])
        indices = tf.ensure_shape(example_at(positions, num_examples, seed), [static_size])
        return indices, positions

    turns = tf.data.Dataset.range(start_step * len(shards), np.iinfo(np.int64).max)
    return turns.map(batch)


def shard_size(shards: Shards) -> int | None:
    """The size that all shards share, or None. A known batch size is what XLA compiles for."""
    sizes = {size for _, size in shards}
    return sizes.pop() if len(sizes) == 1 else None


def evaluation_batches(num_examples: int | None, batch_size: int) -> tf.data.Dataset:
    """Each of the first `num_examples` examples once, in order; the last batch may be short.

    Returns:
      A dataset of index batches, int64 [B]; without positions, so examples are not augmented.

    Raises:
      UsageError: no examples or an empty batch.
    """
    if num_examples is None:
        raise UsageError(
            "These data are endless, so an evaluation must say how many examples it takes: "
            "evaluation_batches(10_000, batch_size)."
        )
    _check(num_examples, batch_size, 0, ((0, batch_size),))
    return tf.data.Dataset.range(num_examples).batch(batch_size)


def _check(num_examples: int | None, global_batch: int, start_step: int, shards: Shards) -> None:
    if num_examples is not None and num_examples < 1:
        raise UsageError(f"An epoch needs at least one example; got num_examples={num_examples}.")
    if global_batch < 1 or start_step < 0:
        raise UsageError(
            "The global batch is at least 1 and the first step at least 0; "
            f"got global_batch={global_batch}, start_step={start_step}."
        )
    if not shards:
        raise UsageError("At least one shard (first, size) is needed; got none.")
    for first, size in shards:
        if first < 0 or size < 1 or first + size > global_batch:
            raise UsageError(
                f"A shard (first, size) lies within the global batch of {global_batch} examples; "
                f"got {(first, size)}."
            )


def training_batches(
    data: Any,
    distribution: Any,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    condition: ConditionSpec | None = None,
    augmentation_size: int | None = None,
) -> Iterator[Any]:
    """Per-replica batches for training, from `start_step` on.

    Args:
      data: a `Dataset`.
      distribution: has ``batches(make_dataset, global_batch)``, where `make_dataset` maps shards
        to a ``tf.data.Dataset``: `lcss_tf.training.distribution.Distribution`.
      batch_size: examples per step over all replicas.
      seed: of the order and of augmentation.
      start_step: the first step delivered.
      condition: what a network takes; the batches are then pairs with the conditions.
      augmentation_size: of the labels that a network takes of augmented examples: those of the
        data, or zeros; the batches, pairs or not, are then pairs with these.

    Raises (on iteration):
      UsageError: an example that cannot be used: its name, and the remedy.
    """
    size = data.size("train")

    def make_dataset(shards: Shards) -> tf.data.Dataset:
        batches = data.training_pipeline(batch_size, seed, start_step, shards, condition)
        if augmentation_size is not None:
            # The labels depend on the positions alone: they need not pass through the examples.
            positions = index_batches(size, batch_size, seed, start_step, shards)
            batches = tf.data.Dataset.zip((batches, positions.map(labels_at)))
        return batches.prefetch(_BATCHES_AHEAD)

    @tf.autograph.experimental.do_not_convert
    def labels_at(_: Tensor, positions: Tensor) -> Tensor:
        if getattr(data, "augmentation_size", None) is None:
            return tf.zeros([tf.shape(positions)[0], augmentation_size])
        return data.augmentations(positions, seed)

    def indices_of(step: int) -> np.ndarray:
        first = (start_step + step) * batch_size
        return example_at(np.arange(first, first + batch_size), size, seed).numpy()

    batches = distribution.batches(make_dataset, batch_size)
    return with_named_errors(data, batches, indices_of, ahead=MAX_FETCH)


def with_named_errors(
    data: Any,
    batches: Iterable[Any],
    indices_of: Callable[[int], Any],
    split: str = "train",
    ahead: int = 1,
) -> Iterator[Any]:
    """The iterator `batches`; its TensorFlow errors become errors that name the bad example.

    Args:
      data: the `Dataset`.
      batches: an iterator over its examples.
      indices_of: maps the number of a batch, from 0, to the indices it holds.
      split: of the data.
      ahead: how many batches may arrive together: an error in one of them then appears at the
        first.

    Raises (on iteration):
      UsageError: an example that cannot be used: its name, and the remedy.
    """
    step = 0
    failure = tf.errors.OpError  # looked up now: at the interpreter's exit modules are gone
    try:
        for batch in batches:
            yield batch
            step += 1
    except failure:
        for k in range(ahead):
            data.check_examples(indices_of(step + k), split)
        raise


def fetch_in_blocks(dataset: tf.data.Dataset) -> Iterator[Any]:
    """The elements of a ``tf.data.Dataset`` one by one, as iterating over it gives them.

    Each call from Python into the pipeline wakes another thread, which costs as much as the step
    of a small network. So small batches are fetched up to 16 at a time. An error in one of a block
    appears at the block's first.
    """
    count = _block_size(dataset.element_spec)
    if count == 1:
        yield from dataset
        return
    for block in dataset.batch(count).prefetch(_FETCHES_AHEAD):
        columns = [tf.unstack(tensor) for tensor in tf.nest.flatten(block)]
        for parts in zip(*columns, strict=True):
            yield tf.nest.pack_sequence_as(block, parts)


def _block_size(spec: Any) -> int:
    sizes = [(part.shape.num_elements(), part.dtype.size) for part in tf.nest.flatten(spec)]
    if any(number is None for number, _ in sizes):
        return 1
    num_bytes = sum(number * size for number, size in sizes)
    return max(1, min(MAX_FETCH, _FETCH_BYTES // max(1, num_bytes)))


def progress_bar(count: int, name: str, unit: str, verb: str = "reading") -> Bar:
    """A `Bar` over `count` things called `unit`; it appears if the work takes over 3 s."""
    return Bar(count, f"{verb} {name}", unit, delay_s=_BAR_DELAY_S)


__all__ = [
    "MAX_FETCH",
    "Shards",
    "evaluation_batches",
    "example_at",
    "fetch_in_blocks",
    "index_batches",
    "progress_bar",
    "shard_size",
    "training_batches",
    "with_named_errors",
]
