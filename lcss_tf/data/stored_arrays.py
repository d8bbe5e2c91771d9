"""The base of sources that hold equal arrays of numbers in files."""

import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf.data.base import Dataset
from lcss_tf.data.scaling import Scaling
from lcss_tf.data.segments import Store, scan
from lcss_tf.data.splits import check_policy, check_test_every, held_out, require_both
from lcss_tf.errors import UsageError


class StoredArrays(Dataset):
    """Numbers in files: a subclass gives `segments`, and where it must `splits`.

    On first use one pass over the data looks for NaN and infinity, and takes the mean and the
    deviation by which they are standardised. Data up to 1 GiB are then held in memory; larger
    ones are read example by example as their turn comes.

    Args:
      name: of the dataset.
      shape: of one example.
      kind: one of `info.KINDS`.
      stored_range: (low, high) of the stored numbers, mapped to [−1, 1]; None: standardise by
        the mean and the deviation of all numbers, bytes by (0, 255).
      test_every: one in so many examples is held out.
      on_bad_example: "error", or "skip": leave out examples that are not finite, and count
        them in the log.
    """

    def __init__(self, name, shape, kind, stored_range, test_every, on_bad_example):
        owner = type(self).__name__
        check_test_every(test_every, owner)
        check_policy(on_bad_example, owner)
        self.name = name
        self.shape = tuple(int(size) for size in shape)
        self.kind = kind
        self.on_bad_example = on_bad_example
        self._test_every = test_every
        self._range = stored_range
        self._stores = None
        self._scaling = None

    def segments(self):
        """The `Segment`s of all files, in their fixed order.

        Raises:
          FileNotFoundError: the data are not there.
          ValueError: a file that cannot be used; its name, and what to do.
        """
        raise NotImplementedError

    def splits(self, segments, good):
        """{"train": indices, "test": indices}, among the examples that are `good` (bool [N])."""
        del segments
        kept = np.flatnonzero(good)
        return {name: kept[part] for name, part in held_out(len(kept), self._test_every).items()}

    def all_labels(self, segments):
        """The classes of all examples, int64 [N], or None."""
        del segments
        return None

    def _open(self):
        if self._stores is not None:
            return self._stores
        segments = self.segments()
        good, moments = scan(segments)
        self._report(segments, good)
        splits = self.splits(segments, good)
        require_both(splits, f"The data of {self.name}")
        self._scaling = self._make_scaling(segments[0].array.dtype, moments)
        labels = self.all_labels(segments)
        self._labels = {name: labels if labels is None else labels[k] for name, k in splits.items()}
        self._stores = {name: Store(segments, k) for name, k in splits.items()}
        return self._stores

    def _report(self, segments, good):
        if good.all():
            return
        ends = np.cumsum([len(segment.array) for segment in segments])
        first = int(np.argmin(good))
        k = int(np.searchsorted(ends, first, side="right"))
        row = first - (ends[k - 1] if k else 0)
        owner, bad = type(self).__name__, int((~good).sum())
        message = (
            f"{bad:,} of {len(good):,} examples of {self.name} hold NaN or infinity; the first is "
            f"example {row:,} of {segments[k].path or self.name}"
        )
        if self.on_bad_example == "error":
            raise UsageError(
                f'{message}. Mend the file, or set {owner}.on_bad_example = "skip" to leave them '
                "out."
            )
        logging.warning("%s. They are left out, as %s.on_bad_example says.", message, owner)

    def _make_scaling(self, dtype, moments):
        stored_dtype = "uint8" if dtype == np.uint8 else "float32"
        stored_range = self._range or ((0, 255) if dtype == np.uint8 else None)
        if stored_range is not None:
            return Scaling(-1.0, 1.0, *map(float, stored_range), stored_dtype)
        mean, deviation = moments
        if not deviation > 0:
            raise UsageError(
                f"All numbers of {self.name} are {mean:g}: there is nothing to learn. Look at "
                f"{self.segments()[0].path}."
            )
        return Scaling(0.0, 1.0, mean, mean + deviation, "float32")

    @property
    def scaling(self):
        """Known once the data are; see `Dataset`."""
        self._open()
        return self._scaling

    def require(self, split="train"):
        """See `Dataset.require`; reads the data through once."""
        super().require(split)
        self._open()

    def size(self, split="train"):
        """The number of examples of a split."""
        super().require(split)
        return len(self._open()[split])

    def labels(self, split="train"):
        """The classes of a split, int64 [size], or None."""
        self._open()
        return self._labels[split]

    def examples(self, indices, split="train", seed=0):
        """The examples at `indices`; see `Dataset.examples`. The seed changes nothing."""
        del seed
        indices = tf.convert_to_tensor(indices, tf.int64)
        try:
            return self.scaling.scale(self._open()[split].gather(indices))
        except tf.errors.OpError:
            self.explain(np.asarray(indices), split)
            raise

    def explain(self, indices, split="train"):
        """See `Dataset.explain`: data that are read in training may vanish meanwhile."""
        for index in indices:
            found = self._open()[split].why_bad(int(index))
            if found:
                path, why = found
                raise UsageError(
                    f"{path} cannot be used: {why}. Put it back as it was, and start again: "
                    "training goes on from the last checkpoint."
                )
