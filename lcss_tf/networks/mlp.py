"""A multilayer perceptron with residual layers, for vectors."""

import keras
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.layers import (
    Dense,
    NoiseEmbedding,
    embed_classes,
    first_copy,
    make_class_embedding,
    repeat_copies,
)
from lcss_tf.layers.base import one_of, register
from lcss_tf.registry import NETWORKS


@NETWORKS.register
@register
class MLP(keras.Model):
    """h ← h + W' silu(W silu(h) + V e(cond)), `depth` times, between two dense layers.

    ``network(x, cond)``: x [N, d] and cond [N] give [N, d] in float32; 0 before training, as
    the last layer starts at zero. `seed` is taken, as all networks take it, and changes
    nothing; where x and cond hold `copies` stacked copies of the same cond, it is embedded once.

    Args:
      width: features of every hidden layer.
      depth: residual layers.
      embedding_features: width of the noise label's embedding.
      embedding: ``"positional"`` (cond is like 999·t) or ``"fourier"`` (cond is σ > 0).
      fourier_scale: standard deviation of the Fourier frequencies of log σ. Smaller than a
        large network's 16: neighbouring σ are then told apart less, and generalise more.
      num_classes: classes of a conditional network, whose labels run from 0; None: no classes.

    Raises:
      ValueError: x is not [N, d], or an option is none of those above.
    """

    stochastic = False
    takes_copies = True

    def __init__(
        self,
        *,
        width=256,
        depth=4,
        embedding_features=64,
        embedding="positional",
        fourier_scale=1.0,
        num_classes=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self._hyperparameters = {
            "width": width,
            "depth": depth,
            "embedding_features": embedding_features,
            "embedding": one_of("embedding", embedding, ("positional", "fourier")),
            "fourier_scale": fourier_scale,
            "num_classes": num_classes,
        }
        for name, value in self._hyperparameters.items():
            setattr(self, name, value)

    def get_config(self):
        return {**super().get_config(), **self._hyperparameters}

    def build(self, x_shape, cond_shape=None):
        if len(x_shape) != 2 or x_shape[-1] is None:
            raise UsageError(
                f"The MLP takes vectors [N, d], d known; got x of shape {tuple(x_shape)}. For data "
                "with spatial axes use NCSNpp."
            )
        self._size = x_shape[-1]
        fourier = self.embedding == "fourier"
        self.noise_embedding = NoiseEmbedding(
            self.embedding_features // 2 if fourier else self.embedding_features,
            units=self.width,
            kind=self.embedding,
            fourier_scale=self.fourier_scale,
            name="noise_embedding",
        )
        self.noise_embedding.build((None,))
        self.class_embedding = make_class_embedding(self.num_classes, self.width)

        def layer(inputs, outputs, name):
            made = Dense(outputs, name=name, dtype=self.dtype_policy)
            made.build((None, inputs))
            return made

        width = self.width
        self.first = layer(self._size, width, "first")
        self.inner = [layer(width, width, f"inner_{i}") for i in range(self.depth)]
        self.noise = [layer(width, width, f"noise_{i}") for i in range(self.depth)]
        self.outer = [layer(width, width, f"outer_{i}") for i in range(self.depth)]
        self.last = keras.layers.Dense(
            self._size, kernel_initializer="zeros", name="last", dtype="float32"
        )
        self.last.build((None, width))

    def call(self, x, cond, seed=None, copies=1, labels=None):
        """x [N, d], the noise label cond [N] and classes [N/copies] (None: none) give [N, d]."""
        if x.shape.rank != 2 or x.shape[-1] != self._size:
            raise UsageError(
                f"This MLP was built for x of shape [N, {self._size}]; got {tuple(x.shape)}."
            )
        first = first_copy(cond, copies)
        classes = embed_classes(self.class_embedding, labels, tf.shape(first)[0])
        embedding = self.noise_embedding(first, classes)
        h = self.first(x)
        for inner, noise, outer in zip(self.inner, self.noise, self.outer, strict=True):
            told = repeat_copies(noise(embedding), copies)
            h = h + outer(tf.nn.silu(inner(tf.nn.silu(h)) + told))
        return self.last(tf.nn.silu(h))

    def get_build_config(self):
        return {"x_shape": (None, self._size)}

    def build_from_config(self, config):
        self.build(tuple(config["x_shape"]))
