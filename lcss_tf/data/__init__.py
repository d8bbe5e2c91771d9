"""Data: where they come from and how they are scaled. Importing this registers all datasets."""

from lcss_tf.data.arrays import Arrays
from lcss_tf.data.audio import Audio
from lcss_tf.data.base import Dataset
from lcss_tf.data.checkerboard import Checkerboard
from lcss_tf.data.dequantised import Dequantised
from lcss_tf.data.digits import Digits
from lcss_tf.data.encoded_images import EncodedImages
from lcss_tf.data.ffhq import FFHQ
from lcss_tf.data.gaussian_mixture import GaussianMixture
from lcss_tf.data.image_dataset import ImageDataset, MemoryImages
from lcss_tf.data.image_folder import ImageFolder
from lcss_tf.data.index_stream import evaluation_batches, index_batches
from lcss_tf.data.info import DataInfo
from lcss_tf.data.mixture import Mixture
from lcss_tf.data.moving_digits import MovingDigits
from lcss_tf.data.noise_images import NoiseImages
from lcss_tf.data.photos import Photos
from lcss_tf.data.scaling import Scaling
from lcss_tf.data.spiral import Spiral
from lcss_tf.data.student_mixture import StudentMixture
from lcss_tf.data.table import Table
from lcss_tf.data.tfds_images import TFDS
from lcss_tf.data.toy import Toy
from lcss_tf.data.two_moons import TwoMoons
from lcss_tf.data.vibrations import Vibrations

__all__ = [
    "FFHQ",
    "TFDS",
    "Arrays",
    "Audio",
    "Checkerboard",
    "DataInfo",
    "Dataset",
    "Dequantised",
    "Digits",
    "EncodedImages",
    "GaussianMixture",
    "ImageDataset",
    "ImageFolder",
    "MemoryImages",
    "Mixture",
    "MovingDigits",
    "NoiseImages",
    "Photos",
    "Scaling",
    "Spiral",
    "StudentMixture",
    "Table",
    "Toy",
    "TwoMoons",
    "Vibrations",
    "evaluation_batches",
    "index_batches",
]
