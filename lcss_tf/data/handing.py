"""Small batches are handed from the input pipeline to Python several at a time.

Each hand-over is a call into TensorFlow that wakes another thread. Beside the step of a small
network that is felt: one for sixteen steps is not.
"""

import tensorflow as tf

MOST = 16  # batches handed over at once
_BYTES = 2**20  # that are handed over at once, unless a batch alone has more
_AHEAD = 2  # hand-overs prepared in advance


def handed_over(dataset):
    """The elements of a ``tf.data.Dataset`` one by one, as iterating over it gives them.

    Where several come at once, an error in one of them comes in the place of the first.
    """
    count = _at_once(dataset.element_spec)
    if count == 1:
        yield from dataset
        return
    for several in dataset.batch(count).prefetch(_AHEAD):
        columns = [tf.unstack(tensor) for tensor in tf.nest.flatten(several)]
        for parts in zip(*columns, strict=True):
            yield tf.nest.pack_sequence_as(several, parts)


def _at_once(spec):
    sizes = [(part.shape.num_elements(), part.dtype.size) for part in tf.nest.flatten(spec)]
    if any(number is None for number, _ in sizes):
        return 1
    return max(1, min(MOST, _BYTES // max(1, sum(number * size for number, size in sizes))))
