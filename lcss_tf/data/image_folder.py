"""A folder, or a ZIP archive, of image files, read one by one as they are needed."""

import fnmatch
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import archives
from lcss_tf.archives import Member
from lcss_tf.data.base import held_out
from lcss_tf.data.decoding import BadImageError
from lcss_tf.data.files import permission, read_range, walk
from lcss_tf.data.images import CACHE_MIB, EncodedImages
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array, Tensor

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
_HELP = (
    "Set ImageFolder.root to a folder or a ZIP archive of PNG, JPEG, WebP, GIF or BMP files "
    "(subfolders are searched too). For FFHQ at 1024 px, download the official folder "
    "images1024x1024 as https://github.com/NVlabs/ffhq-dataset describes, and set "
    "ImageFolder.root to it."
)


@DATASETS.register
class ImageFolder(EncodedImages):
    """The image files under a folder or in a ZIP archive; centre crop, antialiased resize.

    Files are decoded lazily, unless all of a split fit into `cache_mib`. Of the files sorted by
    path, the first of every `test_every` is held out for testing. The class of a file is the
    subfolder of `root` that it lies in.

    Args:
      root: the folder, or the archive; it need not exist yet.
      resolution: height and width of the examples, in pixels.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA).
      pattern: take only files whose path below `root` matches, e.g. ``"thumbs/*.png"``
        (``*`` matches slashes too).
      test_every: at least 2.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].
      on_bad_example, cache_mib: see `EncodedImages`.

    Raises:
      UsageError: a number out of its range.
    """

    def __init__(
        self,
        root: str,
        resolution: int,
        channels: int = 3,
        pattern: str = "*",
        test_every: int = 50,
        flip: bool = False,
        centered: bool = True,
        on_bad_example: str = "error",
        cache_mib: int = CACHE_MIB,
    ) -> None:
        if resolution < 1 or channels not in (1, 3, 4) or test_every < 2:
            raise UsageError(
                "ImageFolder needs resolution >= 1, channels of 1, 3 or 4, and test_every >= 2; "
                f"got {resolution}, {channels} and {test_every}."
            )
        self.root = os.path.abspath(os.path.expanduser(root))
        shape = (resolution, resolution, channels)
        name = os.path.basename(self.root)
        super().__init__(name, shape, flip, centered, on_bad_example, cache_mib)
        self.pattern = pattern
        self.test_every = test_every
        self._splits: dict[str, list[Any]] = {}  # paths, or `Member`s of an archive
        self._contents: dict[str, _Files | _Members] = {}

    def paths(self, split: str = "train") -> list[str]:
        """The files of a split, sorted; those of an archive by their names in it.

        Raises:
          FileNotFoundError: no folder, no file in it, or none left for this split.
        """
        self._open(split)
        return self._paths[split]

    def _open(self, split: str) -> None:
        super().require(split)
        if not self._splits:
            zipped = os.path.isfile(self.root)
            files: Sequence[Any] = self._members() if zipped else self._files()
            chosen = held_out(len(files), self.test_every)
            self._splits = {name: [files[i] for i in k] for name, k in chosen.items()}
            self._paths = {
                name: [m.name for m in part] if zipped else part
                for name, part in self._splits.items()
            }
            self._contents = {
                name: _Members(self.root, part) if zipped else _Files(part)
                for name, part in self._splits.items()
                if part
            }
        if not self._splits[split]:
            raise FileNotFoundError(
                f"{self.root} holds one image, which is held out for testing; training needs at "
                "least two."
            )

    def _wanted(self, name: str) -> bool:
        return name.lower().endswith(EXTENSIONS) and fnmatch.fnmatch(name, self.pattern)

    def _members(self) -> list[Member]:
        found = members(self.root, self._wanted)
        if not found:
            raise FileNotFoundError(self._nothing_in("archive"))
        return found

    def _files(self) -> list[str]:
        if not os.path.isdir(self.root):
            raise FileNotFoundError(f"There is no folder of images at {self.root}. {_HELP}")
        found = walk(self.root, "ImageFolder.root")
        files = [path for path in found if self._wanted(os.path.relpath(path, self.root))]
        if not files:
            raise FileNotFoundError(self._nothing_in("folder"))
        return files

    def _nothing_in(self, what: str) -> str:
        return (
            f"The {what} {self.root} holds no file that matches {self.pattern!r} and ends in "
            f"{', '.join(EXTENSIONS)}. {_HELP}"
        )

    def require(self, split: str = "train") -> None:
        """See `Dataset.require`; decodes one image, so that a wrong folder shows at once."""
        self._open(split)
        if self.on_bad_example == "error":
            self.check_examples([0], split)

    def size(self, split: str = "train") -> int:
        """The number of files of a split."""
        self._open(split)
        return len(self._splits[split])

    def class_names(self) -> list[str]:
        """The subfolders with images, sorted: class k is number k. Empty if there are none."""
        for split in ("test", "train"):
            self._open(split)
        names = {self._class_of(path) for part in self._paths.values() for path in part}
        known = [name for name in names if name is not None]
        return sorted(known) if len(known) == len(names) else []

    def labels(self, split: str = "train") -> Array | None:
        """The number of each file's subfolder, int64 [size]; None if some lie in none."""
        number = {name: k for k, name in enumerate(self.class_names())}
        if not number:
            return None
        classes = map(self._class_of, self.paths(split))
        return np.array([number[name] for name in classes if name is not None], np.int64)

    def _class_of(self, path: str) -> str | None:
        below = os.path.relpath(path, self.root) if os.path.isabs(path) else path
        parts = below.replace("\\", "/").split("/")
        return parts[0] if len(parts) > 1 else None

    def location(self, index: int, split: str) -> str:
        """See `EncodedImages.location`."""
        path = self.paths(split)[index]
        return path if os.path.isabs(path) else f"{self.root}:{path}"

    def content(self, index: Tensor, split: str) -> Tensor:
        """See `EncodedImages.content`."""
        return self._contents[split].content(index)


class _Files:
    """Files by index."""

    def __init__(self, paths: Sequence[str]) -> None:
        with tf.init_scope(), tf.device("CPU:0"):
            self._paths = tf.constant(paths)

    def content(self, index: Tensor) -> Tensor:
        return tf.io.read_file(self._paths[index])


# ZIP archives: members are found by their offset, and unpacked and checked by zlib, which lets go
# of Python's lock meanwhile. No TensorFlow operation unpacks within a limit.

_MAX_MEMBER = 2**28  # bytes of one unpacked member


def members(path: str, wanted: Callable[[str], bool]) -> list[Member]:
    """The `Member`s of an archive whose names `wanted` accepts, sorted by name.

    Nothing is unpacked to the disk.

    Raises:
      UsageError: as `archives.members`, or an image of more than 256 MiB.
    """
    with permission(path):
        found = sorted(archives.members(path, wanted))
    for member in found:
        if member.size > _MAX_MEMBER:
            raise UsageError(
                f"The member {member.name!r} of {path} would unpack to {member.size:,} bytes, more "
                f"than the {_MAX_MEMBER:,} that are read: a decompression bomb. Remove it."
            )
    return found


class _Members:
    """The members of one archive by index."""

    def __init__(self, path: str, chosen: Sequence[Member]) -> None:
        self._chosen = chosen
        with tf.init_scope(), tf.device("CPU:0"):
            self._path = tf.constant(path)
            self._bytes = tf.constant(os.path.getsize(path), tf.int64)
            self._offsets = tf.constant(np.array([m.offset for m in chosen], np.int64))
            self._packed = tf.constant(np.array([m.packed for m in chosen], np.int64))

    def content(self, index: Tensor) -> Tensor:
        packed = read_range(self._path, self._offsets[index], self._packed[index], self._bytes)
        content = tf.numpy_function(self._unpacked, [packed, index], tf.string, stateful=False)
        return tf.ensure_shape(content, [])

    def _unpacked(self, packed: Any, index: Any) -> bytes:
        member = self._chosen[int(index)]
        # Eagerly TensorFlow passes an array of one object.
        packed = np.asarray(packed, object).item()
        try:
            return archives.unpack(packed, member.size, member.crc, member.deflated)
        except archives.ArchiveError as error:
            raise BadImageError(str(error)) from error


__all__ = ["EXTENSIONS", "ImageFolder", "Member", "members"]
