"""Any Keras model as a feature extractor."""

import keras
import numpy as np
import tensorflow as tf

from lcss_tf import files
from lcss_tf.errors import UsageError
from lcss_tf.features.base import Extractor, Outputs, checked_images
from lcss_tf.registry import EXTRACTORS


@EXTRACTORS.register
class KerasFeatures(Extractor):
    """The output of a layer of a saved Keras model, flattened.

    Args:
      path: a .keras file.
      name: in the names of metrics.
      layer: whose output the features are; by default the model's output.
      low, high: uint8 images are scaled to this range; vectors go in as they are.
      has_classes: whether the model's output are logits.
      batch_size: examples that run at a time.
    """

    costly = True

    def __init__(
        self, path, name="keras", layer=None, low=0.0, high=1.0, has_classes=False, batch_size=256
    ):
        self.name, self.has_classes = name, has_classes
        self._path, self._layer, self._range = path, layer, (low, high)
        self._batch_size = batch_size
        self._model, self._identity = None, None

    def check(self, info):
        """Raises unless there is such a model and layer, and the model takes such data.

        Raises:
          FileNotFoundError, ValueError.
        """
        expected = self._opened().input_shape[1:]
        fits = len(expected) == len(info.shape) and all(
            e in (None, s) for e, s in zip(expected, info.shape, strict=True)
        )
        if not fits:
            raise UsageError(
                f"{self._path} takes examples of shape {expected}; {info.name} has {info.shape}. "
                "Put a keras.layers.Resizing in front of it, or bind another extractor."
            )

    def identity(self):
        """The hash of the file, with what is made of it."""
        if self._identity is None:
            self._identity = (
                f"sha256 {files.sha256(self._path)} layer {self._layer} range {self._range}"
            )
        return self._identity

    def __call__(self, batch):
        """`Outputs` of uint8 images [B, H, W, C] or of float vectors [B, ...]."""
        model, (low, high) = self._opened(), self._range
        batch = np.asarray(batch)
        if batch.ndim == 4:
            images = checked_images(batch, f"The model {self._path}")
            batch = low + images.astype(np.float32) * ((high - low) / 255.0)
        parts = [
            [
                part.numpy()
                for part in model(tf.constant(batch[i : i + self._batch_size], tf.float32))
            ]
            for i in range(0, len(batch), self._batch_size)
        ]
        features, outputs = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Outputs(features.reshape(len(batch), -1), outputs if self.has_classes else None)

    def _opened(self):
        if self._model is None:
            if not tf.io.gfile.exists(str(self._path)):
                raise FileNotFoundError(f"KerasFeatures.path = {self._path!r}: no such file.")
            model = keras.saving.load_model(self._path, compile=False)
            names = [layer.name for layer in model.layers]
            if self._layer is not None and self._layer not in names:
                raise UsageError(
                    f"{self._path} has no layer {self._layer!r}; it has {', '.join(names)}."
                )
            inner = model.output if self._layer is None else model.get_layer(self._layer).output
            self._model = keras.Model(model.input, [inner, model.output])
        return self._model
