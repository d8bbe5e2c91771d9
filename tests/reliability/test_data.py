"""Data that fail, hang or hold NaN, gradients that are not finite, memory that is short."""

import os
import time

import numpy as np
import pytest

from tests.processes import (
    assert_same_end,
    final,
    meta,
    run,
    scalars,
    start,
    steps_on_disk,
    wait_for,
)

FAULTY = ("--gin_file=tests/small.gin", "--import=tests/reliability/faulty.py")
AT = 70 * 16 + 3  # the index of an example of step 70; the first 1,024 are measured beforehand


def faulty(tmp_path, fault):
    return (
        *FAULTY,
        "--gin_bindings=fit.steps=80",
        "--gin_bindings=fit.data=@datasets.FaultyMoons()",
        f"--gin_bindings=FaultyMoons.fault='{fault}'",
        f"--gin_bindings=FaultyMoons.index={AT}",
        f"--gin_bindings=FaultyMoons.trigger='{tmp_path / 'trigger'}'",
    )


@pytest.mark.slow
def test_a_source_that_raises(tmp_path, record):
    """The state of the step before is saved, and the same command ends as if nothing had been."""
    (tmp_path / "trigger").touch()
    arguments, workdir = faulty(tmp_path, "raise"), tmp_path / "run"
    run("train", *arguments, f"--workdir={workdir}", status=1)
    assert 54 < steps_on_disk(workdir)[-1] <= 70  # batches come up to sixteen at a time
    (tmp_path / "trigger").unlink()
    began = time.monotonic()
    run("train", *arguments, f"--workdir={workdir}")
    seconds = time.monotonic() - began
    run("train", *arguments, f"--workdir={tmp_path / 'whole'}")
    assert_same_end(tmp_path / "whole", workdir)
    record("a data source raises", "an example of step 70 cannot be read", 1, "nothing", seconds)


@pytest.mark.slow
def test_a_source_that_hangs(tmp_path, record):
    """After the time limit: saved, a message, and the status that asks for a new start."""
    (tmp_path / "trigger").touch()
    arguments, workdir = faulty(tmp_path, "hang"), tmp_path / "run"
    limit = "--gin_bindings=Trainer.data_timeout_s=5.0"
    done = run("train", *arguments, limit, f"--workdir={workdir}", status=75)
    assert "delivered nothing for 5 s" in done.stderr
    assert 54 < steps_on_disk(workdir)[-1] <= 70  # batches come up to sixteen at a time
    # By itself: the supervisor starts again, and meanwhile somebody mends the disk.
    log = tmp_path / "log"
    began = time.monotonic()
    process = start(*arguments, limit, "--max_restarts=3", f"--workdir={workdir}", log=log)
    wait_for(lambda: b"start 1 of 3 again" in log.read_bytes(), process)
    (tmp_path / "trigger").unlink()
    assert process.wait(timeout=120) == 0
    assert meta(workdir)["step"] == 80
    record(
        "a data source hangs", "for an hour, in mid-epoch; limit 5 s, --max_restarts=3", 2,
        "nothing", time.monotonic() - began,
    )  # fmt: skip


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_skipped(tmp_path, record):
    """NaN in one example: the step is left out and counted, and training goes on."""
    (tmp_path / "trigger").touch()
    done = run("train", *faulty(tmp_path, "nan"), f"--workdir={tmp_path / 'run'}")
    assert "Step 70 skipped: non-finite loss" in done.stderr
    assert meta(tmp_path / "run")["nonfinite_steps"] == 1
    assert scalars(tmp_path / "run", "nonfinite_steps")[80] == 1
    for key, value in final(tmp_path / "run")[1].items():
        assert value.dtype.kind != "f" or np.isfinite(value).all(), key
    record("a non-finite gradient", "NaN in an example of step 70", 1, "that step", 0.0)


@pytest.mark.slow
def test_a_step_that_does_not_fit_gets_advice_with_numbers(tmp_path):
    done = run(
        "train", *FAULTY, "--gin_bindings=fit.loss=@losses.Hungry()",
        "--gin_bindings=MLP.width=1024", "--gin_bindings=fit.batch_size=8_192",
        f"--workdir={tmp_path / 'run'}", status=1,
    )  # fmt: skip
    assert "does not hold this step: about" in done.stderr
    assert "TrainStep.accumulation_steps = 2" in done.stderr
    assert "fit.batch_size = 4096" in done.stderr
    assert "MiB" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_writer_that_fails_does_not_stop_training(tmp_path, record):
    """Its file vanishes and the folder takes no new one; afterwards it is written again."""
    workdir = tmp_path / "run"
    process = start(
        "--gin_file=tests/small.gin", "--gin_bindings=fit.steps=1_000_000",
        "--gin_bindings=Checkpoints.every=500", f"--workdir={workdir}", log=tmp_path / "log",
    )  # fmt: skip
    wait_for(lambda: steps_on_disk(workdir), process)
    for path in workdir.glob("events.out.*"):
        path.unlink()
    seen = steps_on_disk(workdir)[-1]
    wait_for(lambda: steps_on_disk(workdir)[-1] > seen + 1_000, process)
    assert list(workdir.glob("events.out.*")), "a new file"
    os.kill(process.pid, 15)
    assert process.wait(timeout=60) == 143
    assert scalars(workdir, "loss/total")
    record("the TensorBoard file is removed", "while training", 1, "the curves until then", 0.0)
