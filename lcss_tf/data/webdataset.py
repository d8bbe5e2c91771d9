"""WebDataset shards: tar archives in which the files of an example share a name.

    train-0000.tar:   0001.jpg  0001.cls  0002.jpg  0002.cls  …

The name up to the first dot of its last part is the example's key, the rest is the field. The
format is that of Aizman, Maltby and Breuel (*High Performance I/O For Large Scale Deep Learning*,
2019). There shards are read as streams; here an index of offsets gives any example at once, so that
the order is exact and resuming is a jump.
"""

import collections
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf.data.base import SPLITS, check_both_splits, check_test_every, held_out
from lcss_tf.data.by_pillow import EXTENSIONS, UNREAD_EXTENSIONS
from lcss_tf.data.class_names import numbered, read_class_names
from lcss_tf.data.files import absolute, expand, is_hidden, read_range
from lcss_tf.data.fingerprint import bytes_hash, spread
from lcss_tf.data.images import CACHE_MIB, EncodedImages, sides_of
from lcss_tf.data.pipeline import progress_bar
from lcss_tf.data.tar_files import TarMember, tar_index
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.files import permission
from lcss_tf.registry import DATASETS
from lcss_tf.texts import visible
from lcss_tf.typing import Array, Tensor

_MAX_IMAGE = 2**28  # bytes
_MAX_LABEL = 2**20  # bytes of a field that holds a label
_MOST_LABELS = 2**16  # that are read to know the data again
_CLS, _JSON = "cls", "json"
_FEW = 8  # fields that a message lists
# What is called so, and holds no image or array, is no example.
_DOCUMENTS = (
    "readme", "license", "licence", "copying", "notice", "changelog", "authors", "citation",
    "contributing",
)  # fmt: skip


class Sample(NamedTuple):
    """An example. shard: its archive. key: its name there. fields: its files, by their endings."""

    shard: str
    key: str
    fields: dict[str, TarMember]

    def location(self, field: str) -> str:
        """Where a field is stored, for messages and reports."""
        return f"{visible(self.shard)}:{visible(f'{self.key}.{field}')}"


def samples(paths: Sequence[str]) -> list[Sample]:
    """The examples of archives, in their order; hidden files are left out.

    Raises:
      UsageError: as `tar_index`, or two files of one name.
    """
    found: list[Sample] = []
    with progress_bar(len(paths), "the index", "shards") as bar:
        for path in paths:
            by_key: dict[str, dict[str, TarMember]] = {}
            for member in tar_index(path):
                if any(map(is_hidden, member.name.split("/"))):
                    continue
                folder, _, base = member.name.rpartition("/")
                stem, _, field = base.partition(".")
                fields = by_key.setdefault(f"{folder}/{stem}" if folder else stem, {})
                if fields.setdefault(field.lower(), member) is not member:
                    raise UsageError(
                        f"{visible(path)} holds two files called {visible(member.name)}. Give each "
                        "example a key of its own."
                    )
            found += [Sample(path, key, fields) for key, fields in by_key.items()]
            bar.update()
    return found


def without_strays(
    found: Sequence[Sample], wanted: Callable[[str], bool]
) -> tuple[list[Sample], list[Sample]]:
    """(examples, what lies beside them): a README, a licence, a list of files are no examples.

    What has no field that is wanted is a bad example, unless it is called like such a file, or
    nothing about it is like an example: neither a field, nor its key but for digits.

    Args:
      found: all that is there.
      wanted: whether a field is, or might be, what examples are made of.
    """
    whole = [any(map(wanted, sample.fields)) for sample in found]
    examples = [sample for sample, good in zip(found, whole, strict=True) if good]
    fields = {field for sample in examples for field in sample.fields}
    forms = {_form(sample.key) for sample in examples}

    def is_stray(sample: Sample) -> bool:
        if sample.key.rpartition("/")[2].lower() in _DOCUMENTS:
            return True
        return fields.isdisjoint(sample.fields) and _form(sample.key) not in forms

    stray = [bool(examples) and not k and is_stray(s) for s, k in zip(found, whole, strict=True)]
    kept = [sample for sample, out in zip(found, stray, strict=True) if not out]
    return kept, [sample for sample, out in zip(found, stray, strict=True) if out]


def _form(key: str) -> str:
    return re.sub("[0-9]+", "0", key)


def log_strays(name: str, strays: Sequence[Sample]) -> dict[str, int]:
    """Says what is left out; {ending: number of files}."""
    fields = [field for sample in strays for field in sample.fields]
    counts = collections.Counter(visible(f".{field}" if field else "no ending") for field in fields)
    for why, count in counts.items():
        logging.info("%s: %d files are left out, of no example: %s", name, count, why)
    return dict(counts.most_common())


def divided(
    pattern: str,
    test_pattern: str | None,
    test_every: int,
    owner: str,
    wanted: Callable[[str], bool],
) -> tuple[dict[str, list[Sample]], list[Sample]]:
    """The examples of each split: those of `test_pattern`, or the first of every `test_every`.

    Also what lies beside them; `wanted` is that of `without_strays`.
    """
    every, strays = without_strays(samples(expand(pattern, f"{owner}.pattern", ".tar")), wanted)
    if test_pattern is not None:
        others = samples(expand(test_pattern, f"{owner}.test_pattern", ".tar"))
        beside, more = without_strays(others, wanted)
        splits, strays = {"train": every, "test": beside}, strays + more
    else:
        chosen = held_out(len(every), test_every)
        splits = {name: [every[i] for i in k] for name, k in chosen.items()}
    check_both_splits(splits, f"The shards {visible(pattern)}")
    return splits, strays


class Shards:
    """One field of some examples, by index; read by offset, without Python.

    Args:
      members: (archive, member) of each.
    """

    def __init__(self, members: Sequence[tuple[str, TarMember]]) -> None:
        paths = sorted({path for path, _ in members})
        number = {path: k for k, path in enumerate(paths)}
        places = np.array([(number[p], m.offset, m.size) for p, m in members], np.int64)
        with tf.init_scope(), tf.device("CPU:0"):
            self._path = tf.constant([os.fsencode(path) for path in paths])
            self._size = tf.constant([os.path.getsize(path) for path in paths], tf.int64)
            self._places = tf.constant(places.reshape(-1, 3))

    def content(self, index: Tensor) -> Tensor:
        """The bytes of a file (int64 []), a string tensor []; works in graphs."""
        shard, offset, length = tf.unstack(self._places[index], num=3)
        return read_range(self._path[shard], offset, length, self._size[shard])


def read_labels(found: Sequence[Sample], label: str) -> list[Any]:
    """What a field says of each example: an integer, or a name.

    Args:
      found: the examples.
      label: a field such as ``"cls"`` or ``"txt"``, or ``"json:name"``, an entry of JSON; the entry
        may lie deeper, ``"json:a.b"``.

    Raises:
      UsageError: an example without it, or with something else in it; names the example.
    """
    field, _, entry = label.partition(":")
    labels = []
    with progress_bar(len(found), "labels", "examples") as bar:
        for shard, group in by_shard(found):
            with permission(shard), open(shard, "rb") as file:
                for sample in group:
                    labels.append(_label(file, sample, field, entry))
                    bar.update()
    return labels


def by_shard(found: Sequence[Sample]) -> Iterator[tuple[str, list[Sample]]]:
    """Examples in runs of one archive."""
    start = 0
    for k in range(1, len(found) + 1):
        if k == len(found) or found[k].shard != found[start].shard:
            yield found[start].shard, list(found[start:k])
            start = k


def _label(file: IO[bytes], sample: Sample, field: str, entry: str) -> Any:
    member = sample.fields.get(field)
    if member is None or member.size > _MAX_LABEL:
        what = "is missing" if member is None else f"takes {member.size:,} bytes"
        raise UsageError(
            f"The label {sample.location(field)} {what}. Give each example one, or set label to "
            f"another field; this one has {', '.join(sorted(sample.fields)[:_FEW])}."
        )
    file.seek(member.offset)
    try:
        text = file.read(member.size).decode()
        value: Any = json.loads(text) if entry else text.strip()
        for name in filter(None, entry.split(".")):
            value = value[name]
    except (ValueError, RecursionError, KeyError, TypeError, IndexError) as error:
        raise UsageError(
            f"The label {sample.location(field)} cannot be read: {error!r}. It is a text, or JSON "
            f"with the entry {entry!r}."
        ) from error
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,18}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise UsageError(
            f"The label {sample.location(field)} is {str(value)[:60]!r}; expected an integer or a "
            "name."
        )
    return value


@DATASETS.register
class WebDataset(EncodedImages):
    """Images in WebDataset shards, tar archives of ``key.jpg``, ``key.cls``, ``key.json``.

    Shards are read by offset, in any order; nothing is unpacked. They may not be compressed, which
    would save nothing: images are. Arrays in shards (``key.npy``) are read by `WebArrays`.

    **Classes** are named by a file ``classes.txt`` (a line for each) or ``classes.json`` (a list,
    or {name: number}) beside the first shard. Without it labels that are words are numbered in
    natural order.

    Args:
      pattern: ``"train-{0000..0007}.tar"``, a path, a pattern with asterisks, or a folder.
      resolution: of the examples, in pixels: (height, width), or one number for both.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA).
      image: the field of the image, as ``"jpg"``; several, ``"jpg;png"``, are tried in turn. None:
        the one field of an example that has the ending of an image.
      label: the field of the class, which is an integer or a name: ``"cls"``, ``"txt"``, or
        ``"json:name"``, an entry of JSON. None: ``"cls"`` where all have it, else no classes.
      test_pattern: shards that hold the held-out examples.
      test_every: without them, the first of every so many examples is held out; at least 2.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].
      on_bad_example, cache_mib, fit: see `EncodedImages`.

    Raises:
      UsageError: an argument out of its range.
    """

    _remedy = "Convert them, or remove them, or set WebDataset.image"

    def __init__(
        self,
        pattern: str,
        resolution: int | Sequence[int],
        channels: int = 3,
        image: str | None = None,
        label: str | None = None,
        test_pattern: str | None = None,
        test_every: int = 50,
        flip: bool = False,
        centered: bool = True,
        on_bad_example: str = "error",
        cache_mib: int = CACHE_MIB,
        fit: str = "crop",
    ) -> None:
        check_test_every(test_every, "WebDataset")
        if channels not in (1, 3, 4):
            raise UsageError(f"WebDataset.channels is 1, 3 or 4; got {channels}.")
        shape = (*sides_of(resolution, "WebDataset"), channels)
        super().__init__(name_of(pattern), shape, flip, centered, on_bad_example, cache_mib, fit)
        self.pattern = absolute(pattern)
        self.test_pattern = None if test_pattern is None else absolute(test_pattern)
        self.test_every = test_every
        self._image, self._label = image, label
        self._opened: dict[str, Shards] = {}
        self._labels: tuple[dict[str, Array | None], list[str]] | None = None

    def _open(self, split: str) -> Shards:
        super()._open(split)
        if not self._opened:
            found, strays = divided(
                self.pattern, self.test_pattern, self.test_every, "WebDataset", self._may_be_image
            )
            self._left_out = log_strays(self.name, strays)
            self._unread: list[tuple[str, str]] = []
            self._samples: dict[str, list[Sample]] = {}
            self._fields: dict[str, list[str]] = {}
            for name, part in found.items():
                chosen = [(sample, self._field_of(sample)) for sample in part]
                self._samples[name] = [sample for sample, field in chosen if field is not None]
                self._fields[name] = [field for _, field in chosen if field is not None]
            if self._unread:
                place, why = self._unread[0]
                warn("%s: %d examples are left out, the first being %s (%s).",
                     self.name, len(self._unread), place, why)  # fmt: skip
            if not all(self._samples.values()):
                raise UsageError(
                    f"The shards {visible(self.pattern)} leave a split without images. "
                    f"{self._unread[0][0]}: {self._unread[0][1]}."
                )
            self._opened = {
                name: Shards([(s.shard, s.fields[f]) for s, f in self._pairs(name)])
                for name in SPLITS
            }
        return self._opened[split]

    def _pairs(self, split: str) -> list[tuple[Sample, str]]:
        return list(zip(self._samples[split], self._fields[split], strict=True))

    def _may_be_image(self, field: str) -> bool:
        named = self._image.lower().split(";") if self._image else []
        return field in named or _ending(field) in (*EXTENSIONS, *UNREAD_EXTENSIONS)

    def _field_of(self, sample: Sample) -> str | None:
        """The field of an example's image; None where there is none that can be read."""
        if self._image is not None:
            found = [f for f in self._image.lower().split(";") if f in sample.fields][:1]
        else:
            found = [f for f in sample.fields if _ending(f) in EXTENSIONS]
            if len(found) > 1:
                raise UsageError(
                    f"{sample.location('*')} has several images: {', '.join(found[:_FEW])}. Set "
                    "WebDataset.image to the field to model."
                )
        if found and sample.fields[found[0]].size <= _MAX_IMAGE:
            return found[0]
        if found:
            why = f"it takes {sample.fields[found[0]].size:,} bytes, more than {_MAX_IMAGE:,}"
            self._unread.append((sample.location(found[0]), why))
            return None
        others = sorted(sample.fields)[:_FEW]
        kinds = [UNREAD_EXTENSIONS[e] for e in map(_ending, others) if e in UNREAD_EXTENSIONS]
        why = f"it has no image, but {', '.join(f or 'a file without an ending' for f in others)}"
        if kinds:
            why = f"{kinds[0]} is not read; convert it to PNG"
        self._unread.append((sample.location("*"), why))
        return None

    def size(self, split: str = "train") -> int:
        """The number of examples of a split."""
        self._open(split)
        return len(self._samples[split])

    def content(self, index: Tensor, split: str) -> Tensor:
        """See `EncodedImages.content`."""
        return self._open(split).content(index)

    def location(self, index: int, split: str) -> str:
        """See `EncodedImages.location`."""
        self._open(split)
        return self._samples[split][index].location(self._fields[split][index])

    def file_of(self, index: int, split: str) -> str:
        """See `EncodedImages.file_of`."""
        self._open(split)
        return self._samples[split][index].shard

    def unread(self) -> list[tuple[str, str]]:
        """See `EncodedImages.unread`."""
        self._open("test")
        return sorted(self._unread)

    def left_out(self) -> dict[str, int]:
        """See `EncodedImages.left_out`."""
        self._open("test")
        return self._left_out

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`; the keys and the labels count as well."""
        self._open("train")
        keys = [f"{s.key}.{f}".encode("utf-8", "surrogateescape") for s, f in self._pairs("train")]
        return super().fingerprint() | {"names": bytes_hash(keys), "labels": self._told()}

    def _told(self) -> str | None:
        """A hash of the training labels; of very many those that are spread evenly."""
        label, part = label_field(self._samples, self._label), self._samples["train"]
        if label is None:
            return None
        some = [part[k] for k in spread(len(part), 1, _MOST_LABELS)]
        return bytes_hash(str(value).encode() for value in read_labels(some, label))

    def _encoded(self, chosen: Array) -> Iterator[bytes]:
        pairs = self._pairs("train")
        some = [pairs[index] for index in chosen]
        found = [sample._replace(fields={"": sample.fields[field]}) for sample, field in some]
        with progress_bar(len(chosen), f"the fingerprint of {self.name}", "images") as bar:
            for shard, group in by_shard(found):
                with permission(shard), open(shard, "rb") as file:
                    for sample in group:
                        file.seek(sample.fields[""].offset)
                        yield file.read(sample.fields[""].size)
                        bar.update()

    def sizes(self, split: str) -> Array:
        """See `EncodedImages.sizes`."""
        self._open(split)
        return np.array([s.fields[f].size for s, f in self._pairs(split)], np.int64)

    def _classes(self) -> tuple[dict[str, Array | None], list[str]]:
        if self._labels is None:
            self._open("train")
            self._labels = labels_of(self._samples, self._label)
        return self._labels

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`."""
        return list(self._classes()[1])

    def labels(self, split: str = "train") -> Array | None:
        """The classes of a split, int64 [size]; None if there are none."""
        self._open(split)
        return self._classes()[0][split]


def labels_of(
    splits: dict[str, list[Sample]], label: str | None
) -> tuple[dict[str, Array | None], list[str]]:
    """The classes of each split, int64 [size], or None; and their names.

    Args:
      splits: the examples of each.
      label: as for `read_labels`; None: ``"cls"`` where all examples have it.

    Raises:
      UsageError: as `read_labels`, or a name that the file of names lacks.
    """
    label = label_field(splits, label)
    if label is None:
        _warn_of_lost_classes([sample for part in splits.values() for sample in part])
        return dict.fromkeys(splits), []
    folder = os.path.dirname(splits["train"][0].shard)
    given = {name: read_labels(part, label) for name, part in splits.items()}
    return numbered(given, read_class_names(folder), f"the shards in {visible(folder)}")


def label_field(splits: dict[str, list[Sample]], label: str | None) -> str | None:
    """The field of the labels; None where there is none. The arguments are those of `labels_of`."""
    every = [sample for part in splits.values() for sample in part]
    return label or (_CLS if all(_CLS in sample.fields for sample in every) else None)


def _warn_of_lost_classes(every: Sequence[Sample]) -> None:
    """Says so where some examples have a class, and others none."""
    without = [sample for sample in every if _CLS not in sample.fields]
    if len(without) < len(every):
        warn(
            "There are no classes, for %d of %d examples have no field %r, the first being %s. "
            "Give each one, or set label to a field of all.",
            len(without), len(every), _CLS, without[0].location("*"),
        )  # fmt: skip


def name_of(pattern: str | os.PathLike) -> str:
    """A dataset's name by the pattern of its files: "train" of ``train-{0000..0007}.tar``."""
    base = os.path.basename(absolute(pattern))
    stem = re.split(r"[{*?\[]", base)[0].strip("-_. ")
    return visible(os.path.splitext(stem)[0] or os.path.splitext(base)[0])


def _ending(field: str) -> str:
    return "." + field.rpartition(".")[2]


__all__ = [
    "Sample",
    "Shards",
    "WebDataset",
    "by_shard",
    "labels_of",
    "log_strays",
    "name_of",
    "samples",
    "without_strays",
]
