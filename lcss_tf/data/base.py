"""What every dataset is: examples by index."""

import math

import numpy as np
import tensorflow as tf

from lcss_tf.data.explained import for_people
from lcss_tf.data.index_stream import evaluation_batches
from lcss_tf.data.info import DataInfo
from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError

SPLITS = ("train", "test")
_CHUNK_VALUES = 2**22  # numbers read at a time where all examples are gone through
_MOMENT_VALUES = 2**30  # numbers read for the moments, unless fewer than 1,000 examples


class Dataset:
    """A source of examples, read by random access.

    The example at an index is a pure function of (index, split, seed). So the order of
    training is one of (seed, position), and resuming jumps to it.

    A constructor is cheap and reads nothing: configurations are built without their data, which
    are opened on first use. A subclass sets the attributes below, `size` and `examples`, and
    where they apply `require`, `labels` and `visits`.

    Attributes:
      name: for titles and messages.
      shape: of one example, e.g. (8, 8, 1) or (2,); known without the data.
      kind: how people look at it: one of `info.KINDS`.
      scaling: the one place that scales and unscales.
      columns: names of a table's columns, or of a signal's channels; may be empty.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    scaling: Scaling
    columns: tuple[str, ...] = ()

    def size(self, split="train"):
        """The number of examples of a split; None where they are endless.

        Raises:
          FileNotFoundError: the data are not there.
        """
        raise NotImplementedError

    def examples(self, indices, split="train", seed=0):
        """The examples at `indices`, scaled, the same at every visit; works in ``tf.data`` maps.

        Args:
          indices: int64 [B].
          split: ``"train"`` or ``"test"``.
          seed: an int; only data that are drawn, not read, depend on it.

        Returns:
          float32 [B, *shape].
        """
        raise NotImplementedError

    def labels(self, split="train"):
        """The classes of a split, int64 [size] (NumPy), or None where there are none."""
        del split
        return None

    def visits(self, indices, positions, split="train", seed=0):
        """The examples as training sees them, each time changed at random: e.g. mirrored.

        By default the examples as they are.

        Args:
          indices, split: as of `examples`.
          positions: int64 [B], the visits' numbers: with `seed` they fix every draw.
          seed: an int.

        Returns:
          float32 [B, *shape].
        """
        del positions
        return self.examples(indices, split, seed)

    def require(self, split="train"):
        """Raises at once if a split cannot be read; call it before any long work.

        Raises:
          ValueError: there is no such split.
          FileNotFoundError: the data are not there.
        """
        if split not in SPLITS:
            raise UsageError(f"{self.name} has the splits {SPLITS}; got {split!r}.")

    def explain(self, indices, split="train"):
        """Raises a ValueError that names the first example among `indices` that is bad.

        Called when reading failed, so it may take its time. By default nothing is known.
        """
        del indices, split

    def class_labels(self, num_classes, split="train"):
        """`labels`, for a network of `num_classes` classes.

        Raises:
          ValueError: there are no labels, or some lie outside 0 .. num_classes − 1.
        """
        labels = self.labels(split)
        if labels is None:
            raise UsageError(
                f"The network has num_classes = {num_classes}, and {self.name} has no labels. Take "
                "data with labels, or leave num_classes out."
            )
        if labels.min() < 0 or labels.max() >= num_classes:
            raise UsageError(
                f"The labels of {self.name} run from {labels.min()} to {labels.max()}, and the "
                f"network has num_classes = {num_classes}: bind num_classes = {labels.max() + 1}."
            )
        return labels

    def pipeline(self, batches, split="train", seed=0, num_classes=None):
        """Batches of examples from batches of indices.

        Args:
          batches: a ``tf.data.Dataset`` of index batches, int64 [B], or of pairs
            (indices, positions) as `index_batches` makes them; with positions the
            batches are `visits`.
          split: ``"train"`` or ``"test"``.
          seed: an int.
          num_classes: of a conditional network: the batches are then pairs with the labels.

        Returns:
          A ``tf.data.Dataset`` of float32 [B, *shape], or of pairs with int32 [B], in the order
          of `batches`, not prefetched.
        """
        self.require(split)
        labels = None
        if num_classes is not None:
            labels = tf.constant(self.class_labels(num_classes, split), tf.int32)

        @tf.autograph.experimental.do_not_convert  # plain Python: data may be opened in here
        def load(indices, positions=None):
            if positions is None:
                examples = self.examples(indices, split, seed)
            else:
                examples = self.visits(indices, positions, split, seed)
            return examples if labels is None else (examples, tf.gather(labels, indices))

        return batches.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def moments(self, split="train", max_examples=10_000):
        """The mean and the variance of a number of the scaled data, as two floats.

        Taken over all dimensions together and over `max_examples` examples evenly
        spaced over the split (for large images fewer: about a billion numbers, yet at least
        1,000 examples). The same for every seed of training.
        """
        count, mean, squares = 0, 0.0, 0.0
        places = self._spaced(split, max_examples)
        indices_of = lambda step: next(iter(places.skip(step).take(1))).numpy()
        batches = self.pipeline(places, split).as_numpy_iterator()
        for batch in for_people(self, batches, indices_of, split):
            batch = batch.astype(np.float64)
            # Chan, Golub and LeVeque's merging of two sets' moments.
            gap, total = batch.mean() - mean, count + batch.size
            squares += np.square(batch - batch.mean()).sum() + gap**2 * count * batch.size / total
            mean, count = mean + gap * batch.size / total, total
        return float(mean), float(squares / count)

    def _spaced(self, split, max_examples):
        values = math.prod(self.shape)
        limit = min(max_examples, max(1_000, _MOMENT_VALUES // values))
        size = self.size(split)
        count = limit if size is None else min(size, limit)
        batches = evaluation_batches(count, max(1, _CHUNK_VALUES // values))
        return batches if size is None else batches.map(lambda places: places * size // count)

    def info(self):
        """The `DataInfo` to store beside a run."""
        return DataInfo(self.name, self.shape, self.kind, self.scaling, self.columns)
