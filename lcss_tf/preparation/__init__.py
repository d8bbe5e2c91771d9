"""Collections of images, validated and converted once into a TFDS dataset: ``lcss prepare``."""

from lcss_tf.preparation.collection import prepare
from lcss_tf.preparation.conversion import Source

__all__ = ["Source", "prepare"]
