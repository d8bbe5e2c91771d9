"""The cores of a CPU: each takes its own part of a batch through the network.

TensorFlow lets every operation use all cores. A step has some thousand operations, and after each
of them the cores wait for one another. With one thread an operation, and as many independent parts
of the batch as cores, they meet once a step (timings: docs/results/performance.md).

The threads are one setting of the whole process, which TensorFlow takes before it computes
anything. So commands set it, and a library call does not; a notebook may:

    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(1)  # before anything else

What goes through a network in batches asks `parts`, which is 1 where nobody has set it.
"""

import concurrent.futures
import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

_MOST_CORES = 8  # with more, parts of a usual batch are too small; measured on two
_LEAST_WORK = 10**7  # weights times rows: below, a part takes less time than starting it


def count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread_an_operation(batch_size: int) -> bool:
    """Sets TensorFlow's threads so that each core computes its own part of a batch.

    It leaves them as they are if the user has set them, if there is a GPU, and where TensorFlow
    has begun to compute. So it does if the batch does not divide into as many parts as cores.

    Args:
      batch_size: examples a step.

    Returns:
      Whether they are set.
    """
    threads = tf.config.threading
    if threads.get_intra_op_parallelism_threads() or os.environ.get("TF_NUM_INTRAOP_THREADS"):
        return False
    number = count()
    if not 1 < number <= _MOST_CORES or batch_size % number:
        return False
    if tf.config.list_physical_devices("GPU"):
        return False
    try:
        threads.set_intra_op_parallelism_threads(1)
    except RuntimeError:  # it computes already
        return False
    return True


def parts(rows: int, weights: int, replicas: int = 1) -> int:
    """In how many independent parts a replica's rows go through a network.

    Args:
      rows: of the replica.
      weights: of the network: with the rows, a measure of the work.
      replicas: that share the cores.
    """
    if not _is_shared_out() or rows * weights < _LEAST_WORK:
        return 1
    most = min(count() // replicas, _MOST_CORES, rows)
    return next((number for number in range(most, 1, -1) if rows % number == 0), 1)


def in_parts(number: int, function: Callable[[slice], Any], rows: int) -> list[Any]:
    """[function(part), ...] of `number` equal parts of `rows` rows.

    In a graph the calls do not depend on one another, so that TensorFlow runs them at the same
    time.
    """
    size = rows // number
    return [function(slice(i * size, (i + 1) * size)) for i in range(number)]


def joined(number: int, function: Callable[[slice], Any], rows: int) -> Any:
    """The tensors function(part), joined along their first axis: see `in_parts`."""
    return tf.concat(in_parts(number, function, rows), axis=0)


def each(function: Callable[[Any], Any], batches: Sequence[Any]) -> list[Any]:
    """[function(batch), ...]: several at the same time where an operation has one thread."""
    if not _is_shared_out():
        return [function(batch) for batch in batches]
    with concurrent.futures.ThreadPoolExecutor(min(count(), _MOST_CORES)) as pool:
        return list(pool.map(function, batches))


def _is_shared_out() -> bool:
    """Whether an operation has one thread, and no GPU computes it."""
    one_thread = tf.config.threading.get_intra_op_parallelism_threads() == 1
    return one_thread and not tf.config.list_physical_devices("GPU")


__all__ = ["count", "each", "in_parts", "joined", "one_thread_an_operation", "parts"]
