"""Feature extractors: what a metric sees of an example. Importing this registers all of them."""

from lcss_tf.features.base import Extractor, Outputs
from lcss_tf.features.digits import DigitsClassifier
from lcss_tf.features.inception import Inception
from lcss_tf.features.keras_model import KerasFeatures
from lcss_tf.features.pixels import Pixels, Values

__all__ = [
    "DigitsClassifier",
    "Extractor",
    "Inception",
    "KerasFeatures",
    "Outputs",
    "Pixels",
    "Values",
]
