"""Figures from reports, the stop after too many non-finite steps, speed, and what may fail."""

import io
import re
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.training import progress
from lcss_tf.training.progress import Meter, NonFiniteError, ProgressBar
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


class Hands:
    """A clock that stands still unless it is moved."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


def test_the_share_of_waiting_for_input(monkeypatch):
    hands = Hands()
    monkeypatch.setattr(progress, "time", hands)

    def batches():
        for seconds in (5.0, 0.1, 0.3, 0.0):
            hands.now += seconds
            yield seconds

    clock, iterator = progress.Clock(), batches()
    for _ in range(3):  # the first step compiles, and counts for nothing
        clock.waiting(iterator)
        hands.now += 0.8
        clock.step()
    rate, waited = clock.lap()
    assert rate == pytest.approx(2 / 2.0)
    assert waited == pytest.approx(0.4 / 2.0)
    clock.waiting(iterator)
    hands.now += 1.0
    clock.step()
    assert clock.lap() == pytest.approx((1.0, 0.0))


def test_into_a_pipe_the_progress_goes_as_whole_lines(capsys):
    with ProgressBar(10, 2_000, 64) as bar:
        bar.show(1_010, 0.5, 20.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step 10/2,000, compiling the first step …"
    assert "step 1,010/2,000, loss 0.5000, 20.0 steps/s, 1,280 examples/s" in lines[1]
    assert lines[1].endswith("00:49 left]")  # 990 steps at 20 a second


def test_the_loss_is_shown_with_what_it_means(capsys):
    with ProgressBar(0, 2_000, 64, noise_mse_offset=1.0) as bar:
        bar.show(10, -0.9513, 20.0)
    assert "loss -0.9513 (ε-MSE 0.0487), 20.0 steps/s" in capsys.readouterr().err


@pytest.mark.parametrize("live", [True, False])
def test_while_the_first_step_compiles_a_clock_runs(live, monkeypatch, capsys):
    monkeypatch.setattr(progress, "is_live", lambda: live)
    monkeypatch.setattr(progress, "_TICK_S" if live else "_LINES_S", 0.01)
    with ProgressBar(10, 2_000, 64) as bar:
        time.sleep(0.2)
        bar.compiled(11)
        at_start = capsys.readouterr().err
        time.sleep(0.05)
        bar.show(12, 0.5, 20.0)
    assert at_start.count("compiling the first step … 0 s") >= 3
    last = at_start.replace("\r", "\n").splitlines()[-1]
    assert "step 11/2,000" in last
    assert re.search(r"first step after 0\.\d s", last)
    assert "compiling" not in capsys.readouterr().err


@pytest.mark.parametrize("live", [True, False])
def test_a_terminal_that_is_gone_ends_no_compilation(live, monkeypatch):
    class Gone(io.StringIO):
        calls = 0

        def write(self, text):
            self.calls += 1
            if self.calls > 3:
                raise OSError("gone")
            return len(text)

    gone = Gone()
    monkeypatch.setattr(sys, "stderr", gone)
    monkeypatch.setattr(progress, "is_live", lambda: live)
    monkeypatch.setattr(progress, "_TICK_S" if live else "_LINES_S", 0.005)
    bar = ProgressBar(0, 5, 1)
    bar.__enter__()
    ticking = bar._ticking
    deadline = time.monotonic() + 5
    while gone.calls < 8 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert ticking.is_alive()
    assert gone.calls >= 8
    gone.calls = -1_000_000  # it is back
    bar.__exit__()
    assert not ticking.is_alive()


def test_no_thread_to_be_had_is_no_reason_to_end(monkeypatch, capsys):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with ProgressBar(0, 5, 1) as bar:
        bar.compiled(1)
    assert "step 1/5, first step after 0.0 s" in capsys.readouterr().err
