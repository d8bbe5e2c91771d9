"""SIGTERM and SIGINT: saved and out, with a status that says so."""

import signal
import subprocess
import time

import pytest

from tests.processes import meta, scalars, start, steps_on_disk, wait_for

LONG = (
    "--gin_file=tests/small.gin",
    "--gin_bindings=fit.steps=1_000_000",
    "--gin_bindings=Checkpoints.every=1_000_000",
)


def running(workdir):
    """Whether steps are being taken: scalars of some are written."""
    return (workdir / "operative_config.gin").exists() and len(scalars(workdir, "loss/total")) > 2


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_saved_and_out_in_time(number, tmp_path, record):
    process = start(*LONG, f"--workdir={tmp_path}")
    wait_for(lambda: running(tmp_path), process)
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    seconds = time.monotonic() - began
    assert seconds < 10
    assert meta(tmp_path)["step"] > 0
    assert "saving after this step" in process.stdout.read().decode()
    record(signal.Signals(number).name, "sent to a training process", 1, "nothing", seconds)


@pytest.mark.slow
def test_an_action_is_broken_off(tmp_path, record):
    """A request in the middle of long sampling does not wait for its end."""
    process = start(
        *LONG, f"--workdir={tmp_path}", "--gin_bindings=Checkpoints.every=5",
        "--gin_bindings=Pictures.every=6", "--gin_bindings=Pictures.num_samples=100_000",
    )  # fmt: skip
    wait_for(lambda: steps_on_disk(tmp_path), process)
    time.sleep(4)  # the sixth step is taken, and its pictures are being drawn
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    seconds = time.monotonic() - began
    assert seconds < 10
    assert steps_on_disk(tmp_path) == [5, 6]
    record("SIGTERM", "in the middle of drawing 3.2 million samples", 1, "nothing", seconds)


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(tmp_path):
    process = start(
        *LONG, f"--workdir={tmp_path}", "--gin_bindings=TrainStep.jit_compile=True",
        "--gin_bindings=MLP.width=2048", "--gin_bindings=fit.batch_size=16_384",
    )  # fmt: skip
    wait_for(lambda: (tmp_path / "operative_config.gin").exists(), process)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert status in (-signal.SIGTERM, 143)
