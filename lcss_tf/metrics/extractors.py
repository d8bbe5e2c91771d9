"""Feature extractors: what a metric sees of an example."""

import abc
import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lcss_tf import cores, files
from lcss_tf.archives import check_unpacked
from lcss_tf.data import DataInfo, Digits
from lcss_tf.data.fingerprint import array_hash
from lcss_tf.data.pipeline import progress_bar
from lcss_tf.errors import UsageError
from lcss_tf.registry import EXTRACTORS
from lcss_tf.typing import Array, Shape, Tensor

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

    def facts(self) -> dict[str, float]:
        """What a reader should know of the extractor beside its values, by name; by default {}."""
        return {}

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
_MOST_IMAGES = 240_000  # that training sees, repetitions included, after the first epoch
_BATCH = 64
_MOST_NUMBERS = 2**27  # of the training images that are held
_RECIPE = (
    f"conv32-conv64-conv128s-pools-dense64swish-dense adam epochs {_EPOCHS} images {_MOST_IMAGES} "
    f"batch {_BATCH} seed 0"
)
_AT_ONCE = 1_024  # images that go through a classifier at once
_WEIGHT = "weight_{:02d}"
BROUGHT = Path(__file__).parent / "weights"  # of classifiers that come with the package
_HASHED = 32  # examples by which data without a fingerprint are known


@EXTRACTORS.register
class Classifier(Extractor):
    """The 64 features before the last layer of a small classifier of images, and its logits.

    It is trained on the training split of labelled data at first use, by one recipe for all data:
    two convolutions (more for sides above 32), 30 epochs but no more than 240,000 images, Adam. On
    two cores that takes some seconds for digits of 8×8 and some minutes for 28×28. It is kept in
    the cache under a hash of the recipe and the data. The hash of its weights enters every
    statistic, so values of two classifiers are never mixed. Its accuracy on held-out images is
    reported beside what it measures.

    Two machines round differently, so they train different classifiers, by which the same samples
    have somewhat different values. The classifier of `FashionMNIST` therefore comes with the
    package: its values compare between machines, and nothing is trained.

    Args:
      data: a `Dataset` of uint8 images with labels.
      name: part of the names of metrics; by default that of the data.
      path: the .npz of its weights, trained if it is missing; by default that which comes with the
        package, or else one in the cache.
    """

    has_classes = True

    def __init__(self, data: Any, name: str | None = None, path: str | Path | None = None) -> None:
        self.name = name or re.sub(r"\W+", "_", data.name).strip("_").lower()
        self._data, self._path = data, path
        self._network: Any = None
        self._identity, self._accuracy = "", float("nan")  # known once the network is

    def check(self, info: DataInfo) -> None:
        """Checks that the data look like those of the classifier, and that these have labels.

        Raises:
          UsageError: they do not.
          FileNotFoundError: the classifier's data are missing.
        """
        check_kind(info, "image", type(self).__name__)
        shape = tuple(self._data.shape)
        if info.shape != shape:
            raise UsageError(
                f"{type(self).__name__} sees images like those of {self._data.name}, "
                f"{'×'.join(map(str, shape))}; {info.name} has {info.shape}. Use another "
                "extractor, such as @features.Pixels()."
            )
        self._labels()

    def identity(self) -> str:
        """The hash of the weights."""
        self._opened()
        return self._identity

    def facts(self) -> dict[str, float]:
        """See `Extractor.facts`: the share of held-out images that are recognised."""
        self._opened()
        known = np.isfinite(self._accuracy)
        return {f"{self.name}_classifier_accuracy": self._accuracy} if known else {}

    def __call__(self, batch: Array) -> Features:
        """The features of uint8 images [B, H, W, C]: float32 [B, 64] and [B, K]."""
        images = checked_images(batch, type(self).__name__)
        shape = tuple(self._data.shape)
        if images.shape[1:] != shape:
            sizes = ", ".join(map(str, shape))
            raise UsageError(f"{type(self).__name__} sees images [B, {sizes}]; got {images.shape}.")
        network = self._opened()
        parts = cores.each(lambda part: network(part.astype(np.float32) / 255.0), _batches(images))
        return Features(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))

    def _labels(self) -> Array:
        self._data.require("train")
        labels = self._data.labels("train")
        if labels is None or len(np.unique(labels)) < 2:
            held = "no labels" if labels is None else "one class alone"
            raise UsageError(
                f"{type(self).__name__} learns classes, and {self._data.name} has {held}. Use data "
                "with labels, or another extractor, such as @features.Pixels()."
            )
        return self._data.class_labels(int(labels.max()) + 1)

    def _opened(self) -> Any:
        if self._network is None:
            labels = self._labels()
            model = _classifier(self._data.shape, int(labels.max()) + 1)
            key = self._key(labels)
            path = Path(self._path or files.cache_directory() / f"{self.name}_{key[:12]}.npz")
            stored = None if self._path else _brought(key)
            if stored is None:
                stored = files.read_arrays(path)
            if stored is None:
                stored = self._trained(model, labels) | {"key": np.array(key)}
                files.keep_arrays(path, stored, "LCSS_TF_CACHE")
            if str(stored.get("key")) != key:
                raise UsageError(
                    f"{path} holds a classifier of other data, or of another recipe. Remove it, "
                    "and it is trained again, or choose another path."
                )
            weights = [stored[name] for name in sorted(stored) if name.startswith("weight_")]
            model.set_weights(weights)
            digest = files.text_hash(*(w.tobytes().hex() for w in model.get_weights()))
            self._identity = f"{self.name} classifier {digest}"
            self._accuracy = float(stored["accuracy"])
            self._network = tf.function(model, reduce_retracing=True)
        return self._network

    def _key(self, labels: Array) -> str:
        """A hash of all that the weights depend on."""
        known = self._data.fingerprint()
        if known is None:
            known = array_hash(np.asarray(self._data.some_examples(_HASHED)))
        shape = list(self._data.shape)
        return files.text_hash(_RECIPE, json.dumps([shape, known]), array_hash(labels))

    def _trained(self, model: keras.Model, labels: Array) -> dict[str, Array]:
        """Trains the classifier; returns its weights and its accuracy, as they are stored."""
        most = max(1, _MOST_NUMBERS // math.prod(self._data.shape))
        chosen = self._data.spread_indices(most, "train")
        seen, what = _num_epochs(len(chosen)) * len(chosen), f"the {self.name} classifier"
        with progress_bar(seen, what, "images", "training") as bar:
            _train(model, _images(self._data, chosen, "train"), labels[chosen], bar.update)
        accuracy = float("nan")
        try:
            self._data.require("test")
            truth = self._data.labels("test")
        except (FileNotFoundError, ValueError):  # no held-out examples
            truth = None
        if truth is not None:
            chosen = self._data.spread_indices(most, "test")
            images = _images(self._data, chosen, "test")
            see = lambda part: model(part.astype(np.float32) / 255.0)[1]
            found = cores.each(see, _batches(images))
            accuracy = float(np.mean(np.concatenate(found).argmax(axis=1) == truth[chosen]))
        weights = {_WEIGHT.format(i): w for i, w in enumerate(model.get_weights())}
        return weights | {"accuracy": np.array(accuracy)}


@EXTRACTORS.register
class DigitsClassifier(Classifier):
    """The `Classifier` of `Digits`: it recognises about 99 % of the held-out ones.

    Args:
      path: the .npz of its weights; by default in the cache.
    """

    name = "digits"

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__(Digits(), "digits", path)


def _brought(key: str) -> dict[str, Array] | None:
    """The classifier of a key that comes with the package; tools/pin_classifier.py adds one."""
    found = sorted(BROUGHT.glob(f"*_{key[:12]}.npz"))
    return files.read_arrays(found[0]) if found else None


def _classifier(shape: Shape, num_classes: int) -> keras.Model:
    """images [B, H, W, C] in [0, 1] -> [features [B, 64], logits [B, K]]; seeds of its own."""
    seeds = itertools.count()
    initializer = lambda: keras.initializers.HeNormal(seed=next(seeds))

    def convolved(x: Any, width: int, pool: bool) -> Any:
        x = keras.layers.Conv2D(
            width, 3, padding="same", activation="relu", kernel_initializer=initializer()
        )(x)
        return keras.layers.MaxPooling2D(2, padding="same")(x) if pool else x

    x = inputs = keras.Input(tuple(shape))
    x = convolved(x, 32, pool=max(shape[:2]) > 16)
    x = convolved(x, 64, pool=True)
    while max(x.shape[1:3]) > 8:
        x = convolved(x, 128, pool=True)
    x = keras.layers.Flatten()(x)
    features = keras.layers.Dense(64, activation="swish", kernel_initializer=initializer())(x)
    logits = keras.layers.Dense(num_classes, kernel_initializer=initializer())(features)
    return keras.Model(inputs, [features, logits])


def _num_epochs(count: int) -> int:
    return min(_EPOCHS, max(1, _MOST_IMAGES // count))


def _images(data: Any, indices: Array, split: str) -> Array:
    """The raw images at `indices`, uint8 [N, H, W, C]."""
    info = data.info()
    read = lambda some: checked_images(
        info.unscale(data.examples(some, split)), f"A classifier of {data.name}"
    )
    return np.concatenate([read(some) for some in _batches(indices)])


def _batches(array: Array) -> list[Array]:
    return np.split(array, range(_AT_ONCE, len(array), _AT_ONCE))


def _train(model: keras.Model, images: Array, labels: Array, advance: Callable[[int], Any]) -> None:
    """Cross-entropy by Adam, images shifted by up to one pixel; no global seed is touched."""
    random = np.random.default_rng(0)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    variables = model.trainable_variables
    number = cores.parts(_BATCH, model.count_params())

    @tf.function(reduce_retracing=True)
    def step(x: Tensor, y: Tensor) -> None:
        count = tf.shape(x)[0]

        def part(i: int) -> list[Tensor]:
            own = slice(i * count // number, (i + 1) * count // number)
            with tf.GradientTape() as tape:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y[own], model(x[own])[1])
                loss = tf.reduce_sum(losses) / tf.cast(count, losses.dtype)
            return tape.gradient(loss, [v.value for v in variables])

        gradients = [
            tf.add_n(all_parts) for all_parts in zip(*map(part, range(number)), strict=True)
        ]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    epochs = _num_epochs(len(images))
    for epoch in range(epochs):
        if epoch and epoch == 2 * epochs // 3:
            optimizer.learning_rate.assign(1e-4)
        order = random.permutation(len(images))
        for chosen in np.split(order, range(_BATCH, len(order), _BATCH)):
            shift = tuple(random.integers(-1, 2, 2))
            padded = np.pad(images[chosen], ((0, 0), (1, 1), (1, 1), (0, 0)))
            shifted = np.roll(padded, shift, (1, 2))[:, 1:-1, 1:-1]
            step(shifted.astype(np.float32) / 255.0, labels[chosen])
            advance(len(chosen))


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
