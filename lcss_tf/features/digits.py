"""A classifier of the built-in digits, trained in seconds: real features without a download."""

import keras
import numpy as np
import tensorflow as tf

from lcss_tf import files
from lcss_tf.data import Digits
from lcss_tf.errors import UsageError
from lcss_tf.features.base import Extractor, Outputs, checked_images
from lcss_tf.registry import EXTRACTORS

_EPOCHS = 30
_BATCH = 64
_RECIPE = f"conv32-conv64-pool-dense64swish-dense10 adam epochs {_EPOCHS} batch {_BATCH} seed 0"
_ARRAYS = "weight_{:02d}"


@EXTRACTORS.register
class DigitsClassifier(Extractor):
    """The 64 features before the last layer of a small classifier of 8×8 digits, and its logits.

    It is trained on the real training digits on first use and kept in the cache. Its weights'
    hash is part of every statistic made with it: figures of two classifiers are never mixed.
    About 99 % of the held-out digits are recognised.

    Args:
      path: where it is kept; by default in the cache.
    """

    name = "digits"
    has_classes = True

    def __init__(self, path=None):
        self._path, self._model, self._identity = path, None, None

    def check(self, info):
        """Raises ValueError unless the data are grey images of 8×8."""
        if info.shape != (8, 8, 1):
            raise UsageError(
                "DigitsClassifier sees grey images of 8×8, shape (8, 8, 1); "
                f"{info.name} has {info.shape}. Bind another extractor, such as @features.Pixels()."
            )

    def identity(self):
        """The hash of the weights."""
        self._opened()
        return self._identity

    def __call__(self, batch):
        """`Outputs` of uint8 images [B, 8, 8, 1]: float32 [B, 64] and [B, 10]."""
        images = checked_images(batch, "DigitsClassifier")
        if images.shape[1:] != (8, 8, 1):
            raise UsageError(f"DigitsClassifier sees images [B, 8, 8, 1]; got {images.shape}.")
        features, logits = self._opened()(images.astype(np.float32) / 255.0)
        return Outputs(features.numpy(), logits.numpy())

    def _opened(self):
        if self._model is None:
            model = _network()
            place = self._path or files.cache_directory() / f"digits_{_key()}.npz"
            stored = files.read_arrays(place)
            if stored is None:
                _train(model)
                names = {_ARRAYS.format(i): w for i, w in enumerate(model.get_weights())}
                files.write_arrays(place, names)
            else:
                model.set_weights([stored[key] for key in sorted(stored)])
            weights = model.get_weights()
            digest = files.text_hash(*(w.tobytes().hex() for w in weights))
            self._identity = f"digits classifier {digest}"
            self._model = tf.function(model, reduce_retracing=True)
        return self._model


def _key():
    return files.text_hash(_RECIPE)[:12]


def _network():
    """images [B, 8, 8, 1] in [0, 1] -> [features [B, 64], logits [B, 10]]; seeds of its own."""
    start = lambda seed: keras.initializers.HeNormal(seed=seed)
    x = inputs = keras.Input((8, 8, 1))
    for i, width in enumerate((32, 64)):
        x = keras.layers.Conv2D(
            width, 3, padding="same", activation="relu", kernel_initializer=start(i)
        )(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(x))
    features = keras.layers.Dense(64, activation="swish", kernel_initializer=start(2))(x)
    logits = keras.layers.Dense(10, kernel_initializer=start(3))(features)
    return keras.Model(inputs, [features, logits])


def _train(model):
    """Cross-entropy by Adam, images moved by up to one pixel; nothing global is seeded."""
    data, random = Digits(), np.random.default_rng(0)
    images = data.stored(np.arange(data.size("train")), "train").numpy().astype(np.float32) / 255.0
    labels = data.labels("train")
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(x, y):
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
            moved = np.roll(np.pad(images[chosen], ((0, 0), (1, 1), (1, 1), (0, 0))), shift, (1, 2))
            step(moved[:, 1:-1, 1:-1], labels[chosen])
