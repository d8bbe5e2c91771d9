"""The loop: it resumes to the same bits, leaves when asked to, and outlives what only shows."""

import errno
import functools
import json
import os
import shutil
import signal
import sys

import keras
import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf.training import Checkpoints, Distribution, TrainStep, progress, workdir
from lcss_tf.training.interruption import StopRequest
from tests.processes import assert_same_end, meta, scalars, steps_on_disk
from tests.training import helpers
from tests.training.helpers import STEPS, fit


def test_from_an_earlier_checkpoint_on_every_array_ends_the_same(tmp_path, capsys):
    """By real steps, whose noise, times and batches are functions of the step."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    real = functools.partial(TrainStep, jit_compile=False)
    fit(whole, make_step=real)
    assert steps_on_disk(whole) == [5, 10, 12]
    shutil.copytree(whole, again)
    for step in (10, 12):
        Checkpoints(again).at(step).unlink()
    assert fit(again, make_step=real).step == STEPS
    assert "at step 5." in capsys.readouterr().out
    assert_same_end(whole, again)
    losses = [scalars(path, "loss/total") for path in (whole, again)]
    assert losses[0].keys() == losses[1].keys()
    assert losses[0][12] == losses[1][12]
    fit(again, make_step=real)
    assert f"Trained already: step {STEPS} of {STEPS}" in capsys.readouterr().out


class Asking(keras.callbacks.Callback):
    """Sends its own process a signal after the 4th step."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == 4:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves_and_the_run_resumes(number, whole, tmp_path):
    before = signal.getsignal(number)
    leaves = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(leaves) as left:
        fit(tmp_path, [Asking(number)])
    if number != signal.SIGINT:
        assert left.value.code == 128 + number
    assert signal.getsignal(number) is before
    # The request comes while step 4 is logged: the step after it is the last.
    assert steps_on_disk(tmp_path) == [5]
    fit(tmp_path)
    assert_same_end(whole, tmp_path)


def test_under_nohup_the_end_of_the_terminal_ends_nothing(whole, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        fit(tmp_path, [Asking(signal.SIGHUP)])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert_same_end(whole, tmp_path)


class Gone:
    """A standard error of which nobody reads the other end any more."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def flush(self):
        self.write("")

    def isatty(self):
        return False


def closed(tmp_path):
    file = open(tmp_path / "stderr", "w")  # noqa: SIM115
    file.close()
    return file


@pytest.mark.parametrize("stderr", [lambda _: Gone(), closed, lambda _: None],
                         ids=["broken pipe", "closed", "none"])  # fmt: skip
def test_a_progress_line_that_nobody_reads_ends_nothing(stderr, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_LINES_S", -1.0)  # a line at every step
    monkeypatch.setattr(sys, "stderr", stderr(tmp_path))
    assert fit(tmp_path / "run").step == STEPS
    assert_same_end(whole, tmp_path / "run")


def test_a_progress_line_that_breaks_is_logged_and_ends_nothing(
    whole, tmp_path, monkeypatch, caplog
):
    def show(*_):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(progress, "_LINES_S", -1.0)
    monkeypatch.setattr(progress.ProgressBar, "show", show)
    fit(tmp_path)
    assert "The progress line failed (BrokenPipeError" in caplog.text
    assert f"The progress line ({STEPS} times)" in caplog.text
    assert_same_end(whole, tmp_path)


def test_tensorboard_on_a_disk_that_takes_nothing_ends_nothing(
    whole, tmp_path, monkeypatch, caplog
):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tensorflow.summary.create_file_writer", fail)
    fit(tmp_path)
    assert "The TensorBoard writer" in caplog.text
    assert_same_end(whole, tmp_path)


def test_a_file_system_without_locks_is_trained_on_with_a_warning(
    whole, tmp_path, monkeypatch, caplog
):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(workdir.fcntl, "flock", none)
    fit(tmp_path)
    assert "has no locks (ENOLCK)" in caplog.text
    assert_same_end(whole, tmp_path)


class Broken(lcss.training.Periodic):
    """Fails whenever it acts."""

    acted = 0

    def act(self, step):
        self.acted += 1
        raise RuntimeError("of somebody else's")


def test_a_periodic_callback_acts_at_its_rhythm_and_at_the_end_and_may_fail(whole, tmp_path):
    callback = Broken(5)
    fit(tmp_path, [callback])
    assert callback.acted == 3  # after steps 5, 10 and 12
    assert_same_end(whole, tmp_path)
    with pytest.raises(ValueError, match="Broken.every must not be negative"):
        Broken(-1)


def test_a_slow_callback_is_broken_off_by_a_signal(whole, tmp_path):
    class Slow(lcss.training.Periodic):
        def act(self, step):
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("not reached")

    with pytest.raises(SystemExit):
        fit(tmp_path, [Slow(7)])
    assert steps_on_disk(tmp_path) == [5, 7]
    fit(tmp_path)
    assert_same_end(whole, tmp_path)


def test_the_run_says_what_it_is_of_only_when_it_can_begin(whole, tmp_path):
    assert json.loads((whole / "data.json").read_text())["shape"] == [2]

    class Refusing(lcss.training.Periodic):
        def begin(self, run):
            raise lcss.errors.UsageError("this cannot work")

    with pytest.raises(ValueError, match="this cannot work"):
        fit(tmp_path, [Refusing(1)])
    assert not list(tmp_path.glob("*.json"))
    assert meta(whole)["step"] == STEPS


def test_no_listener_is_left_behind():
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with pytest.raises(RuntimeError), StopRequest():
        raise RuntimeError
    fit(steps=1)
    after = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    assert after == before


def test_without_a_workdir_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = fit()
    assert trained.step == STEPS
    assert np.isfinite(helpers.weights(trained.network)).all()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 2**31}, r"fit\.seed must be a whole number from .*; got 2147483648"),
        ({"seed": 0.5}, r"fit\.seed must be .*; got 0\.5"),
        ({"steps": 1.5}, r"fit\.steps must be a whole number, at least 1; got 1\.5"),
        ({"steps": 0}, r"fit\.steps must be .*; got 0"),
    ],
)
def test_numbers_that_cannot_be_are_named_before_anything_is_written(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("batch_size", [0, -16, 2.5])
def test_a_batch_that_cannot_be_is_named(batch_size):
    with pytest.raises(ValueError, match="fit.batch_size must be a whole number of examples"):
        Distribution(1).rows_per_replica(batch_size, "fit.batch_size")


def test_a_learning_rate_of_zero_is_said(tmp_path, caplog):
    fit(tmp_path, optimizer=keras.optimizers.Adam(0.0))
    assert "The learning rate is 0 over all steps from 0 to 12" in caplog.text
