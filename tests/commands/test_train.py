"""The commands as a person runs them, in processes of their own."""

import signal

import numpy as np
import pytest

from tests.processes import assert_same_end, run, start, wait_for

LONG = "--gin_bindings=fit.steps=600"
OFTEN = "--gin_bindings=Checkpoints.every=50"
XLA = "--gin_bindings=TrainStep.jit_compile=True"


@pytest.mark.slow
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
    assert_same_end(whole, killed)
    # A finished run says so, and leaves everything as it is.
    assert "trained already" in run("train", *arguments, f"--workdir={killed}").stdout


@pytest.mark.slow
def test_my_sde_trains_and_samples_from_its_own_file(tmp_path):
    workdir = tmp_path / "mine"
    run(
        "train", "--gin_file=examples/my_sde.gin", "--import=examples/my_sde.py",
        f"--workdir={workdir}", "--gin_bindings=fit.steps=300",
        "--gin_bindings=fit.batch_size=32", "--gin_bindings=sample.batch_size=64",
        "--gin_bindings=Pictures.every=300",
        "--gin_bindings=Pictures.num_samples=2",
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
        (["--gin_file=tests/small.gin", "--gin_bindings=ScoreModel.sde=@sdes.X()"], "Known: sdes."),
        pytest.param(
            ["--gin_file=tests/small.gin", "--gin_bindings=Distribution.num_replicas=3"],
            "batch_size = 16 is not divisible by the 3 replicas",
            marks=pytest.mark.slow,
        ),
        (["--gin_file=gin/lcss_ffhq.gin"], "ffhq"),
    ],
)
def test_bad_input_is_one_message_before_any_work(arguments, message, tmp_path):
    done = run("train", *arguments, f"--workdir={tmp_path / 'run'}", status=1)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()
