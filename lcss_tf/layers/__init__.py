"""Layers for one, two or three spatial axes, in Keras 3.

Every one is a pure function of its arguments: randomness comes in as a seed.
"""

from lcss_tf.layers.blocks import (
    AttentionBlock,
    Combine,
    DDPMResidualBlock,
    OutputHead,
    ResidualBlock,
)
from lcss_tf.layers.classes import ClassEmbedding, embed_classes, make_class_embedding
from lcss_tf.layers.copies import first_copy, repeat_copies
from lcss_tf.layers.dropout import dropout
from lcss_tf.layers.embeddings import GaussianFourier, NoiseEmbedding, positional
from lcss_tf.layers.linear import Conv, Dense, fan_average
from lcss_tf.layers.normalization import GroupNorm, num_groups
from lcss_tf.layers.rematerialise import rematerialised
from lcss_tf.layers.resample import (
    DownsampleConv,
    UpsampleConv,
    average_downsample,
    downsample,
    fir_downsample,
    fir_upsample,
    nearest_upsample,
    upsample,
)

__all__ = [
    "AttentionBlock",
    "ClassEmbedding",
    "Combine",
    "Conv",
    "DDPMResidualBlock",
    "Dense",
    "DownsampleConv",
    "GaussianFourier",
    "GroupNorm",
    "NoiseEmbedding",
    "OutputHead",
    "ResidualBlock",
    "UpsampleConv",
    "average_downsample",
    "downsample",
    "dropout",
    "embed_classes",
    "fan_average",
    "fir_downsample",
    "fir_upsample",
    "first_copy",
    "make_class_embedding",
    "nearest_upsample",
    "num_groups",
    "positional",
    "rematerialised",
    "repeat_copies",
    "upsample",
]
