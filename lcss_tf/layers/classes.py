"""Classes: a vector for each, added to the embedding of the noise label."""

import keras
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.layers.base import register


@register
class ClassEmbedding(keras.layers.Layer):
    """A vector for each class, and one for none: labels [N] -> [N, units], in float32.

    The label `num_classes` is the null class, which stands for "of any class": training on it
    now and then makes guidance possible (Ho and Salimans 2022). All vectors begin at zero, so
    that a network which learns classes later starts from what it was.

    Args:
      num_classes: at least 1.
      units: width of the vectors.
    """

    def __init__(self, num_classes, units, **kwargs):
        super().__init__(autocast=False, **{**kwargs, "dtype": "float32"})
        if num_classes < 1:
            raise UsageError(f"num_classes must be at least 1, or None; got {num_classes}.")
        self.num_classes = num_classes
        self.units = units

    def build(self, labels_shape):
        self.table = self.add_weight(
            name="table",
            shape=(self.num_classes + 1, self.units),
            initializer="zeros",
            autocast=False,
        )

    def call(self, labels):
        # A product, not a look-up: its gradient is dense, as the optimisers want it.
        one_hot = tf.one_hot(labels, self.num_classes + 1)
        return tf.matmul(one_hot, tf.convert_to_tensor(self.table))

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes, "units": self.units}


def make_class_embedding(num_classes, units):
    """A built `ClassEmbedding`, or None where there are no classes."""
    if num_classes is None:
        return None
    layer = ClassEmbedding(num_classes, units, name="class_embedding")
    layer.build((None,))
    return layer


def embed_classes(layer, labels, batch):
    """What the noise embedding adds for labels [batch]; None without classes.

    Args:
      layer: a `ClassEmbedding`, or None: a network without classes.
      labels: int [batch]; None: the null class for all.
      batch: examples.

    Raises:
      ValueError: labels for a network without classes.
    """
    if layer is None:
        if labels is not None:
            raise UsageError(
                "This network has no classes, and got labels. Make it with num_classes, or leave "
                "the labels out."
            )
        return None
    if labels is None:
        labels = tf.fill([batch], layer.num_classes)
    return layer(labels)
