"""Feature extractors: what a metric sees of an example."""

import abc
import math
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lcss_tf import files
from lcss_tf.archives import check_unpacked
from lcss_tf.data import DataInfo, Digits
from lcss_tf.errors import UsageError
from lcss_tf.registry import EXTRACTORS
from lcss_tf.typing import Array, Tensor

_MOST_PIXELS = 4_096  # numbers of an image: their covariance takes 128 MiB


class Features(NamedTuple):
    """The features of a batch, [B, D]; a classifier's logits too, [B, K], otherwise None."""

    features: Array
    logits: Array | None = None


class Extractor(abc.ABC):
    """Base of the feature extractors. A constructor is cheap: files are opened at first use.

    Attributes:
      name: part of the names of metrics.
      costly: whether features are worth storing until an evaluation is complete.
      has_classes: whether the extractor is a classifier, which gives logits.
    """

    name = ""
    costly = False
    has_classes = False

    @abc.abstractmethod
    def check(self, info: DataInfo) -> None:
        """Checks that the extractor applies to such data.

        Raises:
          UsageError: it does not.
          FileNotFoundError: a file is missing.
        """

    @abc.abstractmethod
    def identity(self) -> str:
        """A text that changes whenever the features do: it covers the weights, above all."""

    @abc.abstractmethod
    def __call__(self, batch: Array) -> Features:
        """The features of examples [B, ...] in the data's own units: uint8 images, floats."""

    def metric_name(self, stem: str) -> str:
        """The name of a metric in this feature space, without the sample count."""
        return f"{stem}_{self.name}" if self.name else stem


@EXTRACTORS.register
class Pixels(Extractor):
    """Flat pixels from 0 (black) to 1 (white), float64 [B, H·W·C]."""

    name = "pixels"

    def check(self, info: DataInfo) -> None:
        """Raises UsageError unless the data are images of at most 4,096 numbers."""
        check_kind(info, "image", "Pixels")
        size = math.prod(info.shape)
        if size > _MOST_PIXELS:
            raise UsageError(
                f"Pixels sees images of at most {_MOST_PIXELS:,} numbers, because the covariance "
                f"of more does not fit into memory; {info.name} has {size:,}. Use another "
                "extractor, such as @features.Inception()."
            )

    def identity(self) -> str:
        """A constant: the features never change."""
        return "pixels in [0, 1]"

    def __call__(self, batch: Array) -> Features:
        """The features of uint8 images [B, H, W, C]."""
        images = checked_images(batch, "Pixels")
        return Features(images.reshape(len(images), math.prod(images.shape[1:])) / 255.0)


@EXTRACTORS.register
class IdentityFeatures(Extractor):
    """The numbers of an example as they are, flattened: float64 [B, D]."""

    name = ""

    def check(self, info: DataInfo) -> None:
        """Raises UsageError if the data are images."""
        if info.kind == "image":
            check_kind(info, "vector", "IdentityFeatures")

    def identity(self) -> str:
        """A constant: the features never change."""
        return "identity"

    def __call__(self, batch: Array) -> Features:
        """The features of examples [B, ...].

        Raises:
          UsageError: no axis besides the batch's.
        """
        batch = np.asarray(batch, np.float64)
        if batch.ndim < 2:
            raise UsageError(f"IdentityFeatures takes vectors [B, ...]; got {batch.shape}.")
        return Features(batch.reshape(len(batch), math.prod(batch.shape[1:])))


@EXTRACTORS.register
class KerasFeatures(Extractor):
    """The flattened output of a layer of a saved Keras model.

    Args:
      path: a .keras file. It is loaded in Keras' safe mode, which refuses what would run its code.
      name: part of the names of metrics.
      layer: the layer's name; by default the model's output is taken.
      low, high: uint8 images are scaled to [low, high]; other data go in as they are.
      has_classes: whether the model's output are logits.
      batch_size: examples in one call of the model.
    """

    costly = True

    def __init__(
        self,
        path: str | Path,
        name: str = "keras",
        layer: str | None = None,
        low: float = 0.0,
        high: float = 1.0,
        has_classes: bool = False,
        batch_size: int = 256,
    ) -> None:
        self.name, self.has_classes = name, has_classes
        self._path, self._layer, self._range = str(path), layer, (low, high)
        self._batch_size = batch_size
        self._model: keras.Model | None = None
        self._identity: str | None = None

    def check(self, info: DataInfo) -> None:
        """Checks that the model and its layer are there, and that the model takes such data.

        Raises:
          FileNotFoundError: no such file.
          UsageError: no such layer, or another input shape.
        """
        expected = self._opened().input_shape[1:]
        fits = len(expected) == len(info.shape) and all(
            e in (None, s) for e, s in zip(expected, info.shape, strict=True)
        )
        if not fits:
            raise UsageError(
                f"{self._path} takes examples of shape {expected}; {info.name} has {info.shape}. "
                "Put a keras.layers.Resizing in front of it, or use another extractor."
            )

    def identity(self) -> str:
        """The hash of the file, the layer and the range."""
        if self._identity is None:
            self._identity = (
                f"sha256 {files.sha256(self._path)} layer {self._layer} range {self._range}"
            )
        return self._identity

    def __call__(self, batch: Array) -> Features:
        """The features of uint8 images [B, H, W, C], or of floats [B, ...]."""
        model, (low, high) = self._opened(), self._range
        batch = np.asarray(batch)
        if batch.ndim == 4:
            images = checked_images(batch, f"The model {self._path}")
            batch = low + images.astype(np.float32) * ((high - low) / 255.0)
        parts = []
        for start in range(0, len(batch), self._batch_size):
            part = tf.constant(batch[start : start + self._batch_size], tf.float32)
            parts.append([output.numpy() for output in model(part)])
        features, logits = (np.concatenate(outputs) for outputs in zip(*parts, strict=True))
        return Features(features.reshape(len(batch), -1), logits if self.has_classes else None)

    def _opened(self) -> keras.Model:
        if self._model is None:
            if not tf.io.gfile.exists(self._path):
                raise FileNotFoundError(f"KerasFeatures.path = {self._path!r}: no such file.")
            model = self._loaded()
            names = [layer.name for layer in model.layers]
            if self._layer is not None and self._layer not in names:
                raise UsageError(
                    f"{self._path} has no layer {self._layer!r}; it has {', '.join(names)}."
                )
            inner = model.output if self._layer is None else model.get_layer(self._layer).output
            self._model = keras.Model(model.input, [inner, model.output])
        return self._model

    def _loaded(self) -> keras.Model:
        """The model, in Keras' safe mode: what would run code of the file is refused."""
        if not self._path.endswith(".keras"):  # Keras has no safe mode for older formats
            raise UsageError(
                f"KerasFeatures.path = {self._path!r}: a .keras file is expected, the one format "
                "that is read without running its code. Save it again: model.save('features.keras')"
            )
        try:
            check_unpacked(self._path)
            return keras.saving.load_model(self._path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises many kinds
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = str(error).strip().split("\n")[0][:300]
            raise UsageError(
                f"{self._path} cannot be loaded in Keras' safe mode: {reason} Save a model of "
                "Keras' own layers, without Lambda layers: model.save('features.keras')."
            ) from error


_EPOCHS = 30
_BATCH = 64
_RECIPE = f"conv32-conv64-pool-dense64swish-dense10 adam epochs {_EPOCHS} batch {_BATCH} seed 0"
_ARRAYS = "weight_{:02d}"


@EXTRACTORS.register
class DigitsClassifier(Extractor):
    """The 64 features before the last layer of a small classifier of 8×8 digits, and its logits.

    It is trained on the training digits at first use, in some seconds, and kept in the cache. It
    recognises about 99 % of the held-out digits. The hash of its weights enters every statistic,
    so values of two classifiers are never mixed.

    Args:
      path: the .npz of its weights; by default in the cache.
    """

    name = "digits"
    has_classes = True

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = path
        self._network: Any = None
        self._identity = ""  # known once the network is

    def check(self, info: DataInfo) -> None:
        """Raises UsageError unless the data are grey images of 8×8."""
        if info.shape != (8, 8, 1):
            raise UsageError(
                "DigitsClassifier sees grey images of 8×8, shape (8, 8, 1); "
                f"{info.name} has {info.shape}. Use another extractor, such as @features.Pixels()."
            )

    def identity(self) -> str:
        """The hash of the weights."""
        self._opened()
        return self._identity

    def __call__(self, batch: Array) -> Features:
        """The features of uint8 images [B, 8, 8, 1]: float32 [B, 64] and [B, 10]."""
        images = checked_images(batch, "DigitsClassifier")
        if images.shape[1:] != (8, 8, 1):
            raise UsageError(f"DigitsClassifier sees images [B, 8, 8, 1]; got {images.shape}.")
        features, logits = self._opened()(images.astype(np.float32) / 255.0)
        return Features(features.numpy(), logits.numpy())

    def _opened(self) -> Any:
        if self._network is None:
            model = _digits_network()
            key = files.text_hash(_RECIPE)[:12]
            path = self._path or files.cache_directory() / f"digits_{key}.npz"
            stored = files.read_arrays(path)
            if stored is None:
                _train(model)
                weights = {_ARRAYS.format(i): w for i, w in enumerate(model.get_weights())}
                files.keep_arrays(path, weights, "LCSS_TF_CACHE")
            else:
                model.set_weights([stored[key] for key in sorted(stored)])
            digest = files.text_hash(*(w.tobytes().hex() for w in model.get_weights()))
            self._identity = f"digits classifier {digest}"
            self._network = tf.function(model, reduce_retracing=True)
        return self._network


def _digits_network() -> keras.Model:
    """images [B, 8, 8, 1] in [0, 1] -> [features [B, 64], logits [B, 10]]; seeds of its own."""
    initializer = lambda seed: keras.initializers.HeNormal(seed=seed)
    x = inputs = keras.Input((8, 8, 1))
    for i, width in enumerate((32, 64)):
        x = keras.layers.Conv2D(
            width, 3, padding="same", activation="relu", kernel_initializer=initializer(i)
        )(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(x))
    features = keras.layers.Dense(64, activation="swish", kernel_initializer=initializer(2))(x)
    logits = keras.layers.Dense(10, kernel_initializer=initializer(3))(features)
    return keras.Model(inputs, [features, logits])


def _train(model: keras.Model) -> None:
    """Cross-entropy by Adam, images shifted by up to one pixel; no global seed is touched."""
    data, random = Digits(), np.random.default_rng(0)
    every = data.examples(np.arange(data.size("train")), "train")
    images = np.asarray(data.info().unscale(every)).astype(np.float32) / 255.0
    labels = data.class_labels(10)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(x: Tensor, y: Tensor) -> None:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x)[1])
            loss = tf.reduce_mean(losses)
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for epoch in range(_EPOCHS):
        if epoch == 2 * _EPOCHS // 3:
            optimizer.learning_rate.assign(1e-4)
        order = random.permutation(len(images))
        for chosen in np.split(order, range(_BATCH, len(order), _BATCH)):
            shift = tuple(random.integers(-1, 2, 2))
            padded = np.pad(images[chosen], ((0, 0), (1, 1), (1, 1), (0, 0)))
            step(np.roll(padded, shift, (1, 2))[:, 1:-1, 1:-1], labels[chosen])


def checked_images(batch: Array, what: str) -> Array:
    """The batch as uint8 [B, H, W, C].

    Raises:
      UsageError: another dtype or rank; normalised images have another range.
    """
    batch = np.asarray(batch)
    if batch.dtype != np.uint8 or batch.ndim != 4:
        received = f"{batch.dtype} of shape {batch.shape}"
        if batch.size and np.issubdtype(batch.dtype, np.number):
            received += f", values {batch.min():.4g} to {batch.max():.4g}"
        raise UsageError(
            f"{what} takes uint8 images [B, H, W, C], values 0 to 255; got {received}. Unscale "
            "them first: info.unscale(x)."
        )
    return batch


def check_kind(info: DataInfo, kind: str, what: str) -> None:
    """Raises UsageError unless the data are of a kind, ``"image"`` or ``"vector"``."""
    if info.kind != kind:
        other = {"image": "@metrics.SlicedWasserstein()", "vector": "@metrics.PixelFrechet()"}
        raise UsageError(
            f"{what} sees {kind}s; {info.name} holds {info.kind}s of shape {info.shape}. Use "
            f"another metric or extractor, such as {other[kind]}."
        )
