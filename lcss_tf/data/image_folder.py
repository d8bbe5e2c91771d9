"""A folder of image files, read one by one as they are needed."""

import fnmatch
import os

import tensorflow as tf

from lcss_tf.data.decode import decode
from lcss_tf.data.image_dataset import ImageDataset
from lcss_tf.registry import DATASETS

_PARALLEL = 16  # images of one batch decoded at once
_EXTENSIONS = (".png", ".jpg", ".jpeg")
_HELP = (
    "Set ImageFolder.root to a folder of PNG or JPEG files (subfolders are searched too). "
    "For FFHQ at 1024 px, download the official folder images1024x1024 as "
    "https://github.com/NVlabs/ffhq-dataset describes, and set ImageFolder.root to it."
)


@DATASETS.register
class ImageFolder(ImageDataset):
    """The PNG and JPEG files under a folder; centre crop, antialiased resize.

    Files are decoded when their turn comes. Of the files sorted by path, one in
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
        self._tensors = {}

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
        path = self.paths(split)[0]
        try:
            decode(path, self.shape)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(
                f"The file {path} cannot be read as an image ({error.message[:200]}). Repair it, "
                "or take it out of the folder."
            ) from error

    def size(self, split="train"):
        """The number of files of a split."""
        return len(self.paths(split))

    def stored(self, indices, split):
        """The images at `indices`; see `ImageDataset.stored`."""
        if split not in self._tensors:
            with tf.init_scope(), tf.device("CPU:0"):
                self._tensors[split] = tf.constant(self.paths(split))
        return tf.map_fn(
            lambda path: decode(path, self.shape),
            tf.gather(self._tensors[split], indices),
            parallel_iterations=_PARALLEL,
            fn_output_signature=tf.TensorSpec(self.shape, tf.uint8),
        )


def _fail(error):
    raise error  # os.walk would leave out, in silence, what it may not read
