"""Images that are stored encoded, wherever: cached when few, else decoded as their turn comes."""

import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf.data import hashing
from lcss_tf.data.bar import reading_bar
from lcss_tf.data.decode import decode_bytes
from lcss_tf.data.examine import BadImage, checked
from lcss_tf.data.files import GONE, LOCKED
from lcss_tf.data.image_dataset import ImageDataset
from lcss_tf.data.splits import check_policy
from lcss_tf.errors import UsageError

CACHE_MIB = 2_048  # decoded images up to this size are held in memory
_PARALLEL = 16  # images of one batch decoded at once
_SUBSTITUTES = 7  # images tried in the place of a bad one


class EncodedImages(ImageDataset):
    """The base: a subclass gives `size`, `content`, `place_of`, and maybe `pixels`.

    A bad example is one that cannot be read or decoded. With ``on_bad_example = "error"`` it ends
    the run, with a message that names it. With ``"skip"`` another of the split takes its place,
    which one is a function of its index alone, so the order of all others stays what it was;
    each is named once in the log, with the count so far.

    Args:
      name, shape, flip, centered: as `ImageDataset`.
      on_bad_example: ``"error"`` or ``"skip"``.
      cache_mib: hold the decoded images of a split in memory if they take no more MiB; 0: never.
    """

    def __init__(self, name, shape, flip, centered, on_bad_example, cache_mib):
        super().__init__(name, shape, flip, centered)
        check_policy(on_bad_example, type(self).__name__)
        self.on_bad_example = on_bad_example
        self.skipped = {}  # (split, index) -> why
        self._cache_bytes = cache_mib * 2**20
        self._cache = {}
        self._graphs = {}

    def content(self, index, split):
        """The encoded image at `index` (int64 []), a string tensor []; works in graphs."""
        raise NotImplementedError

    def place_of(self, index, split):
        """Where the example at an index (an int) lies, for messages: a path."""
        raise NotImplementedError

    def pixels(self, index, split):
        """The example at `index` (int64 []), uint8 of `shape`; works in graphs."""
        return decode_bytes(self.content(index, split), self.shape)

    def why_bad(self, index, split):
        """What is wrong with the example at an index (an int), or None. Plain Python."""
        try:
            content = self.content(tf.constant(index, tf.int64), split).numpy()
            checked(content, self.shape)
        except BadImage as error:
            return str(error)
        except (tf.errors.OpError, OSError) as error:
            return why_it_fails(error)
        return None

    def stored(self, indices, split="train", seed=0):
        """The images at `indices`; see `ImageDataset.stored`."""
        del seed
        self._fill_cache(split)
        if split in self._cache:
            return tf.gather(self._cache[split], indices)
        return self._read(split, indices, tf.fill(tf.shape(indices), False))

    def flipped(self, indices, split, seed, flips):
        """See `ImageDataset.flipped`; each is mirrored as it is decoded, while it is at hand."""
        self._fill_cache(split)
        if split in self._cache:
            return super().flipped(indices, split, seed, flips)
        return self._read(split, indices, flips)

    def _read(self, split, indices, flips):
        indices = tf.convert_to_tensor(indices, tf.int64)
        if not tf.executing_eagerly():
            return self._decoded(split, indices, flips)
        # Eagerly a map runs one by one; as a graph it runs in parallel.
        if split not in self._graphs:
            self._graphs[split] = tf.function(
                lambda *some: self._decoded(split, *some), autograph=False, reduce_retracing=True
            )
        return self._graphs[split](indices, flips)

    def _decoded(self, split, indices, flips):
        def one(args):
            index, flip = args
            image = self._one(index, split)
            return tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)

        return tf.map_fn(
            one,
            (indices, flips),
            parallel_iterations=_PARALLEL,
            fn_output_signature=tf.TensorSpec(self.shape, tf.uint8),
        )

    def examples(self, indices, split="train", seed=0):
        """See `ImageDataset.examples`."""
        try:
            return super().examples(indices, split, seed)
        except tf.errors.OpError as error:
            self.explain(np.asarray(indices), split)
            raise error

    def explain(self, indices, split):
        """Raises a ValueError that names the first bad example among `indices`, if one is."""
        for index in indices:
            why = self.why_bad(int(index), split)
            if why:
                owner = type(self).__name__
                raise UsageError(
                    f"{self.place_of(int(index), split)} cannot be used: {why}. Repair it or take "
                    f'it out, or set {owner}.on_bad_example = "skip" to let others take the place '
                    "of bad examples."
                )

    def _one(self, index, split):
        if self.on_bad_example == "error":
            return self.pixels(index, split)
        key = hashing.stream_key(0, "substitute")
        size = self.size(split)
        words = hashing.words(key, index[None], _SUBSTITUTES)[0]
        # Modulo of the upper half: TensorFlow has no remainder of unsigned 64-bit numbers.
        others = tf.cast(tf.bitwise.right_shift(words, tf.constant(33, tf.uint64)), tf.int64)
        tried = tf.concat([index[None], others % size], axis=0)
        attempts = tf.data.Dataset.from_tensor_slices(tried)
        good = attempts.map(lambda i: (i, self.pixels(i, split))).ignore_errors().take(1)
        found, image = good.get_single_element()
        # Python runs only where something is bad.
        told = tf.cond(
            found == index,
            lambda: tf.constant(0, tf.int64),
            lambda: tf.numpy_function(
                lambda i: self._note(int(i), split), [index], tf.int64, stateful=True
            ),
        )
        with tf.control_dependencies([told]):
            return tf.ensure_shape(tf.identity(image), self.shape)

    def in_order(self, split):
        """All images of a split in their order, each once: a ``tf.data.Dataset`` of uint8."""
        return tf.data.Dataset.range(self.size(split)).map(
            lambda index: self._one(index, split), num_parallel_calls=tf.data.AUTOTUNE
        )

    def _note(self, index, split):
        """Counts a bad example, and says so once."""
        if (split, index) not in self.skipped:
            why = self.why_bad(index, split) or "it could not be read at first, and now can"
            self.skipped[split, index] = why
            logging.warning(
                "%s is bad (%s): another image takes its place. Bad so far: %d.",
                self.place_of(index, split),
                why,
                len(self.skipped),
            )
        return np.int64(len(self.skipped))

    def _fill_cache(self, split):
        size = self.size(split)
        if split in self._cache or size * int(np.prod(self.shape)) > self._cache_bytes:
            return
        with tf.init_scope(), tf.device("CPU:0"):
            images = np.empty((size, *self.shape), np.uint8)
            i = -1
            try:
                with reading_bar(size, f"{self.name}, {split}", "images") as bar:
                    for i, image in enumerate(self.in_order(split).as_numpy_iterator()):
                        images[i] = image
                        bar.update()
            except tf.errors.OpError as error:
                self.explain([i + 1], split)
                raise error
            self._cache[split] = tf.constant(images)


def why_it_fails(error):
    """An error of reading, in plain words."""
    reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    text = reason.lower()
    if "no such file" in text or "not found" in text:
        return GONE
    if "permission" in text:
        return LOCKED
    return f"it cannot be read ({reason[:160]})"
