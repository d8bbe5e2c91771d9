"""A full disk, a read-only or deleted workdir, two processes on one, a clock that jumps."""

import contextlib
import os
import shutil
import subprocess
import time

import pytest

from tests.processes import (
    ROOT,
    assert_same_end,
    final,
    meta,
    run,
    scalars,
    start,
    steps_on_disk,
    wait_for,
)

SMALL = ("--gin_file=tests/small.gin",)
LONG = ("--gin_bindings=fit.steps=1_000_000", "--gin_bindings=Checkpoints.every=500")
WIDE = ("--gin_bindings=MLP.width=128",)  # a checkpoint of 1 MiB


@contextlib.contextmanager
def small_disk(path, mib):
    """A file system of a few MiB at `path`."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", str(path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.slow
def test_a_full_disk(tmp_path, record):
    """Training goes on with the last good checkpoint, and saves as soon as there is room."""
    with small_disk(tmp_path / "disk", 24):
        workdir, log = tmp_path / "disk" / "run", tmp_path / "log"
        process = start(*SMALL, *LONG, *WIDE, f"--workdir={workdir}", log=log)
        wait_for(lambda: steps_on_disk(workdir), process)
        filler = tmp_path / "disk" / "filler"
        with contextlib.suppress(OSError), open(filler, "wb") as file:
            while True:
                file.write(b"\0" * 2**16)
                file.flush()
        wait_for(lambda: b"could not be saved" in log.read_bytes(), process)
        full = steps_on_disk(workdir)
        assert full, "the newest checkpoint is kept"
        final(workdir)
        began = time.monotonic()
        filler.unlink()
        wait_for(lambda: steps_on_disk(workdir)[-1] > full[-1], process)
        seconds = time.monotonic() - began
        process.terminate()
        assert process.wait(timeout=60) == 143
        run(
            "train", *SMALL, *WIDE, f"--workdir={workdir}", "--resume=force",
            f"--gin_bindings=fit.steps={meta(workdir)['step'] + 10}",
        )  # fmt: skip
    record("the disk is full", "a tmpfs of 24 MiB filled up while training", 1, "nothing", seconds)


@pytest.mark.slow
def test_too_small_a_disk_is_told_before_any_work(tmp_path):
    with small_disk(tmp_path / "disk", 1):
        done = run("train", *SMALL, *WIDE, f"--workdir={tmp_path / 'disk' / 'run'}", status=1)
    assert "has no room for two checkpoints of 1 MiB" in done.stderr


@pytest.mark.slow
def test_a_read_only_workdir(tmp_path):
    with small_disk(tmp_path / "disk", 24):
        place = str(tmp_path / "disk")
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        done = run("train", *SMALL, f"--workdir={place}/run", status=1)
    assert "cannot be written" in done.stderr
    assert "--workdir" in done.stderr


@pytest.mark.slow
def test_a_deleted_workdir(tmp_path, record):
    """The next save brings all of it back that the run needs; only curves and pictures are gone."""
    workdir = tmp_path / "run"
    process = start(*SMALL, *LONG, f"--workdir={workdir}", log=tmp_path / "log")
    wait_for(lambda: steps_on_disk(workdir), process)
    began = time.monotonic()
    while workdir.exists():  # it writes meanwhile
        shutil.rmtree(workdir, ignore_errors=True)
    wait_for(lambda: steps_on_disk(workdir), process)
    seconds = time.monotonic() - began
    process.terminate()
    assert process.wait(timeout=60) == 143
    run("sample", f"--workdir={workdir}", "--num_samples=4")
    assert scalars(workdir, "loss/total"), "a new file of curves"
    record("the workdir is deleted", "while training", 1, "curves and pictures so far", seconds)


@pytest.mark.slow
def test_two_processes_on_one_workdir(tmp_path, record):
    process = start(*SMALL, *LONG, f"--workdir={tmp_path}", log=tmp_path / "log")
    wait_for(lambda: (tmp_path / "run.json").exists(), process)
    done = run("train", *SMALL, *LONG, f"--workdir={tmp_path}", status=1)
    assert f"is being used by process {process.pid}" in done.stderr
    process.terminate()
    process.wait()
    record("two processes on one workdir", "the second is started", 1, "nothing", 0.0)


@pytest.mark.slow
def test_a_clock_that_jumps(tmp_path, record):
    """A day back and forth, again and again: the same run, bit for bit."""
    jumps = tmp_path / "sitecustomize.py"
    jumps.write_text(
        "import time\n"
        "real, count = time.time, [0]\n"
        "def jumping():\n"
        "    count[0] += 1\n"
        "    return real() + 86400.0 * (-1) ** count[0]\n"
        "time.time = jumping\n"
    )
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    run("train", *SMALL, f"--workdir={tmp_path / 'jumping'}", environment=path)
    run("train", *SMALL, f"--workdir={tmp_path / 'steady'}")
    assert_same_end(tmp_path / "steady", tmp_path / "jumping")
    losses = [scalars(tmp_path / name, "loss/total") for name in ("steady", "jumping")]
    assert losses[0] == losses[1]
    record("the clock jumps", "by a day back and forth at every reading", 1, "nothing", 0.0)
