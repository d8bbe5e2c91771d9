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
from lcss_tf.layers.copies import first_copy, repeat_copies
from lcss_tf.layers.dropout import dropout
from lcss_tf.layers.embeddings import GaussianFourier, NoiseEmbedding, positional
from lcss_tf.layers.linear import Conv, Dense, fan_average
from lcss_tf.layers.normalization import GroupNorm, num_groups
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
    "fan_average",
    "fir_downsample",
    "fir_upsample",
    "first_copy",
    "nearest_upsample",
    "num_groups",
    "positional",
    "repeat_copies",
    "upsample",
]
