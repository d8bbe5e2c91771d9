"""The commands as a person runs them, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}


def command(name, *arguments):
    return [sys.executable, str(ROOT / "bin" / f"{name}.py"), *map(str, arguments)]


def run(name, *arguments, status=0, seconds=300):
    done = subprocess.run(
        command(name, *arguments), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
        timeout=seconds,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done


def start(*arguments):
    return subprocess.Popen(
        command("train", *arguments), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for(condition, process, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.02)


def final(workdir):
    newest = max((workdir / "checkpoints").glob("step_*.npz"))
    with np.load(newest) as archive:
        return newest.name, {key: archive[key] for key in archive.files}


LONG = "--gin_bindings=train.total_steps=600"
OFTEN = "--gin_bindings=checkpoints.every=50"
XLA = "--gin_bindings=train_step.jit_compile=True"


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    """kill −9 in mid-training, run the same command again: every array equals."""
    arguments = ("--gin_file=tests/small.gin", LONG, OFTEN, XLA)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run("train", *arguments, f"--workdir={whole}")
    process = start(*arguments, f"--workdir={killed}")
    wait_for(lambda: list(killed.glob("checkpoints/step_000000150.npz")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = run("train", *arguments, f"--workdir={killed}")
    assert "Going on from" in resumed.stdout
    (name, expected), (again, actual) = final(whole), final(killed)
    assert name == again == "step_000000600.npz"
    assert expected.keys() == actual.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(value, actual[key], err_msg=key)
    # A finished run says so, and leaves everything as it is.
    assert "trained already" in run("train", *arguments, f"--workdir={killed}").stdout


def test_sigterm_saves_and_exits(tmp_path):
    workdir = tmp_path / "run"
    process = start(
        "--gin_file=tests/small.gin", "--gin_bindings=train.total_steps=1_000_000",
        "--gin_bindings=checkpoints.every=1_000_000", f"--workdir={workdir}",
    )  # fmt: skip
    # The scalars of the first steps on the disk: the loop is running.
    wait_for(lambda: (workdir / "operative_config.gin").exists(), process)
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    _, arrays = final(workdir)
    assert json.loads(bytes(arrays["meta"]))["step"] > 0


def test_my_sde_trains_and_samples_from_its_own_file(tmp_path):
    workdir = tmp_path / "mine"
    run(
        "train", "--gin_file=examples/my_sde.gin", "--import=examples/my_sde.py",
        f"--workdir={workdir}", "--gin_bindings=train.total_steps=300",
        "--gin_bindings=train.batch_size=32", "--gin_bindings=sample.batch_size=64",
        "--gin_bindings=pictures.every=300",
        "--gin_bindings=pictures.num_samples=2",
    )  # fmt: skip
    assert {p.name.rsplit("_", 1)[0] for p in (workdir / "samples").glob("*.png")} == {
        "density", "score_t0.02", "score_t0.20", "score_t0.50"
    }  # fmt: skip
    # Sampling finds the user's module by itself.
    for _ in range(2):
        run("sample", f"--workdir={workdir}", "--num_samples=100", "--out", tmp_path / "out.npz")
        samples = np.load(tmp_path / "out.npz")["samples"]
        assert samples.shape == (100, 2)
        assert np.isfinite(samples).all()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gin_file=gin/lcss_digit.gin"], "Did you mean"),
        (["--gin_file=tests/small.gin", "--gin_bindings=train.sde=@sdes.X()"], "Known: sdes."),
        (
            ["--gin_file=tests/small.gin", "--gin_bindings=distribution.num_replicas=3"],
            "batch_size = 16 is not divisible by the 3 replicas",
        ),
        (["--gin_file=gin/lcss_ffhq.gin"], "ffhq"),
    ],
)
def test_bad_input_is_one_message_before_any_work(arguments, message, tmp_path):
    done = run("train", *arguments, f"--workdir={tmp_path / 'run'}", status=1)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()
