"""A folder, or a ZIP archive, of image files, read one by one as they are needed."""

import collections
import fnmatch
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf.data import archive
from lcss_tf.data.base import SPLITS, held_out
from lcss_tf.data.by_pillow import EXTENSIONS, UNREAD_EXTENSIONS
from lcss_tf.data.conditions import Conditions, Opened
from lcss_tf.data.files import is_hidden, natural_key, walk
from lcss_tf.data.fingerprint import bytes_hash
from lcss_tf.data.images import CACHE_MIB, EncodedImages, sides_of
from lcss_tf.data.pipeline import progress_bar
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.texts import visible
from lcss_tf.typing import Array, Tensor

_HELP = (
    "Set ImageFolder.root to a folder or a ZIP archive of images: PNG, JPEG, WebP, GIF, BMP, TIFF, "
    "AVIF, ICO and others that Pillow reads (subfolders are searched too). For FFHQ at 1024 px, "
    "download the official folder images1024x1024 as https://github.com/NVlabs/ffhq-dataset "
    "describes, and set ImageFolder.root to it."
)
_MEASURED = 1_024  # condition images that are measured
_MOST_ASKED = 2**17  # files whose sizes are asked: on a network's disk each takes a millisecond
_FEW = 4  # names that a message lists
_HIDDEN = "hidden, or a system's own"  # why a file is left out


@DATASETS.register
class ImageFolder(EncodedImages):
    """The image files under a folder or in a ZIP archive, brought to one size by antialiasing.

    Files are decoded lazily, unless all of a split fit into `cache_mib`. Of the files sorted by
    path, the first of every `test_every` is held out for testing.

    The class of a file is the subfolder of `root` that it lies in. Where `root` holds nothing but
    one folder with subfolders, as many archives do, classes are those subfolders. They are numbered
    in natural order: "2" before "10".

    Files and folders that are hidden or a system's own (a name that begins with a dot,
    ``__MACOSX``, ``Thumbs.db``, ``desktop.ini``) are no images. Images that cannot be read, by
    their ending, such as HEIF and cameras' raw files, are no examples: they are bad, and
    ``on_bad_example`` decides.

    Args:
      root: the folder, or the archive; it need not exist yet.
      resolution: of the examples, in pixels: (height, width), or one number for both.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA).
      pattern: take only files whose path below `root` matches, e.g. ``"thumbs/*.png"``
        (``*`` matches slashes too).
      test_every: at least 2.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].
      on_bad_example, cache_mib: see `EncodedImages`.
      condition_root: a second folder, or archive, with an image for each, under the same name below
        it; another ending will do. A network is told these images (see `Conditions`), which are
        cropped and resized like those under `root`, and mirrored with them. None: no condition.
      condition_channels: of these; None: as `channels`.
      fit: how an image of another aspect comes to this size: ``"crop"``, the centre of it;
        ``"pad"``, all of it, with black around (clear, of four channels); ``"stretch"``, all of it,
        distorted. See `decoding.fitted`.

    Raises:
      UsageError: a number out of its range.
    """

    def __init__(
        self,
        root: str,
        resolution: int | Sequence[int],
        channels: int = 3,
        pattern: str = "*",
        test_every: int = 50,
        flip: bool = False,
        centered: bool = True,
        on_bad_example: str = "error",
        cache_mib: int = CACHE_MIB,
        condition_root: str | None = None,
        condition_channels: int | None = None,
        fit: str = "crop",
    ) -> None:
        known = (1, 3, 4)
        if channels not in known or (condition_channels or channels) not in known or test_every < 2:
            raise UsageError(
                "ImageFolder needs channels of 1, 3 or 4, and test_every >= 2; got "
                f"{channels}, {test_every} and condition_channels = {condition_channels}."
            )
        self.root = os.path.abspath(os.path.expanduser(root))
        shape = (*sides_of(resolution, "ImageFolder"), channels)
        name = visible(os.path.basename(self.root))
        super().__init__(name, shape, flip, centered, on_bad_example, cache_mib, fit)
        self.pattern = pattern
        self.test_every = test_every
        self._splits: dict[str, list[Any]] = {}  # paths, or `Member`s of an archive
        self._contents: dict[str, _Files | archive.Members] = {}
        self._class_names: list[str] | None = None
        if condition_root is not None:
            beside = _Counterparts(
                self, condition_root, resolution, condition_channels or channels, "*", test_every,
                False, centered, on_bad_example, cache_mib, fit=fit,
            )  # fmt: skip
            self.paired_with, beside.paired_with = beside, self
            opened = lambda: Opened(
                {split: _Stored(beside, split) for split in SPLITS}, beside.shape
            )
            what = f"The images of {visible(beside.root)}"
            self.condition = Conditions(what, opened, _MEASURED, flip)

    def paths(self, split: str = "train") -> list[str]:
        """The files of a split, sorted; those of an archive by their names in it.

        Raises:
          FileNotFoundError: no folder, no file in it, or none left for this split.
        """
        self._open(split)
        return self._paths[split]

    def unread(self) -> list[tuple[str, str]]:
        """See `EncodedImages.unread`: by their endings."""
        self._open("test")
        return [(self._shown(name), why) for name, why in sorted(self._choice.unread)]

    def left_out(self) -> dict[str, int]:
        """See `EncodedImages.left_out`."""
        self._open("test")
        return dict(self._choice.left_out.most_common())

    def _open(self, split: str) -> None:
        super()._open(split)
        if not self._splits:
            self._zipped = os.path.isfile(self.root)
            self._choice = _Choice(self.pattern)
            files: Sequence[Any] = self._members() if self._zipped else self._files()
            self._class_depth = _class_depth(self._choice.names)
            splits = self._divided(files)
            self._paths = {
                name: [m.name for m in part] if self._zipped else part
                for name, part in splits.items()
            }
            self._contents = {
                name: archive.Members(self.root, part) if self._zipped else _Files(part)
                for name, part in splits.items()
                if part
            }
            self._splits = splits
            self._choice.log(self.name)
        if not self._splits[split]:
            raise FileNotFoundError(
                f"{visible(self.root)} holds one image, which is held out for testing; training "
                "needs at least two."
            )

    def _divided(self, files: Sequence[Any]) -> dict[str, list[Any]]:
        """The files of each split, in order."""
        chosen = held_out(len(files), self.test_every)
        return {name: [files[i] for i in k] for name, k in chosen.items()}

    def names(self, split: str) -> list[str]:
        """The paths of a split's files below the root, with slashes."""
        return [self._below(path) for path in self.paths(split)]

    def _members(self) -> list[archive.Member]:
        found = archive.members(self.root, self._choice)
        if not found:
            raise FileNotFoundError(self._nothing_in("archive"))
        return found

    def _files(self) -> list[str]:
        if not os.path.isdir(self.root):
            raise FileNotFoundError(
                f"There is no folder of images at {visible(self.root)}. {_HELP}"
            )
        listing = walk(self.root, "ImageFolder.root")
        self._choice.left_out[_HIDDEN] += listing.hidden
        files = [path for path in listing.paths if self._choice(self._below(path))]
        if not files:
            raise FileNotFoundError(self._nothing_in("folder"))
        return files

    def _below(self, path: str) -> str:
        """The path of a file below the root, with slashes."""
        below = path if self._zipped else os.path.relpath(path, self.root)
        return below.replace(os.sep, "/")

    def _shown(self, name: str) -> str:
        return visible(f"{self.root}:{name}" if self._zipped else os.path.join(self.root, name))

    def _nothing_in(self, what: str) -> str:
        others = "".join(
            f" {count} files cannot be read: {why}."
            for why, count in collections.Counter(why for _, why in self._choice.unread).items()
        )
        return (
            f"The {what} {visible(self.root)} holds no file that matches {self.pattern!r} and has "
            f"the ending of an image.{others} {_HELP}"
        )

    def size(self, split: str = "train") -> int:
        """The number of files of a split."""
        self._open(split)
        return len(self._splits[split])

    def sizes(self, split: str) -> Array | None:
        """See `EncodedImages.sizes`; 0 of a file that is gone, None of very many files."""
        self._open(split)
        files = self._splits[split]
        if not self._zipped and len(files) > _MOST_ASKED:
            return None
        size_of = (lambda member: member.size) if self._zipped else _size_of
        return np.array([size_of(file) for file in files], np.int64)

    def _encoded(self, chosen: Array) -> Iterator[bytes]:
        files = [self._splits["train"][index] for index in chosen]
        contents = archive.contents(self.root, files) if self._zipped else map(_content_of, files)
        with progress_bar(len(files), f"the fingerprint of {self.name}", "images") as bar:
            for content in contents:
                yield content
                bar.update()

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`; the names below `root`, and so the classes, count as well."""
        below = lambda path: os.path.relpath(path, self.root) if os.path.isabs(path) else path
        names = bytes_hash(os.fsencode(below(path)) for path in self.paths("train"))
        return super().fingerprint() | {"names": names}

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`: the subfolders with images, in natural order."""
        return [visible(name) for name in self._classes()]

    def _classes(self) -> list[str]:
        for split in ("test", "train"):
            self._open(split)
        if self._class_names is None:
            paths = [path for split in ("test", "train") for path in self._paths[split]]
            names = {self._class_of(path) for path in paths}
            known = [name for name in names if name is not None]
            self._class_names = sorted(known, key=natural_key) if len(known) == len(names) else []
            stray = [path for path in paths if known and self._class_of(path) is None]
            if stray:
                warn(
                    "%s: there are no classes, for %d of %d images lie above the folders of the "
                    "others, the first being %s. Move them into the folder of their class.",
                    self.name, len(stray), len(paths), self._shown(self._below(min(stray))),
                )  # fmt: skip
        return self._class_names

    def labels(self, split: str = "train") -> Array | None:
        """The number of each file's subfolder, int64 [size]; None if some lie in none."""
        number = {name: k for k, name in enumerate(self._classes())}
        if not number:
            return None
        classes = map(self._class_of, self.paths(split))
        return np.array([number[name] for name in classes if name is not None], np.int64)

    def _class_of(self, path: str) -> str | None:
        folders = self._below(path).split("/")[self._class_depth : -1]
        return folders[0] if folders else None

    def location(self, index: int, split: str) -> str:
        """See `EncodedImages.location`."""
        return self._shown(self._below(self.paths(split)[index]))

    def file_of(self, index: int, split: str) -> str:
        """See `EncodedImages.file_of`."""
        path = self.paths(split)[index]
        return self.root if self._zipped else path

    def content(self, index: Tensor, split: str) -> Tensor:
        """See `EncodedImages.content`."""
        return self._contents[split].content(index)


class _Counterparts(ImageFolder):
    """The image files that belong to those of another folder: under the same name, in its order.

    Where the same name is not there, the only one that differs by its ending belongs to it.

    Args:
      others: the `ImageFolder`.
      arguments, options: of an `ImageFolder`.
    """

    def __init__(self, others: ImageFolder, *arguments: Any, **options: Any) -> None:
        self._others = others
        super().__init__(*arguments, **options)

    @property
    def owner(self) -> str:
        """See `Dataset.owner`."""
        return self._others.owner

    def _divided(self, files: Sequence[Any]) -> dict[str, list[Any]]:
        name_of = (lambda m: m.name) if self._zipped else self._below
        by_name = {name_of(file): file for file in files}
        by_stem = collections.defaultdict[str, list[str]](list)
        for name in by_name:
            by_stem[_stem(name)].append(name)
        splits: dict[str, list[Any]] = {}
        owners = dict[str, str]()
        for split in SPLITS:
            names = self._others.names(split)
            told = {n: [n] if n in by_name else by_stem[_stem(n)] for n in names}
            for name, belonging in told.items():
                self._check_single(name, belonging, owners)
            missing = [n for n in names if not told[n]]
            self._check_read(missing)
            if missing:
                raise UsageError(
                    f"{visible(self.root)} lacks the images that belong to {len(missing):,} of "
                    f"{len(names):,} under {visible(self._others.root)}, the first being "
                    f"{visible(missing[0])}. Put them there under the same names, or set "
                    "ImageFolder.condition_root to another folder."
                )
            splits[split] = [by_name[told[n][0]] for n in names]
        return splits

    def _check_read(self, names: Sequence[str]) -> None:
        """Raises a UsageError if the counterpart of one of these images is there, but unread."""
        unread = {_stem(other): (other, why) for other, why in self._choice.unread}
        for name in names:
            if _stem(name) in unread:
                other, why = unread[_stem(name)]
                raise UsageError(
                    f"{self._shown(other)}, which belongs to {visible(name)}, cannot be used: "
                    f"{why}. Of such images there are {len(unread)}."
                )

    def _check_single(self, name: str, belonging: Sequence[str], owners: dict[str, str]) -> None:
        """Raises a UsageError unless an image has a counterpart of its own.

        Args:
          name: of the image.
          belonging: the names of its counterparts.
          owners: the images that counterparts belong to; this one is added.
        """
        remedy = "Leave one of them, or give each image a counterpart of its whole name."
        if len(belonging) > 1:
            few = " and ".join(map(visible, belonging[:_FEW]))
            raise UsageError(
                f"{len(belonging)} images under {visible(self.root)} could belong to "
                f"{visible(name)} under {visible(self._others.root)}: {few}. {remedy}"
            )
        for other in belonging:
            if owners.setdefault(other, name) != name:
                raise UsageError(
                    f"{visible(other)} under {visible(self.root)} would belong to two images under "
                    f"{visible(self._others.root)}: {visible(owners[other])} and {visible(name)}. "
                    f"{remedy}"
                )


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _content_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _stem(name: str) -> str:
    """A name without its ending."""
    return os.path.splitext(name)[0]


class _Stored:
    """The raw images of a folder's split, as `RawConditions`."""

    def __init__(self, images: ImageFolder, split: str) -> None:
        self._images, self._split = images, split

    def __len__(self) -> int:
        return self._images.size(self._split)

    def gather(self, indices: Tensor) -> Tensor:
        return self._images.stored(indices, self._split)


class _Choice:
    """Chooses the images of a listing by their names, and remembers the others.

    Args:
      pattern: of the names below the root.

    Attributes:
      names: of the images, as they were asked for.
      unread: pairs of the name of an image that cannot be read, and the reason.
      left_out: the number of all other files by what they are.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.names: list[str] = []
        self.unread: list[tuple[str, str]] = []
        self.left_out: collections.Counter[str] = collections.Counter()

    def __call__(self, name: str) -> bool:
        """Whether a file, by its path below the root, is an image to be read."""
        ending = os.path.splitext(name)[1].lower()
        if any(map(is_hidden, name.split("/"))):
            self.left_out[_HIDDEN] += 1
        elif not fnmatch.fnmatch(name, self._pattern):
            self.left_out[f"does not match {self._pattern!r}"] += 1
        elif ending in EXTENSIONS:
            self.names.append(name)
            return True
        elif ending in UNREAD_EXTENSIONS:
            kind = UNREAD_EXTENSIONS[ending]
            self.unread.append((name, f"{kind} is not read; convert it to PNG"))
        else:
            self.left_out[visible(ending) or "no ending"] += 1
        return False

    def log(self, name: str) -> None:
        """Says what is left out."""
        self.left_out += collections.Counter()  # no zeros
        for why, count in self.left_out.items():
            logging.info("%s: %d files are left out, no images: %s", name, count, why)
        if self.unread:
            warn(
                "%s: %d images are left out, the first being %s (%s).",
                name, len(self.unread), visible(self.unread[0][0]), self.unread[0][1],
            )  # fmt: skip


def _class_depth(names: Sequence[str]) -> int:
    """How many folders lie above the classes: those that all files share, if folders follow."""
    folders = [name.split("/")[:-1] for name in names]
    depth = 0
    while (
        all(len(path) > depth for path in folders)
        and len({path[depth] for path in folders}) == 1
        and any(len(path) > depth + 1 for path in folders)
    ):
        depth += 1
    return depth


class _Files:
    """Files by index."""

    def __init__(self, paths: Sequence[str]) -> None:
        with tf.init_scope(), tf.device("CPU:0"):
            self._paths = tf.constant([os.fsencode(path) for path in paths])

    def content(self, index: Tensor) -> Tensor:
        return tf.io.read_file(self._paths[index])


__all__ = ["ImageFolder"]
