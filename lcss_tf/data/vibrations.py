"""A simulated sensor: an accelerometer on a part that is struck and rings."""

import math

import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.base import Dataset
from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS

_MODES = ((0.05, 0.07, 1.0, 0.02), (0.17, 0.20, 0.6, 0.05))  # f from, f to, amplitude, damping
_NOISE = 0.05  # deviation of the sensor's own noise, before scaling
_NUM_UNIFORMS = 2 + 3 * len(_MODES)


@DATASETS.register
class Vibrations(Dataset):
    """Signals of one channel, endless: noise, then from a random moment t₀ on two damped modes.

        x(t) = Σ_k a_k e^{−γ_k (t − t₀)} sin(2π f_k (t − t₀) + φ_k) 1[t ≥ t₀] + noise

    with t₀ uniform on the first half; f_k uniform on a band (.05–.07 and .17–.20 cycles a
    sample), a_k on ±30 % about 1 and 0.6, φ_k on the circle; γ = .02 and .05. Scaled to a mean of
    0 and a variance of 1 over all times. So the mean spectrum is two bands on a floor.

    Args:
      length: samples of one example; at least 8.

    Raises:
      ValueError: a shorter one.
    """

    kind = "signal"

    def __init__(self, length=128):
        if length < 8:
            raise UsageError(f"Vibrations.length must be at least 8; got {length}.")
        self.name = "vibrations"
        self.shape = (length, 1)
        self.scaling = Scaling(0.0, 1.0, 0.0, math.sqrt(self._variance()), "float32")

    def _variance(self):
        """Over the times and all draws: phases make the modes uncorrelated, of mean square ½."""
        length = self.shape[0]
        since = np.arange(length) - np.linspace(0, length / 2, 512)[:, None]
        total = _NOISE**2
        for _, _, amplitude, damping in _MODES:
            decay = np.exp(-2 * damping * np.maximum(since, 0)) * (since >= 0)
            total += 0.5 * amplitude**2 * (1 + 0.3**2 / 3) * decay.mean()
        return total

    def size(self, split="train"):
        """None: endless."""
        del split

    def examples(self, indices, split="train", seed=0):
        """The signals at `indices`; see `Dataset.examples`."""
        key = hashing.stream_key(seed, self.name, split)
        length = self.shape[0]
        draws = hashing.uniform(key, indices, _NUM_UNIFORMS + 2 * length)
        struck = draws[:, :1] * (length / 2)
        since = tf.range(length, dtype=tf.float32) - struck
        signal = _NOISE * hashing.to_normal(draws[:, _NUM_UNIFORMS:])
        for k, (low, high, amplitude, damping) in enumerate(_MODES):
            u = draws[:, 2 + 3 * k : 5 + 3 * k]
            frequency = low + (high - low) * u[:, :1]
            size = amplitude * (0.7 + 0.6 * u[:, 1:2])
            wave = tf.sin(2 * math.pi * (frequency * since + u[:, 2:]))
            decay = tf.exp(-damping * tf.maximum(since, 0.0)) * tf.cast(since >= 0, tf.float32)
            signal += size * decay * wave
        return self.scaling.scale(signal[..., None])
