"""A multilayer perceptron with residual layers, for vectors."""

from typing import Any

import keras
import tensorflow as tf

from lcss_tf.conditioning import check_options
from lcss_tf.errors import UsageError
from lcss_tf.networks.conditions import make_condition, with_condition
from lcss_tf.networks.layers import (
    Dense,
    NoiseEmbedding,
    first_copy,
    model_options,
    one_of,
    register,
    repeat_copies,
)
from lcss_tf.registry import NETWORKS
from lcss_tf.typing import OpenShape, Seed, Tensor


@NETWORKS.register
@register
class MLP(keras.Model):
    """h ← h + W' silu(W silu(h) + V e(cond)), `depth` times, between two dense layers.

    ``network(x, cond, seed=None, copies=1, condition=None)``: x [N, d] and cond [N] give [N, d] in
    float32. The last layer starts at zero, and with it the output. `seed` has no effect; all
    networks take it. Where x and cond hold `copies` stacked copies of the same cond, it is
    embedded once.

    Args:
      width: features of every hidden layer.
      depth: residual layers.
      embedding_features: width of the noise label's embedding.
      embedding: ``"positional"`` (cond is like 999·t) or ``"fourier"`` (cond is σ > 0).
      fourier_scale: standard deviation of the Fourier frequencies of log σ. It is smaller than a
        large network's 16, so that the output varies less between neighbouring σ.
      num_classes: of a class-conditional network; labels run from 0. None: no classes.
      condition_size: K, of a network that is told K numbers; None: it is not. In place of
        `num_classes`.

    Raises:
      UsageError: x is not [N, d], or an option is none of those above.
    """

    stochastic = False
    takes_copies = True
    parts_on_cpu = True  # see `lcss_tf.cores`

    def __init__(
        self,
        *,
        width: int = 256,
        depth: int = 4,
        embedding_features: int = 64,
        embedding: str = "positional",
        fourier_scale: float = 1.0,
        num_classes: int | None = None,
        condition_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **model_options(type(self), kwargs))
        check_options(num_classes=num_classes, condition_size=condition_size)
        self._hyperparameters = {
            "width": width,
            "depth": depth,
            "embedding_features": embedding_features,
            "embedding": one_of("embedding", embedding, ("positional", "fourier")),
            "fourier_scale": fourier_scale,
            "num_classes": num_classes,
            "condition_size": condition_size,
        }
        for name, value in self._hyperparameters.items():
            setattr(self, name, value)
        self._size: int | None = None  # d, once built

    def get_config(self) -> dict:
        return {**super().get_config(), **self._hyperparameters}

    def build(self, x_shape: OpenShape, cond_shape: OpenShape | None = None) -> None:
        """Makes the weights for x of shape [N, d]; without effect on a built network.

        Raises:
          UsageError: x is no vector, or the network was built for another d.
        """
        if len(x_shape) != 2 or x_shape[-1] is None:
            raise UsageError(
                f"The MLP takes vectors [N, d], d known; got x of shape {tuple(x_shape)}. For data "
                "with spatial axes use NCSNpp."
            )
        if self._size is not None:
            self._check_size(x_shape)
            return
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
        self.condition_layer = make_condition(self.width, self.num_classes, self.condition_size)

        def layer(inputs: int, outputs: int, name: str) -> Dense:
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

    def call(
        self,
        x: Tensor,
        cond: Tensor,
        seed: Seed | None = None,
        copies: int = 1,
        condition: Tensor | None = None,
    ) -> Tensor:
        """The network's output [N, d], float32.

        Args:
          x: [N, d].
          cond: the noise label [N]: 999·t (positional) or σ (Fourier).
          seed: has no effect.
          copies: how many stacked copies of a batch x and cond hold, all with the same cond.
          condition: of the N/copies examples: classes, int [N/copies], where `num_classes` is the
            null class; or standardised numbers [N/copies, K], where NaN is the null condition.
            None: the null condition for all.
        """
        self._check_size(x.shape)
        first = first_copy(cond, copies)
        x, added = with_condition(x, self.condition_layer, condition, tf.shape(first)[0])
        embedding = self.noise_embedding(first, added)
        h = self.first(x)
        for inner, noise, outer in zip(self.inner, self.noise, self.outer, strict=True):
            shift = repeat_copies(noise(embedding), copies)
            h = h + outer(tf.nn.silu(inner(tf.nn.silu(h)) + shift))
        return self.last(tf.nn.silu(h))

    def _check_size(self, shape: OpenShape) -> None:
        if len(shape) != 2 or shape[-1] != self._size:
            raise UsageError(
                f"This MLP was built for x of shape [N, {self._size}]; got {tuple(shape)}. Make "
                "another network for other data."
            )

    def get_build_config(self) -> dict | None:
        return None if self._size is None else {"x_shape": (None, self._size)}

    def build_from_config(self, config: dict) -> None:
        self.build(tuple(config["x_shape"]))


__all__ = ["MLP"]
