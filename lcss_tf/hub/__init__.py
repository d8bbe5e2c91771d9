"""Models in a folder that may be shared, and on the Hugging Face Hub. Nothing there is code."""

from lcss_tf.hub.card import model_card
from lcss_tf.hub.folder import CARD, CONFIG, WEIGHTS, read, read_meta, write
from lcss_tf.hub.remote import check_name, fetch, push
from lcss_tf.hub.shared import Shared
from lcss_tf.hub.tensors import TensorFile, write_tensors

__all__ = [
    "CARD",
    "CONFIG",
    "WEIGHTS",
    "Shared",
    "TensorFile",
    "check_name",
    "fetch",
    "model_card",
    "push",
    "read",
    "read_meta",
    "write",
    "write_tensors",
]
