"""A folder, or a ZIP archive, of image files, read one by one as they are needed."""

import fnmatch
import os

import numpy as np
import tensorflow as tf

from lcss_tf.data.encoded_images import CACHE_MIB, EncodedImages
from lcss_tf.data.files import walk
from lcss_tf.data.splits import held_out
from lcss_tf.data.zip_images import ZipContents, members
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS

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

    Files are decoded when their turn comes, unless all of a split fit into `cache_mib`. Of the
    files sorted by path, one in `test_every` (the first, then every so many) is held out for
    testing. The class of a file is the subfolder of `root` that it lies in.

    Args:
      root: the folder, or the archive; it need not exist yet.
      resolution: height and width of the examples in pixels.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA).
      pattern: take only files whose path below `root` matches, e.g. ``"thumbs/*.png"``
        (``*`` matches slashes too).
      test_every: at least 2.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].
      on_bad_example, cache_mib: see `EncodedImages`.

    Raises:
      ValueError: a number out of its range.
    """

    def __init__(
        self,
        root,
        resolution,
        channels=3,
        pattern="*",
        test_every=50,
        flip=False,
        centered=True,
        on_bad_example="error",
        cache_mib=CACHE_MIB,
    ):
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
        self._splits = {}
        self._contents = {}

    def paths(self, split="train"):
        """The files of a split, sorted; those of an archive by their names in it.

        Raises:
          FileNotFoundError: no folder, no file in it, or none left for this split.
        """
        self._open(split)
        return self._paths[split]

    def _open(self, split):
        super().require(split)
        if not self._splits:
            zipped = os.path.isfile(self.root)
            files = self._members() if zipped else self._files()
            chosen = held_out(len(files), self.test_every)
            self._splits = {name: [files[i] for i in k] for name, k in chosen.items()}
            self._paths = {
                name: [m.name for m in part] if zipped else part
                for name, part in self._splits.items()
            }
            self._contents = {
                name: ZipContents(self.root, part) if zipped else _Files(part)
                for name, part in self._splits.items()
                if part
            }
        if not self._splits[split]:
            raise FileNotFoundError(
                f"{self.root} holds one image, which is held out for testing; training needs at "
                "least two."
            )

    def _wanted(self, name):
        return name.lower().endswith(EXTENSIONS) and fnmatch.fnmatch(name, self.pattern)

    def _members(self):
        found = members(self.root, self._wanted)
        if not found:
            raise FileNotFoundError(self._nothing("archive"))
        return found

    def _files(self):
        if not os.path.isdir(self.root):
            raise FileNotFoundError(f"There is no folder of images at {self.root}. {_HELP}")
        found = walk(self.root, "ImageFolder.root")
        files = [path for path in found if self._wanted(os.path.relpath(path, self.root))]
        if not files:
            raise FileNotFoundError(self._nothing("folder"))
        return files

    def _nothing(self, what):
        return (
            f"The {what} {self.root} holds no file that matches {self.pattern!r} and ends in "
            f"{', '.join(EXTENSIONS)}. {_HELP}"
        )

    def require(self, split="train"):
        """See `Dataset.require`; decodes one image, so that a wrong folder shows at once."""
        self._open(split)
        if self.on_bad_example == "error":
            self.explain([0], split)

    def size(self, split="train"):
        """The number of files of a split."""
        self._open(split)
        return len(self._splits[split])

    def class_names(self):
        """The subfolders with images, sorted: class k is number k. Empty if there are none."""
        for split in ("test", "train"):
            self._open(split)
        names = {self._class_of(path) for part in self._paths.values() for path in part}
        return [] if None in names else sorted(names)

    def labels(self, split="train"):
        """The number of each file's subfolder, int64 [size]; None if some lie in none."""
        number = {name: k for k, name in enumerate(self.class_names())}
        if not number:
            return None
        return np.array([number[self._class_of(p)] for p in self.paths(split)], np.int64)

    def _class_of(self, path):
        below = os.path.relpath(path, self.root) if os.path.isabs(path) else path
        parts = below.replace("\\", "/").split("/")
        return parts[0] if len(parts) > 1 else None

    def place_of(self, index, split):
        """See `EncodedImages.place_of`."""
        path = self.paths(split)[index]
        return path if os.path.isabs(path) else f"{self.root}:{path}"

    def content(self, index, split):
        """See `EncodedImages.content`."""
        return self._contents[split].content(index)


class _Files:
    """Files by index."""

    def __init__(self, paths):
        with tf.init_scope(), tf.device("CPU:0"):
            self._paths = tf.constant(paths)

    def content(self, index):
        return tf.io.read_file(self._paths[index])
