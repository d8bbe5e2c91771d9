"""How a condition enters a network: classes and vectors by its embedding, images by its input.

Labels of augmented examples enter beside it, by the embedding too.

All weights here start at zero: an untrained condition of a class or a vector changes nothing, so a
trained network keeps its function when such a condition is added to it.
"""

from typing import Any

import keras
import tensorflow as tf

from lcss_tf.conditioning import check_options
from lcss_tf.errors import UsageError
from lcss_tf.networks.layers import register, repeat_copies
from lcss_tf.typing import OpenShape, Tensor


class ToldLayer(keras.layers.Layer):
    """Base of the layers that take what a network is told beside x and t; float32."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **{**kwargs, "dtype": "float32"})

    def zeros(self, name: str, *shape: int) -> Any:
        """A weight that starts at zero."""
        return self.add_weight(name=name, shape=shape, initializer="zeros", autocast=False)


class ConditionLayer(ToldLayer):
    """Base of the layers that take a condition.

    Classifier-free guidance needs a network that was also trained on the null condition (Ho and
    Salimans 2022), for which each layer has weights of its own.
    """

    def null_weights(self) -> Any:
        """What stands for the null condition; all zeros until it is trained."""
        raise NotImplementedError(f"{type(self).__name__} must define null_weights().")

    def check(self, condition: Tensor, x_shape: OpenShape) -> None:
        """Raises UsageError unless conditions are what the layer takes, for x of a shape."""

    def nulls(self, batch: Tensor, x_shape: OpenShape) -> Tensor:
        """`batch` null conditions, for x of a shape."""
        raise NotImplementedError(f"{type(self).__name__} must define nulls(batch, x_shape).")

    def enter(self, x: Tensor, condition: Tensor, copies: int) -> tuple[Tensor, Tensor | None]:
        """(x with what the condition joins to it, what it adds to the noise embedding or None)."""
        del copies
        return x, self(condition)


@register
class ClassEmbedding(ConditionLayer):
    """A vector for each class, and one for the null class: labels [N] -> [N, units], in float32.

    The label `num_classes` is the null class, "of any class".

    Args:
      num_classes: at least 1.
      units: width of the vectors.

    Raises:
      UsageError: num_classes < 1.
    """

    def __init__(self, num_classes: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_options(num_classes=num_classes)
        self.num_classes = num_classes
        self.units = units

    def build(self, labels_shape: OpenShape) -> None:
        self.table = self.zeros("table", self.num_classes + 1, self.units)

    def call(self, labels: Tensor) -> Tensor:
        # A product, not a look-up: its gradient is dense, as the optimisers want it.
        one_hot = tf.one_hot(labels, self.num_classes + 1)
        return tf.matmul(one_hot, tf.convert_to_tensor(self.table))

    def null_weights(self) -> Any:
        """See `ConditionLayer`."""
        return self.table[-1]

    def nulls(self, batch: Tensor, x_shape: OpenShape) -> Tensor:
        """See `ConditionLayer`."""
        return tf.fill([batch], self.num_classes)

    def check(self, condition: Tensor, x_shape: OpenShape) -> None:
        """See `ConditionLayer`."""
        if len(condition.shape) != 1 or not condition.dtype.is_integer:
            raise UsageError(
                f"This network takes classes, integers [N] (num_classes = {self.num_classes}); got "
                f"{condition.dtype.name} of shape {tuple(condition.shape)}. Pass their numbers."
            )

    def get_config(self) -> dict:
        return {**super().get_config(), "num_classes": self.num_classes, "units": self.units}


@register
class VectorEmbedding(ConditionLayer):
    """c W, or the null vector where c holds NaN: c [N, size] -> [N, units], in float32.

    Args:
      size: numbers of a condition, standardised, at least 1.
      units: width of the result.

    Raises:
      UsageError: size < 1.
    """

    def __init__(self, size: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_options(condition_size=size)
        self.size, self.units = size, units

    def build(self, condition_shape: OpenShape) -> None:
        self.kernel = self.zeros("kernel", self.size, self.units)
        self.null = self.zeros("null", self.units)

    def call(self, condition: Tensor) -> Tensor:
        missing, condition = _split_null(condition)
        projected = tf.matmul(condition, tf.convert_to_tensor(self.kernel))
        return tf.where(missing, tf.convert_to_tensor(self.null), projected)

    def null_weights(self) -> Any:
        """See `ConditionLayer`."""
        return self.null

    def nulls(self, batch: Tensor, x_shape: OpenShape) -> Tensor:
        """See `ConditionLayer`."""
        return tf.fill([batch, self.size], float("nan"))

    def check(self, condition: Tensor, x_shape: OpenShape) -> None:
        """See `ConditionLayer`."""
        if tuple(condition.shape[1:]) != (self.size,) or not condition.dtype.is_floating:
            raise UsageError(
                f"This network takes conditions [N, {self.size}] (condition_size = {self.size}); "
                f"got {condition.dtype.name} of shape {tuple(condition.shape)}. Pass "
                f"{self.size} numbers for each example."
            )

    def get_config(self) -> dict:
        return {**super().get_config(), "size": self.size, "units": self.units}


@register
class ImageCondition(ConditionLayer):
    """The condition, or the null colour at every place where it holds NaN: [N, ..., C'] in float32.

    Args:
      channels: C', at least 1.

    Raises:
      UsageError: channels < 1.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_options(condition_channels=channels)
        self.channels = channels

    def build(self, condition_shape: OpenShape) -> None:
        self.null = self.zeros("null", self.channels)

    def call(self, condition: Tensor) -> Tensor:
        missing, condition = _split_null(condition)
        return tf.where(missing, tf.convert_to_tensor(self.null), condition)

    def null_weights(self) -> Any:
        """See `ConditionLayer`."""
        return self.null

    def nulls(self, batch: Tensor, x_shape: OpenShape) -> Tensor:
        """See `ConditionLayer`."""
        return tf.fill([batch, *x_shape[1:-1], self.channels], float("nan"))

    def enter(self, x: Tensor, condition: Tensor, copies: int) -> tuple[Tensor, Tensor | None]:
        """See `ConditionLayer`; the channels of the condition come after those of x."""
        image = tf.cast(repeat_copies(self(condition), copies), x.dtype)
        return tf.concat([x, image], axis=-1), None

    def check(self, condition: Tensor, x_shape: OpenShape) -> None:
        """See `ConditionLayer`."""
        expected = (*x_shape[1:-1], self.channels)
        if tuple(condition.shape[1:]) != expected or not condition.dtype.is_floating:
            raise UsageError(
                f"This network takes conditions [N, {', '.join(map(str, expected))}], of the "
                f"spatial shape of x (condition_channels = {self.channels}); got "
                f"{condition.dtype.name} of shape {tuple(condition.shape)}. Resize them to it."
            )

    def get_config(self) -> dict:
        return {**super().get_config(), "channels": self.channels}


@register
class AugmentationEmbedding(ToldLayer):
    """a W of labels a [N, size] that say how examples were augmented: [N, units], in float32.

    Examples as they are have the label 0 and add 0 (Karras et al. 2022).

    Args:
      size: numbers of a label, at least 1.
      units: width of the result.

    Raises:
      UsageError: size < 1.
    """

    def __init__(self, size: int, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if size < 1:
            raise UsageError(f"augmentation_size must be at least 1, or None; got {size}.")
        self.size, self.units = size, units

    def build(self, labels_shape: OpenShape) -> None:
        self.kernel = self.zeros("kernel", self.size, self.units)

    def call(self, labels: Tensor) -> Tensor:
        return tf.matmul(tf.cast(labels, tf.float32), tf.convert_to_tensor(self.kernel))

    def get_config(self) -> dict:
        return {**super().get_config(), "size": self.size, "units": self.units}


def make_augmentation(size: int | None, units: int) -> AugmentationEmbedding | None:
    """The built layer of a network that is told how examples were augmented; None: it is not."""
    if size is None:
        return None
    layer = AugmentationEmbedding(size, units, name="augmentation_embedding")
    layer.build((None, size))
    return layer


def with_augmentation(
    added: Tensor | None, layer: AugmentationEmbedding | None, labels: Tensor | None
) -> Tensor | None:
    """What is added to the noise embedding: of the condition, and of the augmentation.

    Args:
      added: of the condition, [N, units], or None.
      layer: of the network, or None.
      labels: [N, size]; None means examples as they are.

    Raises:
      UsageError: labels for a network that takes none, or of another shape.
    """
    if labels is None:
        return added
    if layer is None:
        raise UsageError(
            "This network is not told how examples were augmented, and got labels. Make it with "
            "augmentation_size, or leave the labels out."
        )
    labels = tf.convert_to_tensor(labels)
    if len(labels.shape) != 2 or labels.shape[1] != layer.size:
        raise UsageError(
            f"This network takes labels of augmented examples [N, {layer.size}] "
            f"(augmentation_size = {layer.size}); got the shape {tuple(labels.shape)}."
        )
    told = layer(labels)
    return told if added is None else added + told


def _split_null(condition: Tensor) -> tuple[Tensor, Tensor]:
    """(where an example's condition is null, [N, 1, ...]; the conditions with 0 in its place)."""
    condition = tf.cast(condition, tf.float32)
    axes = list(range(1, len(condition.shape)))
    missing = tf.reduce_any(tf.math.is_nan(condition), axis=axes, keepdims=True)
    # 0, for NaN times an untrained weight of 0 is NaN, and so would be the weight's gradient.
    return missing, tf.where(missing, 0.0, condition)


def make_condition(
    units: int,
    num_classes: int | None = None,
    condition_size: int | None = None,
    condition_channels: int | None = None,
) -> ConditionLayer | None:
    """The built layer of a network's condition, of which there is at most one; None: there is none.

    Args:
      units: of the noise embedding.
      num_classes, condition_size, condition_channels: of the condition, as of the networks.
    """
    layer: ConditionLayer
    if num_classes is not None:
        layer = ClassEmbedding(num_classes, units, name="class_embedding")
    elif condition_size is not None:
        layer = VectorEmbedding(condition_size, units, name="vector_embedding")
    elif condition_channels is not None:
        layer = ImageCondition(condition_channels, name="image_condition")
    else:
        return None
    layer.build((None,))
    return layer


def with_condition(
    x: Tensor,
    layer: ConditionLayer | None,
    condition: Tensor | None,
    batch: Tensor,
    copies: int = 1,
) -> tuple[Tensor, Tensor | None]:
    """(x, with an image condition joined to its channels; what is added to the noise embedding).

    Args:
      x: [N, ...], in the dtype of the computation.
      layer: of the network, or None.
      condition: [batch, ...]; None means the null condition for all.
      batch: N/copies, a scalar.
      copies: how many stacked copies of a batch x holds.

    Raises:
      UsageError: a condition for a network without one, or of another shape.
    """
    if layer is None:
        if condition is not None:
            raise UsageError(
                "This network takes no condition, and got one. Make it with num_classes, "
                "condition_size or condition_channels, or leave the condition out."
            )
        return x, None
    if condition is None:
        condition = layer.nulls(batch, x.shape)
    else:
        condition = tf.convert_to_tensor(condition)
        layer.check(condition, x.shape)
    return layer.enter(x, condition, copies)


__all__ = [
    "AugmentationEmbedding",
    "ClassEmbedding",
    "ConditionLayer",
    "ImageCondition",
    "VectorEmbedding",
    "make_augmentation",
    "make_condition",
    "with_augmentation",
    "with_condition",
]
