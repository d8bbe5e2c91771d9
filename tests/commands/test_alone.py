"""One process at a time writes to a place; a claim holds once a run has begun; signals end all."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from lcss_tf import files
from lcss_tf.commands import _gin, _runs, compare
from lcss_tf.training.interruption import ending_by_signal
from lcss_tf.training.workdir import in_use, lock_path, only_process
from tests.commands.helpers import ROOT, SMALL, lcss, load
from tests.processes import ENVIRONMENT, alive, wait_for

COMPARE = ROOT / "tests" / "small_compare.gin"


@pytest.mark.parametrize(
    ("words", "place", "what"),
    [
        (["train", f"--gin_file={SMALL}"], "", ""),
        (["compare", f"--gin_file={COMPARE}"], "", ""),
        (["sample", "--num_samples=2"], "samples", "seed_0"),
        (["evaluate"], "evaluation", ""),
        (["evaluate", "--likelihood"], "", "likelihood"),
        (["quality", "--gin_file=quality/mixture64.gin"], "quality", ""),
        (["launch", "{logs}", "train"], "", ""),
        (["export", f"--gin_file={SMALL}", "{out}/score"], "score", "export"),
        (["push", "--dry_run", "{out}/model"], "model", "push"),
        (["prepare", "--resolution=4", "{source}", "{out}"], "", "photos.preparation"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_second_process_is_refused(words, place, what, plane_run, tmp_path, capsys):
    of_a_run = words[0] in ("sample", "evaluate", "push")
    workdir = plane_run if of_a_run else tmp_path / "run"
    source = tmp_path / "photos"
    source.mkdir()
    for name in "abc":
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(source / f"{name}.png")
    known = {"logs": f"--logs={workdir}", "source": f"--source={source}", "out": f"--out={workdir}"}
    words = [word.format(**known) for word in words]
    words += [] if words[0] in ("launch", "prepare", "export") else [f"--workdir={workdir}"]
    if words[0] == "launch":
        words[1:] = [words[1], "train"]
    plain = words[0] in ("launch", "prepare", "push")
    bindings = [] if plain else ["Distribution.num_replicas = 1"]
    with only_process(workdir / place, what):
        assert lcss(*words, bindings=bindings) == 1
    assert f"is being used by process {os.getpid()} on" in capsys.readouterr().err
    assert not (workdir / "config.gin").exists() or of_a_run


def test_the_lock_of_one_name_goes_with_its_end(tmp_path):
    with only_process(tmp_path, "seed_0"), only_process(tmp_path, "seed_1"):
        assert lock_path(tmp_path, "seed_0").exists()
        assert not in_use(tmp_path)
    assert not list(tmp_path.iterdir())
    with only_process(tmp_path):
        assert in_use(tmp_path)
    assert in_use(tmp_path) is False


# A comparison's claim


@pytest.fixture
def begun(tmp_path):
    """The directory of a comparison under one configuration."""
    load(COMPARE)
    _runs.write_records(tmp_path, _runs.records())
    return tmp_path


def test_a_comparison_that_begins_nothing_leaves_the_configuration(begun, monkeypatch):
    before = (begun / "config.gin").read_bytes()
    offered = []

    def fails(workdir, *_):
        offered.append((_runs.offered(workdir) / "config.gin").read_text())
        raise compare.EntryError("the width does not fit")

    monkeypatch.setattr(compare, "_in_process", fails)
    load(COMPARE, "MLP.width = 31")
    with pytest.raises(compare.EntryError):
        compare.compare(begun, resume="force")
    assert "MLP.width = 31" in offered[0]  # what the process would have begun under
    assert (begun / "config.gin").read_bytes() == before
    assert _runs.offered(begun) == begun
    load(COMPARE)
    _runs.check_configuration(begun)  # the healthy comparison is refused to nobody


def test_a_comparison_that_begins_claims_its_directory(begun, tmp_path):
    load(COMPARE, "MLP.width = 31")
    _runs.offer(begun, _runs.records())
    assert "width = 31" not in (begun / "config.gin").read_text()
    _runs.adopt(begun)
    assert "MLP.width = 31" in (begun / "config.gin").read_text()
    assert _runs.offered(begun) == begun
    _runs.adopt(begun)  # nothing is offered: nothing changes
    assert _gin.binding_table((begun / "config.gin").read_text())["MLP.width"] == "31"


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_and_removes_what_is_half_written(number, tmp_path, capsys):
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with (  # noqa: PT012
            pytest.raises(SystemExit) as ended,
            ending_by_signal(),
            only_process(tmp_path, "out"),
            files.whole(tmp_path / "out.npz") as file,
        ):
            file.write(b"half")
            os.kill(os.getpid(), number)
            pytest.fail("not reached")
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert ended.value.code == 128 + number
    assert not list(tmp_path.iterdir())
    assert f"{number.name}: ended" in capsys.readouterr().err


def test_under_nohup_a_command_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_by_signal():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            lived_on = True
        assert lived_on
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_child_does_not_outlive_its_parent_that_was_killed(tmp_path):
    """kill -9 cannot be handed on: the child is told by the operating system."""
    pid = tmp_path / "pid"
    child = (
        "import os, pathlib, sys, time; from lcss_tf.commands._processes import end_with_parent;"
        f"end_with_parent(); p = pathlib.Path({str(pid)!r}); p.with_suffix('.x').write_text(str("
        "os.getpid())); p.with_suffix('.x').rename(p); time.sleep(120)"
    )
    parent = (
        "import sys; from lcss_tf.commands._processes import Forwarding\n"
        f"with Forwarding() as f: f.start([sys.executable, '-c', {child!r}]).wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, env=ENVIRONMENT)
    wait_for(pid.exists, process)
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while alive(int(pid.read_text())) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(int(pid.read_text()))
