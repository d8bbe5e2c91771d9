"""Images: the base classes of all image datasets, in memory or encoded, and `Dequantised`.

Images are uint8 in storage, scaled on reading, and mirrored in training if asked.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.around import Around
from lcss_tf.data.base import Dataset, check_policy, gather_on_host
from lcss_tf.data.decoding import FITS, BadImageError, ImageHeader, decode_bytes, decode_checked
from lcss_tf.data.files import MISSING, NOT_PERMITTED
from lcss_tf.data.fingerprint import array_hash, bytes_hash, spread, spread_by_size
from lcss_tf.data.pipeline import progress_bar
from lcss_tf.data.scaling import Scaling
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array, Shape, Tensor

CACHE_MIB = 2_048  # decoded images up to this size are held in memory
_PARALLEL = 16  # images of one batch decoded at once
_HASHED = 16  # encoded images by which data whose sizes are not known are known again
_SUBSTITUTES = 7  # images tried in place of a bad one


class ImageDataset(Dataset):
    """The base of image datasets: a subclass defines `size` and `stored`.

    Args:
      name: of the dataset.
      shape: (height, width, channels).
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1], as VP SDEs expect; otherwise to [0, 1], for VE SDEs.
      levels: the number of grey levels, evenly spaced from 0 to 255.
    """

    kind = "image"

    def __init__(
        self,
        name: str,
        shape: Shape,
        flip: bool = False,
        centered: bool = True,
        levels: int = 256,
    ) -> None:
        self.name = name
        self.shape = tuple(shape)
        self.flip = flip
        self.scaling = Scaling.for_images(centered, levels)
        self.info()  # checks the shape

    def stored(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The raw images at `indices` (int64 [B]): uint8 [B, H, W, C].

        Only generated images depend on the seed.
        """
        raise NotImplementedError

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The images at `indices`; see `Dataset.examples`."""
        return self.scaling.scale(self.stored(indices, split, seed))

    def flipped(self, indices: Tensor, split: str, seed: int, flips: Tensor) -> Tensor:
        """`stored`, mirrored left to right where `flips`, bool [B], is true."""
        return mirrored(self.stored(indices, split, seed), flips)

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """The images, half of them mirrored if `flip`; see `Dataset.augmented`."""
        if not self.flip:
            return self.examples(indices, split, seed)
        return self.scaling.scale(self.flipped(indices, split, seed, flips_at(positions, seed)))


def sides_of(resolution: int | Sequence[int], owner: str) -> tuple[int, int]:
    """(height, width) in pixels of a resolution: both, or one number for a square.

    Raises:
      UsageError: anything else; `owner` is the class that was asked.
    """
    given = tuple(resolution) if isinstance(resolution, Sequence) else (resolution, resolution)
    whole = [side for side in given if not isinstance(side, str) and int(side) == side >= 1]
    if len(given) != 2 or len(whole) != 2:
        raise UsageError(
            f"{owner} needs resolution >= 1, in pixels: one number for both sides, or (height, "
            f"width); got {resolution!r}."
        )
    return int(given[0]), int(given[1])


def flips_at(positions: Tensor, seed: int) -> Tensor:
    """Which of the examples at some positions of the training are mirrored: bool [B]."""
    return hashing.uniform(hashing.stream_key(seed, "flip"), positions, 1)[:, 0] < 0.5


def mirrored(images: Tensor, flips: Tensor) -> Tensor:
    """Images [B, H, W, C], mirrored left to right where `flips`, bool [B], is true."""
    # As bytes, before scaling, and only those that need it.
    part = tf.cast(flips, tf.int32)
    straight, others = tf.dynamic_partition(images, part, 2)
    others = tf.reverse(others, axis=[2])
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), part, 2)
    return tf.ensure_shape(tf.dynamic_stitch(places, [straight, others]), images.shape)


class MemoryImages(ImageDataset):
    """Images that fit into memory: a subclass defines `load`.

    The arguments are those of `ImageDataset`.
    """

    def __init__(
        self,
        name: str,
        shape: Shape,
        flip: bool = False,
        centered: bool = True,
        levels: int = 256,
    ) -> None:
        super().__init__(name, shape, flip, centered, levels)
        self._opened: dict[str, tuple[Tensor, Array | None]] = {}

    def load(self, split: str) -> tuple[Array, Array | None]:
        """Reads a split: uint8 [N, H, W, C], and labels int64 [N] or None."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`."""
        images, labels = self._open("train")
        return {"examples": len(images), "content": array_hash(images.numpy(), labels)}

    def _open(self, split: str) -> tuple[Tensor, Array | None]:
        if split not in self._opened:
            Dataset.require(self, split)
            # Outside any graph that is being traced. An eager tensor on the host: a NumPy array
            # would be copied into every graph.
            with tf.init_scope(), tf.device("CPU:0"):
                images, labels = self.load(split)
                self._opened[split] = tf.constant(images, tf.uint8), labels
        return self._opened[split]

    def size(self, split: str = "train") -> int:
        """The number of images of a split."""
        return int(self._open(split)[0].shape[0])

    def stored(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The images at `indices`; see `ImageDataset.stored`."""
        del seed
        return gather_on_host(self._open(split)[0], indices)

    def labels(self, split: str = "train") -> Array | None:
        """The classes of the images, int64 [N], or None."""
        labels = self._open(split)[1]
        return None if labels is None else np.asarray(labels, np.int64)


class EncodedImages(ImageDataset):
    """The base of encoded images: a subclass defines `size`, `content`, `location`; maybe `pixels`.

    Few images are decoded once and cached; many are decoded lazily, when they are needed.

    A bad example is one that cannot be read or decoded. With ``on_bad_example = "error"`` it ends
    the run with a message that names it. With ``"skip"`` another image of the same split replaces
    it; the choice depends only on the bad image's index, so the order of all others is unaffected.
    Each bad image is logged once, with the count so far.

    Args:
      name, shape, flip, centered: see `ImageDataset`.
      on_bad_example: ``"error"`` or ``"skip"``.
      cache_mib: cache a split's decoded images if they take at most so many MiB; 0: never.
      fit: how an image of another aspect comes to `shape`: ``"crop"``, ``"pad"`` or ``"stretch"``;
        see `decoding.fitted`.
    """

    _remedy = "Convert them, or remove them"  # for images that cannot be read

    def __init__(
        self,
        name: str,
        shape: Shape,
        flip: bool,
        centered: bool,
        on_bad_example: str,
        cache_mib: int,
        fit: str = "crop",
    ) -> None:
        super().__init__(name, shape, flip, centered)
        check_policy(on_bad_example, self.owner)
        if fit not in FITS:
            raise UsageError(f"{self.owner}.fit must be one of {FITS}; got {fit!r}.")
        self.fit = fit
        self.on_bad_example = on_bad_example
        self.skipped: dict[tuple[str, int], str] = {}  # (split, index) -> why
        # Images that belong to these by the same indices: both of a pair are read, or replaced.
        self.paired_with: EncodedImages | None = None
        self._cache_bytes = cache_mib * 2**20
        self._cache: dict[str, Tensor] = {}
        self._graphs: dict[str, Any] = {}

    def _open(self, split: str) -> Any:
        """Checks the name of a split. A subclass finds its images here, at the first call."""
        super().require(split)

    def require(self, split: str = "train") -> None:
        """See `Dataset.require`; decodes one image, so that wrong data show at once.

        Raises:
          UsageError: that image is bad, or images are there that cannot be read.
        """
        self._open(split)
        if self.on_bad_example != "error":
            return
        for place, why in self.unread()[:1]:
            raise UsageError(
                f"{place} cannot be used: {why}. Of such images there are {len(self.unread())}. "
                f'{self._remedy}, or set {self.owner}.on_bad_example = "skip" to leave them out.'
            )
        self.check_examples([0], split)
        if self.paired_with is not None and self.paired_with.size(split):
            self.paired_with.check_examples([0], split)

    def size(self, split: str = "train") -> int:
        """The number of images of a split; see `Dataset.size`."""
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`; of encoded images, of their sizes, and of how they are fitted.

        A bad one counts as empty.
        """
        count, sizes = self.size("train"), self.sizes("train")
        if sizes is None:
            chosen, known = spread(count, 1, _HASHED), b""
        else:
            chosen, known = spread_by_size(sizes), sizes.astype("<i8").tobytes()
        content = bytes_hash(itertools.chain([known], self._encoded(chosen)))
        return {"examples": count, "content": content, "fit": self.fit}

    def _encoded(self, chosen: Array) -> Iterator[bytes]:
        """The encoded training images at some indices in increasing order; a bad one is empty.

        A subclass may read them in a faster way.
        """
        read = tf.autograph.experimental.do_not_convert(
            lambda place, index: (place, self.content(index, "train"))
        )
        places = tf.data.Dataset.from_tensor_slices(chosen).enumerate()
        good = places.map(read, tf.data.AUTOTUNE, deterministic=True).ignore_errors()
        following = 0
        with progress_bar(len(chosen), f"the fingerprint of {self.name}", "images") as bar:
            for place, content in good.as_numpy_iterator():
                yield from [b""] * (int(place) - following)
                yield content
                bar.update(int(place) + 1 - following)
                following = int(place) + 1
        yield from [b""] * (len(chosen) - following)

    def sizes(self, split: str) -> Array | None:
        """The bytes of each encoded image of a split as an index has them, int64 [size].

        None, as by default: they are not known without reading all.
        """
        del split
        return None

    def content(self, index: Tensor, split: str) -> Tensor:
        """The encoded image at `index` (int64 []), a string tensor []; works in graphs."""
        raise NotImplementedError

    def location(self, index: int, split: str) -> str:
        """Where the example at an index is stored, for messages: a path."""
        raise NotImplementedError

    def pixels(self, index: Tensor, split: str) -> Tensor:
        """The example at `index` (int64 []), uint8 of `shape`; works in graphs."""
        return decode_bytes(self.content(index, split), self.shape, self.fit)

    def file_of(self, index: int, split: str) -> str | None:
        """The path of the file that holds the example at an index, as it is; None: not known."""
        del index, split
        return None

    def unread(self) -> list[tuple[str, str]]:
        """Pairs of the place of an image that is no example, since it cannot be read, and why."""
        return []

    def left_out(self) -> dict[str, int]:
        """How many files beside the examples are no images, by what they are."""
        return {}

    def inspect(self, content: Any) -> tuple[ImageHeader, Array]:
        """The header and the pixels, uint8 of `shape`, of `content`'s bytes; not in graphs.

        Raises:
          BadImageError: it cannot be decoded; says why.
        """
        return decode_checked(content, self.shape, self.fit)

    def why_bad(self, index: int, split: str) -> str | None:
        """What is wrong with the example at an index, or None; not in graphs."""
        try:
            self.inspect(self.content(tf.constant(index, tf.int64), split).numpy())
        except BadImageError as error:
            return str(error)
        except (tf.errors.OpError, OSError) as error:
            return _reading_problem(error)
        return None

    def stored(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The images at `indices`; see `ImageDataset.stored`."""
        del seed
        self._fill_cache(split)
        if split in self._cache:
            return gather_on_host(self._cache[split], indices)
        return self._read(split, indices, tf.fill(tf.shape(indices), False))

    def flipped(self, indices: Tensor, split: str, seed: int, flips: Tensor) -> Tensor:
        """See `ImageDataset.flipped`; an image is mirrored right after it is decoded."""
        self._fill_cache(split)
        if split in self._cache:
            return super().flipped(indices, split, seed, flips)
        return self._read(split, indices, flips)

    def _read(self, split: str, indices: Tensor, flips: Tensor) -> Tensor:
        indices = tf.convert_to_tensor(indices, tf.int64)
        if not tf.executing_eagerly():
            return self._decoded(split, indices, flips)
        # Eagerly a map runs one by one; as a graph it runs in parallel.
        if split not in self._graphs:
            self._graphs[split] = tf.function(
                lambda *some: self._decoded(split, *some), autograph=False, reduce_retracing=True
            )
        return self._graphs[split](indices, flips)

    def _decoded(self, split: str, indices: Tensor, flips: Tensor) -> Tensor:
        def one(args: tuple[Tensor, Tensor]) -> Tensor:
            index, flip = args
            image = self._one(index, split)
            return tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)

        return tf.map_fn(
            one,
            (indices, flips),
            parallel_iterations=_PARALLEL,
            fn_output_signature=tf.TensorSpec(self.shape, tf.uint8),
        )

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """See `ImageDataset.examples`."""
        try:
            return super().examples(indices, split, seed)
        except tf.errors.OpError as error:
            self.check_examples(np.asarray(indices), split)
            raise error

    def check_examples(self, indices: Tensor, split: str = "train") -> None:
        """See `Dataset.check_examples`."""
        for index in np.asarray(indices):
            why = self.why_bad(int(index), split)
            if why:
                raise UsageError(
                    f"{self.location(int(index), split)} cannot be used: {why}. Repair it or "
                    f'remove it, or set {self.owner}.on_bad_example = "skip" to replace bad '
                    "examples by others."
                )

    def _one(self, index: Tensor, split: str) -> Tensor:
        if self.on_bad_example == "error":
            return self.pixels(index, split)
        key = hashing.stream_key(0, "substitute")
        size = self.size(split)
        words = hashing.words(key, index[None], _SUBSTITUTES)[0]
        # Modulo of the upper half: TensorFlow has no remainder of unsigned 64-bit numbers.
        others = tf.cast(tf.bitwise.right_shift(words, tf.constant(33, tf.uint64)), tf.int64)
        candidates = tf.concat([index[None], others % size], axis=0)
        attempts = tf.data.Dataset.from_tensor_slices(candidates)
        good = attempts.map(lambda i: self._pair(i, split)).ignore_errors().take(1)
        found, image, _ = good.get_single_element()
        # Python runs only where something is bad.
        logged = tf.cond(
            found == index,
            lambda: tf.constant(0, tf.int64),
            lambda: tf.numpy_function(
                lambda i: self._log_bad(int(i), split), [index], tf.int64, stateful=True
            ),
        )
        with tf.control_dependencies([logged]):
            return tf.ensure_shape(tf.identity(image), self.shape)

    def _pair(self, index: Tensor, split: str) -> tuple[Tensor, Tensor, Tensor]:
        """The index, its image, and the image that belongs to it, which must be good as well."""
        image, other = self.pixels(index, split), self.paired_with
        if other is None:
            return index, image, image
        other.size(split)  # opens it
        return index, image, other.pixels(index, split)

    def in_order(self, split: str) -> tf.data.Dataset:
        """All images of a split in order, each once: a dataset of uint8 of `shape`."""
        return tf.data.Dataset.range(self.size(split)).map(
            lambda index: self._one(index, split), num_parallel_calls=tf.data.AUTOTUNE
        )

    def _log_bad(self, index: int, split: str) -> np.int64:
        """Counts a bad example, and logs it once."""
        if (split, index) not in self.skipped:
            why = self.why_bad(index, split) or self._why_unpaired(index, split)
            self.skipped[split, index] = why
            warn(
                "%s is bad (%s): another image replaces it. Bad so far: %d.",
                self.location(index, split),
                why,
                len(self.skipped),
            )
        return np.int64(len(self.skipped))

    def _why_unpaired(self, index: int, split: str) -> str:
        other = self.paired_with
        why = None if other is None else other.why_bad(index, split)
        if why is None or other is None:
            return "it could not be read at first, and now can"
        return f"{other.location(index, split)}, which belongs to it, is bad: {why}"

    def _fill_cache(self, split: str) -> None:
        size = self.size(split)
        if split in self._cache or size * int(np.prod(self.shape)) > self._cache_bytes:
            return
        with tf.init_scope(), tf.device("CPU:0"):
            images = np.empty((size, *self.shape), np.uint8)
            i = -1
            try:
                with progress_bar(size, f"{self.name}, {split}", "images") as bar:
                    for i, image in enumerate(self.in_order(split).as_numpy_iterator()):
                        images[i] = image
                        bar.update()
            except tf.errors.OpError as error:
                self.check_examples([i + 1], split)
                raise error
            self._cache[split] = tf.constant(images)


def _reading_problem(error: Exception) -> str:
    """An error of reading, in plain words."""
    reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    text = reason.lower()
    if "no such file" in text or "not found" in text:
        return MISSING
    if "permission" in text:
        return NOT_PERMITTED
    return f"it cannot be read ({reason[:160]})"


@DATASETS.register
class Dequantised(Around):
    """Another dataset's images with continuous levels: in training, uniform on each level's width.

    A model of raw images learns that pixels lie on few values, and gives almost no density to
    dequantised ones: the better it has learned, the worse its bits/dim. Train on these images if
    the likelihood matters.

    `examples` themselves lie at the middle of their levels.

    Args:
      data: the dataset, an object of `DATASETS`.

    Raises:
      UsageError: data without a known number of levels.
    """

    def __init__(self, data: Any) -> None:
        if data.scaling.levels is None:
            raise UsageError(
                f"Dequantised expects images with levels; {data.name} does not say how many it has."
            )
        super().__init__(data)
        self.scaling = data.scaling.on_centres()

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The images at `indices`, each level at the middle of its width."""
        return self.scaling.dequantise(self.data.examples(indices, split, seed), 0.5)

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """The other dataset's augmented examples, dequantised by u ~ U[0, 1)."""
        examples = self.data.augmented(indices, positions, split, seed)
        key = hashing.stream_key(seed, "dequantise")
        u = hashing.uniform(key, positions, math.prod(self.shape))
        return self.scaling.dequantise(examples, tf.reshape(u, tf.shape(examples)))


__all__ = [
    "CACHE_MIB",
    "Dequantised",
    "EncodedImages",
    "ImageDataset",
    "MemoryImages",
    "flips_at",
    "mirrored",
    "sides_of",
]
