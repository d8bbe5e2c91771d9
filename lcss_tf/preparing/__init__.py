"""Collections of images, validated and converted once into a TFDS dataset."""

from lcss_tf.preparing.run import prepare

__all__ = ["prepare"]
