"""Figures from reports, and the stop after too many non-finite steps."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.training.meter import Meter, NonFiniteError
from lcss_tf.training.step import NUM_BUCKETS, StepReport


def report(loss=1.0, bad_bucket=None, gradient_norm=2.0):
    sums = np.arange(NUM_BUCKETS, dtype=np.float32)
    if bad_bucket is not None:
        sums[bad_bucket] = loss = np.nan
    values = StepReport(
        loss=loss, terms={"norm": 0.5, "trace": 0.5}, bucket_sums=sums,
        bucket_counts=np.ones(NUM_BUCKETS), gradient_norm=gradient_norm, learning_rate=1e-3,
        finite=np.isfinite(loss) and np.isfinite(gradient_norm), requests=0.0,
    )  # fmt: skip
    return tf.nest.map_structure(tf.constant, values)


@pytest.fixture
def meter():
    return Meter(lcss_tf.SDES["VPSDE"](), max_nonfinite=3, nonfinite_steps=5)


def test_figures_are_means_since_the_last(meter):
    for step, loss in enumerate((1.0, 3.0)):
        meter.add(step, report(loss))
    meter.drain()
    figures = meter.figures()
    assert figures["loss/total"] == 2.0
    assert figures["loss_by_t/0.3-0.4"] == 3.0
    assert figures["nonfinite_steps"] == 5.0
    assert "loss/total" not in meter.figures()


def test_non_finite_steps_are_counted_and_left_out(meter):
    for step, bucket in enumerate((None, 4, 4, None, 4, 4, None)):
        meter.add(step, report(bad_bucket=bucket))
    meter.drain()
    figures = meter.figures()
    assert figures["nonfinite_steps"] == 9.0
    assert figures["loss/total"] == 1.0


def test_too_many_in_a_row_stop_with_step_and_bucket(meter):
    for step in (10, 11):
        meter.add(step, report(bad_bucket=4))
    meter.drain()
    meter.add(12, report(bad_bucket=4))
    with pytest.raises(NonFiniteError, match=r"3 steps in a row, up to step 12.*t-bucket 0.4-0.5"):
        meter.drain()


def test_a_non_finite_gradient_names_the_largest_bucket(meter):
    for step in range(3):
        meter.add(step, report(gradient_norm=np.inf))
    with pytest.raises(NonFiniteError, match=r"gradient.*largest in t-bucket 0.9-1.0"):
        meter.drain()
