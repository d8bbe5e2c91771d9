"""The training command while everything that only shows fails: the same end, bit for bit."""

import errno
import json
import sys

import numpy as np
import pytest

from lcss_tf.commands import _gin
from tests.commands.helpers import ONE, SMALL, lcss
from tests.processes import assert_same_end, run
from tests.training.helpers import Step

BINDINGS = [
    ONE, "MLP.name = 'net'", "fit.steps = 12", "Pictures.every = 8", "Pictures.num_samples = 1",
    "Watch.every = 6",
    "Watch.metric = @SlicedWasserstein()", "SlicedWasserstein.num_samples = 16",
    "EulerMaruyama.num_steps = 2", "check_prior.num_examples = 16",
]  # fmt: skip


def train(workdir, *more):
    return lcss("train", f"--gin_file={SMALL}", f"--workdir={workdir}", bindings=[*BINDINGS, *more])


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Steps that are not traced, and no samplers that are."""
    monkeypatch.setattr(_gin, "TrainStep", Step)
    monkeypatch.setattr("lcss_tf.callbacks.Sampling", _Drawing)


class _Drawing:
    """In a `Sampling`'s place: noise."""

    def __init__(self, state, **_):
        self._shape = state.shape

    def __call__(self, count, seed, *_, **__):
        self.x = np.random.default_rng(seed).normal(size=(count, *self._shape)).astype("f")
        return self


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of an undisturbed run."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gin, "TrainStep", Step)
        patch.setattr("lcss_tf.callbacks.Sampling", _Drawing)
        assert train(path) == 0
    return path


class Gone:
    """A stream of which nobody reads the other end."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    flush = isatty = lambda self: self.write("")


FULL = OSError(errno.ENOSPC, "No space left on device")
FAULTS = {
    "lcss_tf.plots.images.write_png": FULL,
    "tensorflow.summary.create_file_writer": PermissionError(errno.EACCES, "no"),
    "lcss_tf.callbacks.Watch._keep_if_best": OSError(errno.EIO, "Input/output error"),
    "lcss_tf.plots.distributions": ArithmeticError("of a figure"),
    "lcss_tf.training.memory.resident_mib": MemoryError("too many"),
}


def failures(workdir):
    return json.loads((workdir / "run.json").read_text())["failures"]


def test_all_that_shows_fails_at_once_and_is_named(whole, tmp_path, monkeypatch):
    for place, error in FAULTS.items():
        monkeypatch.setattr(place, _failing(error))
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Gone())
    assert train(tmp_path) == 0
    monkeypatch.undo()
    assert_same_end(whole, tmp_path)
    errors = " ".join(one["last"] for one in failures(tmp_path).values())
    for error in (*FAULTS.values(), BrokenPipeError()):
        assert type(error).__name__ in errors


def test_callbacks_that_raise(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("lcss_tf.callbacks.Pictures.act", _failing(ZeroDivisionError()))
    monkeypatch.setattr("lcss_tf.metrics.MetricSuite.measure", _failing(KeyError("a metric")))
    assert train(tmp_path) == 0
    assert_same_end(whole, tmp_path)
    assert {"Pictures", "Watch"} <= set(failures(tmp_path))


def _failing(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("Watch.metric = @FrechetDistance()", ""),
        ("Pictures.every = -1", "Pictures.every must not be negative"),
        ("fit.seed = 10_000_000_000", "fit.seed"),
    ],
)
def test_a_start_that_fails_is_no_claim(binding, message, tmp_path, capsys):
    assert train(tmp_path, binding) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.gin"))
    assert not list(tmp_path.glob("*.json"))


def test_a_forced_width_that_fails_leaves_the_configuration(tmp_path, capsys):
    assert train(tmp_path, "fit.steps = 6") == 0
    before = (tmp_path / "config.gin").read_bytes()
    assert lcss(
        "train", f"--gin_file={SMALL}", f"--workdir={tmp_path}", "--resume=force",
        bindings=[*BINDINGS, "MLP.width = 8"],
    ) == 1  # fmt: skip
    assert "can be used" in capsys.readouterr().err
    assert (tmp_path / "config.gin").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("closing", ["| head -0", ">&-", "2>&-", ">/dev/full 2>/dev/full"])
def test_streams_of_a_shell(closing, tmp_path):
    import subprocess

    from tests.processes import ENVIRONMENT, ROOT, command

    words = " ".join(command("train", f"--gin_file={SMALL}", f"--workdir={tmp_path / 'run'}"))
    script = f"set -o pipefail; {words} {closing}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 0
    run("train", f"--gin_file={SMALL}", f"--workdir={tmp_path / 'whole'}")
    assert_same_end(tmp_path / "whole", tmp_path / "run")
