"""Several compiled runners in one process."""

import logging

import numpy as np
import tensorflow as tf

from lcss_tf.inference.runner import Runner
from lcss_tf.training.distribution import Distribution


def test_several_runners_are_no_retracing(caplog):
    """A notebook makes one for samples, one for likelihoods, one for latents, and so on."""
    distribution = Distribution(num_replicas=1)
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING, logger=logger.name):
            for k in range(8):
                double = Runner(lambda inputs, seed, k=k: k * inputs["x"], None, distribution, 4)
                got = double({"x": np.ones((3, 2), np.float32)}, 0)
                np.testing.assert_array_equal(got, np.full((3, 2), k))
    finally:
        logger.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text
