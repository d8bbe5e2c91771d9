"""The extractor contract: examples in the data's own units to vectors of features."""

from typing import NamedTuple

import numpy as np

from lcss_tf.errors import UsageError


class Outputs(NamedTuple):
    """What an extractor gives for a batch.

    features: [B, D]. logits: [B, K], of an extractor that is a classifier too; otherwise None.
    """

    features: np.ndarray
    logits: np.ndarray | None = None


class Extractor:
    """Base of the feature extractors. A constructor is cheap: files are opened on first use.

    Attributes:
      name: in the names of metrics.
      costly: whether its features are worth keeping on the disk until an evaluation is done.
      has_classes: whether it gives logits.
    """

    name = ""
    costly = False
    has_classes = False

    def check(self, info):
        """Raises ValueError unless it can see such data, a `DataInfo`."""
        raise NotImplementedError(f"{type(self).__name__} must define check(info).")

    def identity(self):
        """A text that changes whenever the features do: with the weights, above all."""
        raise NotImplementedError(f"{type(self).__name__} must define identity().")

    def __call__(self, batch):
        """`Outputs` of examples [B, ...] in the data's own units: uint8 images, float vectors."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(batch).")

    def title(self, kind):
        """The stem of a metric's name: ``frechet_<name>``."""
        return f"{kind}_{self.name}" if self.name else kind


def checked_images(batch, what):
    """The batch as uint8 [B, H, W, C].

    Raises:
      ValueError: another dtype or rank: scaled images have another range.
    """
    batch = np.asarray(batch)
    if batch.dtype != np.uint8 or batch.ndim != 4:
        seen = f"{batch.dtype} of shape {batch.shape}"
        if batch.size and np.issubdtype(batch.dtype, np.number):
            seen += f", values {batch.min():.4g} to {batch.max():.4g}"
        raise UsageError(
            f"{what} takes uint8 images [B, H, W, C], values 0 to 255; got {seen}. Unscale them "
            "first: info.unscale(x)."
        )
    return batch


def check_kind(info, kind, what):
    """Raises ValueError unless the data are of a kind, ``"image"`` or ``"vector"``."""
    if info.kind != kind:
        other = {"image": "@metrics.SlicedWasserstein()", "vector": "@metrics.PixelFrechet()"}
        raise UsageError(
            f"{what} sees {kind}s; {info.name} holds {info.kind}s of shape {info.shape}. Bind "
            f"another metric or extractor, such as {other[kind]}."
        )
