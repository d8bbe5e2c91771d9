"""What only shows may fail in every way: the run ends at its last step, with the same bits."""

import errno
import functools
import io
import json
import logging
import sys

import keras
import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf import files
from lcss_tf.training import Checkpoints, progress, workdir
from tests.processes import assert_same_end, steps_on_disk
from tests.training.helpers import STEPS, fit

ERRORS = [
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    OSError(errno.ENOSPC, "No space left on device"),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EIO, "Input/output error"),
    ValueError("I/O operation on closed file"),
    RuntimeError("of somebody else's"),
]
PLACES = ["stdout", "stderr", "log", "png", "tensorboard", "flush", "figures", "memory", "drawing"]


class Shows(lcss.training.Periodic):
    """A picture, a scalar and a text at every third step."""

    def __init__(self, draw=lambda: np.zeros((4, 4, 3), np.uint8)):
        super().__init__(3)
        self._draw = draw

    def act(self, step):
        summaries = self.run.summaries
        summaries.picture("shown", self._draw(), step, f"samples/{step}.png")
        summaries.scalars({"shown": 1.0}, step)
        summaries.text("shown", "a text", step)
        summaries.flush()


class Stream(io.StringIO):
    """Takes nothing."""

    def __init__(self, error):
        super().__init__()
        self._error = error

    def write(self, text):
        raise self._error

    flush = isatty = lambda self, *_: self.write("")


class Log(logging.Handler):
    """Of somebody who did not read how handlers report their own errors."""

    def __init__(self, error):
        super().__init__()
        self._error = error

    def emit(self, record):
        raise self._error


# Every place and every error, though not each with each: they take the same way.
PAIRS = [(place, ERRORS[i % len(ERRORS)]) for i, place in enumerate(PLACES)]
PAIRS += [("stderr", error) for error in ERRORS[2:]]


@pytest.mark.parametrize(("place", "error"), PAIRS)
def test_whatever_fails_that_only_shows(place, error, whole, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(progress, "_LINES_S", -1.0)  # a line at every step
    callbacks, failing = [Shows()], {
        "png": "lcss_tf.plots.images.write_png",
        "tensorboard": "tensorflow.summary.create_file_writer",
        "figures": "lcss_tf.training.progress.Meter.figures",
        "memory": "lcss_tf.training.memory.resident_mib",
    }  # fmt: skip
    if place in ("stdout", "stderr"):
        monkeypatch.setattr(sys, place, Stream(error))
    elif place == "log":
        handler = Log(error)
        monkeypatch.setattr(logging.getLogger("absl"), "handlers", [handler])
        monkeypatch.setattr(sys, "stderr", Stream(error))  # so that there is something to log
    elif place == "drawing":
        callbacks = [Shows(fail)]
    elif place == "flush":
        monkeypatch.setattr("lcss_tf.training.summaries.Summaries.flush", fail)
    else:
        monkeypatch.setattr(failing[place], fail)
    assert fit(tmp_path, callbacks).step == STEPS
    monkeypatch.undo()
    assert_same_end(whole, tmp_path)
    failures = json.loads((tmp_path / "run.json").read_text())["failures"]
    assert failures
    for one in failures.values():
        assert one["times"] >= 1
        assert type(error).__name__ in one["last"]


def test_failures_of_several_processes_are_added(tmp_path):
    def fail():
        raise RuntimeError

    fit(tmp_path, [Shows(fail)], steps=6)
    fit(tmp_path, [Shows(fail)])
    failures = json.loads((tmp_path / "run.json").read_text())["failures"]
    assert failures == {"Shows": {"times": 4, "last": "RuntimeError: "}}


def test_an_error_that_cannot_even_be_printed(whole, tmp_path):
    class Silent(Exception):
        def __str__(self):
            raise TypeError

    def fail():
        raise Silent

    fit(tmp_path, [Shows(fail)])
    assert_same_end(whole, tmp_path)


@pytest.mark.parametrize(
    "place", ["a file stands where the pictures go", "the folder of pictures is a dangling link"]
)
def test_pictures_that_find_no_place(place, whole, tmp_path):
    samples = tmp_path / "samples"
    if "file" in place:
        samples.write_text("")
    else:
        samples.symlink_to(tmp_path / "nowhere" / "deeper")
    fit(tmp_path, [Shows()])
    assert_same_end(whole, tmp_path)


class Raising(keras.callbacks.Callback):
    """Raises in one method, at the first call of it."""

    def __init__(self, hook, error):
        super().__init__()

        def fail(*_, **__):
            raise error

        setattr(self, hook, fail)


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        ("on_train_batch_end", ZeroDivisionError("mine")),
        ("on_train_batch_end", SystemExit(3)),
        ("on_epoch_begin", ZeroDivisionError("mine")),
        ("on_epoch_end", OSError(28, "full")),
    ],
)
def test_a_users_callback_that_raises_ends_training_after_a_save(hook, error, whole, tmp_path):
    with pytest.raises(type(error)):
        fit(tmp_path, [Raising(hook, error)])
    assert steps_on_disk(tmp_path) == [4]  # the rhythm of `log_every`
    fit(tmp_path)
    assert_same_end(whole, tmp_path)


def test_one_that_fails_at_the_end_has_a_finished_run(whole, tmp_path):
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, [Raising("on_train_end", ZeroDivisionError())])
    assert_same_end(whole, tmp_path)


def test_keras_logs_that_cannot_be_written_end_nothing(whole, tmp_path):
    class Seen(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1

    seen, run = Seen(), tmp_path / "run"
    logs = [
        keras.callbacks.CSVLogger(tmp_path / "no" / "folder" / "log.csv"),
        keras.callbacks.ModelCheckpoint("/dev/full/x.weights.h5", save_weights_only=True),
        seen,
    ]
    fit(run, logs)
    assert_same_end(whole, run)
    assert seen.epochs == 3  # a callback behind one that fails is called all the same
    failures = json.loads((run / "run.json").read_text())["failures"]
    assert "CSVLogger.on_train_begin" in failures


@pytest.mark.parametrize("error", ERRORS[1:4], ids=["ENOSPC", "EACCES", "EIO"])
def test_a_checkpoint_that_cannot_be_written_is_tried_again(error, whole, tmp_path, monkeypatch):
    """Training goes on with the last good one, and the next save brings all of it."""
    write, steps = files.write_arrays, []

    def refuse(path, *args, **options):
        steps.append(path.name)
        if path.name == "step_000000010.npz":
            raise error
        return write(path, *args, **options)

    monkeypatch.setattr(files, "write_arrays", refuse)
    fit(tmp_path)
    assert steps_on_disk(tmp_path) == [5, 12]
    assert_same_end(whole, tmp_path)


# What is written, and when


def contents(path):
    """{name: bytes} of the small files in a workdir by which a later run is measured."""
    return {p.name: p.read_bytes() for p in path.iterdir() if p.suffix in (".json", ".gin")}


class Refused:
    """In a step's place: cannot be built, or fails when it is taken."""

    many_workers = False

    def __init__(self, at, *_):
        if at == "built":
            raise lcss.errors.UsageError("this step cannot be")

    def __call__(self, *_):
        raise lcss.errors.UsageError("this step cannot be")


@pytest.mark.parametrize(("at", "resume"), [("built", "auto"), ("taken", "force")])
def test_a_step_that_fails_claims_no_workdir(at, resume, tmp_path):
    fresh, healthy = tmp_path / "fresh", tmp_path / "healthy"
    fit(healthy, steps=6)
    before = contents(healthy)
    for path in (fresh, healthy):
        with pytest.raises(ValueError, match="cannot be"):
            fit(path, make_step=functools.partial(Refused, at), resume=resume)
    assert contents(healthy) == before
    assert not contents(fresh)
    assert fit(healthy).step == STEPS
    assert fit(fresh, width=8).step == STEPS  # nothing stands against another model


def test_a_forced_width_that_fits_no_checkpoint_leaves_the_run_as_it_was(tmp_path):
    fit(tmp_path, steps=6)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="No checkpoint of this run can be used"):
        fit(tmp_path, width=8, resume="force")
    assert contents(tmp_path) == before
    assert fit(tmp_path).step == STEPS


def test_a_callback_that_cannot_begin_leaves_no_claim_of_those_before_it(tmp_path):
    class Writing(lcss.training.Periodic):
        def started(self):
            (self.run.workdir / "config.gin").write_text("mine")

    class Refusing(lcss.training.Periodic):
        def begin(self, run):
            raise lcss.errors.UsageError("this cannot work")

    with pytest.raises(ValueError, match="this cannot work"):
        fit(tmp_path, [Writing(0), Refusing(1)])
    assert not contents(tmp_path)
    fit(tmp_path, [Writing(0)])
    assert set(contents(tmp_path)) == {"config.gin", workdir.MODEL, workdir.DATA}
    assert Checkpoints(tmp_path).paths()
