"""The peak of memory while a piece of a program runs."""

import ctypes
import re
from pathlib import Path

import tensorflow as tf

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_mib():
    """The resident set of this process, MiB (Linux; elsewhere NaN)."""
    return _resident("VmRSS")


class PeakMemory:
    """The most memory used since `restart`, in MiB.

    On GPUs what TensorFlow allocated on the first; on Linux the resident set of the process,
    less what it was when this object was made (the libraries). Elsewhere NaN.
    """

    def __init__(self):
        self._gpus = tf.config.list_logical_devices("GPU")
        self._base = 0.0 if self._gpus else _resident("VmRSS")

    def restart(self):
        """Forgets the peak so far."""
        if self._gpus:
            tf.config.experimental.reset_memory_stats(self._gpus[0].name)
            return
        try:
            # What compilation left in the heap goes back to the system first.
            ctypes.CDLL(None).malloc_trim(0)
            _CLEAR.write_text("5")
        except (OSError, AttributeError):  # another system, or a kernel that forbids it
            self._base = float("nan")

    def peak(self):
        """MiB."""
        if self._gpus:
            return tf.config.experimental.get_memory_info(self._gpus[0].name)["peak"] / 2**20
        return _resident("VmHWM") - self._base


def _resident(key):
    try:
        return int(re.search(rf"{key}:\s+(\d+) kB", _STATUS.read_text())[1]) / 1024
    except OSError:
        return float("nan")
