"""The handwritten digits that scikit-learn ships: real images without a download."""

import numpy as np

from lcss_tf.data.image_dataset import MemoryImages
from lcss_tf.registry import DATASETS

_WHITE = 16  # grey levels run from 0 to 16
_TEST_EVERY = 5


@DATASETS.register
class Digits(MemoryImages):
    """1,797 digits of 8×8 pixels, from the test part of UCI's optical digits (NIST writers).

    1,437 are for training and 360 for testing: of the images sorted by class, every fifth. The
    split never changes and keeps the classes' proportions.

    Args:
      centered: scale to [−1, 1]; otherwise to [0, 1].
    """

    def __init__(self, centered=True):
        super().__init__("digits", (8, 8, 1), flip=False, centered=centered, levels=_WHITE + 1)

    def load(self, split):
        """Reads a split; see `MemoryImages.load`."""
        from sklearn.datasets import load_digits  # slow to import, so only when used

        digits = load_digits()
        by_class = np.argsort(digits.target, kind="stable")
        is_test = np.arange(len(by_class)) % _TEST_EVERY == 0
        chosen = np.sort(by_class[is_test if split == "test" else ~is_test])
        images = np.rint(digits.images[chosen, :, :, None] * (255 / _WHITE)).astype(np.uint8)
        return images, digits.target[chosen]
