"""Data: where examples come from and how they are scaled. Importing this registers all datasets."""

from lcss_tf.data.adapters import FromTFData, InMemory, from_user
from lcss_tf.data.arrays import Arrays
from lcss_tf.data.audio import Audio
from lcss_tf.data.augmentation import Augmented
from lcss_tf.data.base import DataInfo, Dataset
from lcss_tf.data.bundled import Digits, MovingDigits, NoiseImages, Photos
from lcss_tf.data.hugging_face import HuggingFace
from lcss_tf.data.idx import FashionMNIST, Idx
from lcss_tf.data.image_folder import ImageFolder
from lcss_tf.data.images import Dequantised, EncodedImages, ImageDataset, MemoryImages
from lcss_tf.data.low_resolution import LowResolution
from lcss_tf.data.parquet import Parquet
from lcss_tf.data.pipeline import evaluation_batches, index_batches, training_batches
from lcss_tf.data.records import FFHQ, TFDS
from lcss_tf.data.scaling import Scaling
from lcss_tf.data.service import DataService
from lcss_tf.data.table import Table
from lcss_tf.data.toys import (
    Checkerboard,
    GaussianMixture,
    Mixture,
    Spiral,
    StudentMixture,
    Toy,
    TwoMoons,
    Vibrations,
)
from lcss_tf.data.web_arrays import WebArrays
from lcss_tf.data.webdataset import WebDataset

__all__ = [
    "FFHQ",
    "TFDS",
    "Arrays",
    "Audio",
    "Augmented",
    "Checkerboard",
    "DataInfo",
    "DataService",
    "Dataset",
    "Dequantised",
    "Digits",
    "EncodedImages",
    "FashionMNIST",
    "FromTFData",
    "GaussianMixture",
    "HuggingFace",
    "Idx",
    "ImageDataset",
    "ImageFolder",
    "InMemory",
    "LowResolution",
    "MemoryImages",
    "Mixture",
    "MovingDigits",
    "NoiseImages",
    "Parquet",
    "Photos",
    "Scaling",
    "Spiral",
    "StudentMixture",
    "Table",
    "Toy",
    "TwoMoons",
    "Vibrations",
    "WebArrays",
    "WebDataset",
    "evaluation_batches",
    "from_user",
    "index_batches",
    "training_batches",
]
