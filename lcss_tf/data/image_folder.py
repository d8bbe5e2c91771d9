"""A folder of image files, read one by one as they are needed."""

import concurrent.futures
import fnmatch
import os

import numpy as np
import tensorflow as tf

from lcss_tf.data.decode import decode
from lcss_tf.data.image_dataset import ImageDataset
from lcss_tf.registry import DATASETS

_EXTENSIONS = (".png", ".jpg", ".jpeg")
_HELP = (
    "Set ImageFolder.root to a folder of PNG or JPEG files (subfolders are searched too). "
    "For FFHQ at 1024 px, download the official folder images1024x1024 as "
    "https://github.com/NVlabs/ffhq-dataset describes, and set ImageFolder.root to it."
)


@DATASETS.register
class ImageFolder(ImageDataset):
    """The PNG and JPEG files under a folder; centre crop, antialiased resize.

    Files are decoded on all cores when their turn comes. Of the files sorted by path, one in
    `test_every` (the first, then every so many) is held out for testing.

    Args:
      root: the folder; it need not exist yet.
      resolution: height and width of the examples in pixels.
      channels: 1 (grey), 3 (RGB) or 4 (RGBA).
      pattern: take only files whose path below `root` matches, e.g. ``"thumbs/*.png"``
        (``*`` matches slashes too).
      test_every: at least 2.
      flip: mirror half of the training images left to right.
      centered: scale to [−1, 1]; otherwise to [0, 1].

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
    ):
        if resolution < 1 or channels not in (1, 3, 4) or test_every < 2:
            raise ValueError(
                "ImageFolder needs resolution >= 1, channels of 1, 3 or 4, and test_every >= 2; "
                f"got {resolution}, {channels} and {test_every}."
            )
        self.root = os.path.abspath(os.path.expanduser(root))
        shape = (resolution, resolution, channels)
        super().__init__(os.path.basename(self.root), shape, flip, centered)
        self.pattern = pattern
        self.test_every = test_every
        self._paths = {}
        self._workers = None

    def paths(self, split="train"):
        """The files of a split, sorted.

        Raises:
          FileNotFoundError: no folder, no file in it, or none left for this split.
        """
        super().require(split)
        if not self._paths:
            files = self._files()
            held_out = set(files[:: self.test_every])
            self._paths = {
                "test": sorted(held_out),
                "train": [path for path in files if path not in held_out],
            }
        if not self._paths[split]:
            raise FileNotFoundError(
                f"The folder {self.root} holds one image, which is held out for "
                "testing; training needs at least two."
            )
        return self._paths[split]

    def _files(self):
        place = self.root
        if not os.path.isdir(place):
            raise FileNotFoundError(f"There is no folder of images at {place}. {_HELP}")
        files = [
            os.path.join(folder, name)
            for folder, _, names in os.walk(place, onerror=_fail)
            for name in names
            if name.lower().endswith(_EXTENSIONS)
        ]
        files = [f for f in files if fnmatch.fnmatch(os.path.relpath(f, place), self.pattern)]
        if not files:
            raise FileNotFoundError(
                f"The folder {place} holds no file that matches {self.pattern!r} and ends in "
                f"{', '.join(_EXTENSIONS)}. {_HELP}"
            )
        return sorted(files)

    def require(self, split="train"):
        """See `Dataset.require`; decodes one image, so that a wrong folder shows at once."""
        decode(self.paths(split)[0], self.shape)

    def size(self, split="train"):
        """The number of files of a split."""
        return len(self.paths(split))

    def stored(self, indices, split):
        """The images at `indices`; see `ImageDataset.stored`."""
        paths = self.paths(split)

        def read(places):
            # Pillow lets go of Python's lock while it decodes, so threads use all cores.
            return np.stack(list(self._pool().map(self._decode, [paths[i] for i in places])))

        images = tf.numpy_function(read, [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(images, [tf.convert_to_tensor(indices).shape[0], *self.shape])

    def _decode(self, path):
        return decode(path, self.shape)

    def _pool(self):
        if self._workers is None:
            self._workers = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        return self._workers


def _fail(error):
    raise error  # os.walk would leave out, in silence, what it may not read
