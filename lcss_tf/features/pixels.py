"""Features without a network: the pixels of small images, the numbers of vectors."""

import math

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.features.base import Extractor, Outputs, check_kind, checked_images
from lcss_tf.registry import EXTRACTORS

_MOST = 4_096  # numbers of an image: their covariance is 128 MiB


@EXTRACTORS.register
class Pixels(Extractor):
    """Flat pixels in units where black is 0 and white 1: float64 [B, H·W·C]."""

    name = "pixels"

    def check(self, info):
        """Raises ValueError unless the data are images of at most 4,096 numbers."""
        check_kind(info, "image", "Pixels")
        size = math.prod(info.shape)
        if size > _MOST:
            raise UsageError(
                f"Pixels sees images of at most {_MOST:,} numbers, the covariance of more does "
                f"not fit; {info.name} has {size:,}. Bind another extractor, such as "
                "@features.Inception()."
            )

    def identity(self):
        """The features never change."""
        return "pixels in [0, 1]"

    def __call__(self, batch):
        """`Outputs` of uint8 images [B, H, W, C]."""
        images = checked_images(batch, "Pixels")
        return Outputs(images.reshape(len(images), math.prod(images.shape[1:])) / 255.0)


@EXTRACTORS.register
class Values(Extractor):
    """Vectors as they are, flattened: float64 [B, D]."""

    name = ""

    def check(self, info):
        """Raises ValueError if the data are images: bind another extractor."""
        if info.kind == "image":
            check_kind(info, "vector", "Values")

    def identity(self):
        """The features never change."""
        return "values"

    def __call__(self, batch):
        """`Outputs` of vectors [B, ...].

        Raises:
          ValueError: no axis beside the batch's.
        """
        batch = np.asarray(batch, np.float64)
        if batch.ndim < 2:
            raise UsageError(f"Values takes vectors [B, ...]; got the shape {batch.shape}.")
        return Outputs(batch.reshape(len(batch), math.prod(batch.shape[1:])))
