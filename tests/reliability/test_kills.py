"""kill −9, whenever: a run that is started again equals one never killed, bit for bit."""

import os
import random
import signal
import time

import numpy as np
import pytest

from tests.processes import assert_same_end, readable, run, start, steps_on_disk, wait_for

KILLS = int(os.environ.get("LCSS_TF_KILLS", "30"))
OPTIONS = (
    "--gin_file=tests/small.gin",
    "--gin_bindings=fit.steps=40_000",
    "--gin_bindings=Checkpoints.every=20",
    "--gin_bindings=Checkpoints.keep=3",
    "--gin_bindings=MLP.width=1024",
    # By default the warm-up is a share of the steps, which are others at the end of the test.
    "--gin_bindings=fit.optimizer=@Adam()",
    "--gin_bindings=Adam.learning_rate=2e-4",
)


@pytest.mark.slow
def test_kills_at_random(tmp_path, record):
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"
    draw = random.Random(0)
    in_mid_write, lost, back = 0, [], []
    for i in range(KILLS):
        before = steps_on_disk(killed)[-1:] or [0]
        began = time.monotonic()
        process = start(*OPTIONS, f"--workdir={killed}", log=log)
        writing = lambda: list(killed.glob("checkpoints/.*.tmp"))
        wait_for(lambda b=before: (steps_on_disk(killed)[-1:] or [0]) > b, process)
        back.append(time.monotonic() - began)
        time.sleep(draw.uniform(0.0, 0.5))
        if i % 3 == 0:  # a third of them while a checkpoint is being written
            wait_for(writing, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        in_mid_write += bool(writing())
        readable(killed)
        lost.append(steps_on_disk(killed)[-1])
    total = lost[-1] + 40
    end = f"--gin_bindings=fit.steps={total}"
    resume = ("--resume=force",)
    run("train", *OPTIONS, end, *resume, f"--workdir={killed}")
    run("train", *OPTIONS, end, f"--workdir={whole}")
    assert_same_end(whole, killed)
    assert in_mid_write >= 3, "some were killed while they wrote"
    assert not list(killed.glob("checkpoints/.*.tmp")), "what was half written is gone"
    record(
        "kill −9", f"at random moments, {in_mid_write} of them while writing a checkpoint",
        KILLS, "the steps since the last checkpoint; the end is equal bit for bit",
        float(np.median(back)),
    )  # fmt: skip


@pytest.mark.slow
def test_snapshots_outlive_kills(tmp_path, record):
    """Of the averages; a third of the kills come while one is being written."""
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"
    draw, kills = random.Random(1), max(7, 3 * KILLS // 10)
    power = (
        "--gin_bindings=ScoreModel.average=@averages.PowerFunction()",
        "--gin_bindings=Snapshots.every=7",
        "--gin_bindings=Snapshots.keep=12",
    )
    in_mid_write, back = 0, []
    writing = lambda: list(killed.glob("averages/.*.tmp"))
    for i in range(kills):
        before = steps_on_disk(killed)[-1:] or [0]
        began = time.monotonic()
        process = start(*OPTIONS, *power, f"--workdir={killed}", log=log)
        wait_for(lambda b=before: (steps_on_disk(killed)[-1:] or [0]) > b, process)
        back.append(time.monotonic() - began)
        time.sleep(draw.uniform(0.0, 0.3))
        if i % 3 == 0:
            wait_for(writing, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        in_mid_write += bool(writing())
        readable(killed)
        snapshots(killed)
    total = steps_on_disk(killed)[-1] + 40
    end = f"--gin_bindings=fit.steps={total}"
    run("train", *OPTIONS, *power, end, "--resume=force", f"--workdir={killed}")
    run("train", *OPTIONS, *power, end, f"--workdir={whole}")
    assert_same_end(whole, killed)
    expected, found = snapshots(whole), snapshots(killed)
    assert expected.keys() == found.keys()
    assert 6 <= len(expected) <= 12
    for name, arrays in expected.items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(found[name][key], value, err_msg=f"{name} {key}")
    assert in_mid_write, "some were killed while they wrote"
    assert not writing(), "what was half written is gone"
    record(
        "kill −9 with snapshots", f"at random moments, {in_mid_write} while writing a snapshot",
        kills, "no snapshot: those at the end are equal bit for bit", float(np.median(back)),
    )  # fmt: skip


def snapshots(workdir):
    """{file: {name: array}} of the snapshots of a run but for what describes its steps."""
    found = {}
    for path in workdir.glob("averages/step_*.npz"):
        with np.load(path, allow_pickle=False) as archive:
            found[path.name] = {key: archive[key] for key in archive.files if key != "meta"}
    return found
