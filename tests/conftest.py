"""Shared by all tests: quiet TensorFlow, two logical CPU devices, the reference numbers."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import signal
from pathlib import Path

import gin
import numpy as np
import pytest
import tensorflow as tf

from tests.processes import kill_what_was_started

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.config.list_logical_devices()  # from now on a command that a test calls sets no threads

# Under nohup, or in a script's background, the tests would inherit signals that are ignored, and
# what they start would ignore them too.
for _number, _handler in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _no_gin_left_over():
    yield
    gin.clear_config()


@pytest.fixture(autouse=True)
def _no_process_left_over():
    yield
    kill_what_was_started()


class Reference:
    """One SDE's numbers in sde_reference.npz: ref["drift"], ref.meta["N"]."""

    def __init__(self, kind):
        self._archive = np.load(FIXTURES / "sde_reference.npz")
        self._kind = kind
        self.meta = json.loads(bytes(self._archive["meta.json"]))[kind]

    def __getitem__(self, quantity):
        return self._archive[f"{self._kind}.{quantity}"]

    def __contains__(self, quantity):
        return f"{self._kind}.{quantity}" in self._archive.files

    def sde(self):
        import lcss_tf

        if self._kind == "ve":
            return lcss_tf.SDES["VESDE"](self.meta["sigma_min"], self.meta["sigma_max"])
        name = {"vp": "VPSDE", "subvp": "SubVPSDE"}[self._kind]
        return lcss_tf.SDES[name](self.meta["beta_min"], self.meta["beta_max"])

    def score_fn(self, x, t):
        """The exact score of N(0, data_variance I) noised: −x/(α² v + σ²)."""
        alpha_t, sigma_t = self.sde().marginal(t)
        variance = alpha_t**2 * self.meta["data_variance"] + sigma_t**2
        return -x / tf.reshape(variance, [-1] + [1] * (len(x.shape) - 1))


@pytest.fixture(params=["vp", "ve", "subvp"])
def reference(request):
    return Reference(request.param)


def relative_error(actual, expected):
    """‖a − b‖/‖b‖ in float64."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-30)
