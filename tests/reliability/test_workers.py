"""Several workers: the same numbers as one, and what happens when one of them is lost."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from lcss_tf.commands import train
from lcss_tf.commands._processes import free_ports
from lcss_tf.training.cluster import Cluster
from tests.processes import (
    ENVIRONMENT,
    ROOT,
    assert_same_end,
    command,
    descendants,
    meta,
    run,
    scalars,
    start,
    steps_on_disk,
    wait_for,
)

SMALL = ("--gin_file=tests/small.gin", "--gin_bindings=Checkpoints.every=20")
PICTURES = ("--gin_bindings=Pictures.every=20", "--gin_bindings=Pictures.num_samples=2")
LONG = "--gin_bindings=fit.steps=1_000_000"
TWO = ("--strategy=multi_worker",)


def launch(*arguments, workers=2, logs, status=0):
    """bin/launch.py with a command of bin/."""
    done = subprocess.run(
        [*command("launch", f"--workers={workers}", f"--logs={logs}"), *map(str, arguments)],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    logged = "".join(path.read_text() for path in Path(logs).glob("*.log"))
    assert done.returncode == status, done.stdout + done.stderr + logged
    return done.stdout + done.stderr, logged


def worker(index, addresses, *arguments, log):
    """One worker's process."""
    environment = {"TF_CONFIG": Cluster(addresses, index).tf_config()}
    return start(*arguments, log=log, environment=environment)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one replica."""
    workdir = tmp_path_factory.mktemp("alone")
    run("train", *SMALL, *PICTURES, f"--workdir={workdir}")
    return workdir


def assert_same_run(alone, other):
    """Weights, average and optimiser to float32 rounding, losses, samples; the same data order."""
    assert_same_end(alone, other, rtol=2e-5)
    for tag in ("loss/total", "gradient_norm"):
        expected, actual = scalars(alone, tag), scalars(other, tag)
        assert expected.keys() == actual.keys()
        np.testing.assert_allclose(list(actual.values()), list(expected.values()), rtol=2e-5)
    one, two = (sorted(p.name for p in d.glob("samples/*.png")) for d in (alone, other))
    assert one == two


@pytest.mark.slow
def test_two_processes_equal_one(alone, tmp_path):
    workdir, logs = tmp_path / "run", tmp_path / "logs"
    launch("bin/train.py", *TWO, *SMALL, *PICTURES, f"--workdir={workdir}", logs=logs)
    assert_same_run(alone, workdir)
    # Only the chief wrote: one file of curves, one lock, no second set of checkpoints.
    assert len(list(workdir.glob("events.out.*"))) == 1
    # Sampling and evaluation on both: the figures of one process.
    bindings = ("--gin_bindings=SlicedWasserstein.num_samples=64",)
    for name in (alone, workdir):
        run("sample", f"--workdir={name}", "--num_samples=32", f"--out={name / 'own.npz'}")
    launch(
        "bin/sample.py", *TWO, f"--workdir={workdir}", "--num_samples=32",
        f"--out={workdir / 'both.npz'}", logs=logs,
    )  # fmt: skip
    samples = [np.load(workdir / f"{name}.npz")["samples"] for name in ("own", "both")]
    np.testing.assert_allclose(samples[1], samples[0], atol=1e-4)
    run("evaluate", f"--workdir={workdir}", *bindings)
    figures = json.loads((workdir / "metrics.json").read_text())
    for path in workdir.glob("evaluation/step_*/result.json"):
        path.unlink()
    launch("bin/evaluate.py", *TWO, f"--workdir={workdir}", *bindings, logs=logs)
    both = json.loads((workdir / "metrics.json").read_text())
    assert both.keys() == figures.keys()
    for name, value in figures.items():
        assert value is None or both[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_equal_one(replicas, alone, tmp_path):
    bindings = f"--gin_bindings=Distribution.num_replicas={replicas}"
    run("train", *SMALL, *PICTURES, bindings, f"--workdir={tmp_path}")
    assert_same_run(alone, tmp_path)


@pytest.mark.slow
def test_one_device_is_the_same(alone, tmp_path):
    run("train", *SMALL, *PICTURES, "--strategy=one_device", f"--workdir={tmp_path}")
    assert_same_end(alone, tmp_path)


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(alone, tmp_path):
    """Twenty steps alone, twenty on two workers: the same run, and no word of another config."""
    half = "--gin_bindings=fit.steps=20"
    # By default the warm-up is a tenth of the steps; that of `alone` is of its 40.
    warm_up = "--gin_bindings=default_optimizer.warmup_share=0.2"
    run("train", *SMALL, *PICTURES, warm_up, half, f"--workdir={tmp_path}")
    launch(
        "bin/train.py", *TWO, *SMALL, *PICTURES, f"--workdir={tmp_path}", "--resume=force",
        logs=tmp_path / "logs",
    )  # fmt: skip
    assert_same_end(alone, tmp_path, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "how"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)]
)
def test_a_lost_worker_ends_the_other_and_both_go_on(lost, how, tmp_path, record):
    """Killed, or frozen as when its machine hangs: then only its heartbeat tells."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    workdir, logs = tmp_path / "run", [tmp_path / "0.log", tmp_path / "1.log"]
    arguments = (*TWO, *SMALL, LONG, f"--workdir={workdir}")
    both = [worker(i, addresses, *arguments, log=logs[i]) for i in range(2)]
    wait_for(lambda: len(steps_on_disk(workdir)) > 1, both[0])
    both[lost].send_signal(how)
    began = time.monotonic()
    try:
        status = both[1 - lost].wait(timeout=150)
    finally:
        for process in both:
            process.kill()
            process.wait()
    seconds = time.monotonic() - began
    text = logs[1 - lost].read_text()
    assert status == 75, text[-3_000:]
    assert f"Worker {1 - lost} of 2 lost the others" in text
    at = steps_on_disk(workdir)[-1]
    end = f"--gin_bindings=fit.steps={at + 20}"
    output, _ = launch(
        "bin/train.py", *TWO, *SMALL, end, f"--workdir={workdir}", "--resume=force",
        logs=tmp_path / "logs",
    )  # fmt: skip
    assert f"at step {at:,}" in output
    assert meta(workdir)["step"] == at + 20
    record(
        f"worker {lost} of 2 is lost" + (" (the chief)" if lost == 0 else ""),
        "kill −9" if how == signal.SIGKILL else "frozen (SIGSTOP)", 1,
        "the steps since the last checkpoint; the other ended by itself", seconds,
    )  # fmt: skip


@pytest.mark.slow
def test_waiting_for_the_others_ends(tmp_path):
    """One of two workers never comes: a message, and an end that a supervisor starts again."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    limit = "--gin_bindings=Distribution.start_timeout_s=15.0"
    only = worker(0, addresses, *TWO, *SMALL, limit, f"--workdir={tmp_path}", log=tmp_path / "log")
    assert only.wait(timeout=120) == -signal.SIGALRM
    assert f"waits up to 15 s for the others ({addresses[1]})" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_workers_start_again_by_themselves(tmp_path, record):
    """--max_restarts: one is killed, both go on, and the end is that of an uninterrupted run."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    workdir, logs = tmp_path / "run", [tmp_path / "0.log", tmp_path / "1.log"]
    steps = "--gin_bindings=fit.steps=6_000"
    arguments = (*TWO, *SMALL, steps, f"--workdir={workdir}", "--max_restarts=3")
    both = [worker(i, addresses, *arguments, log=logs[i]) for i in range(2)]
    wait_for(lambda: len(steps_on_disk(workdir)) > 1, both[0])
    began = time.monotonic()
    at = steps_on_disk(workdir)[-1]
    for pid in descendants(both[1].pid):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: steps_on_disk(workdir)[-1] > at + 400, both[0], seconds=200)
    seconds = time.monotonic() - began
    assert [process.wait(timeout=200) for process in both] == [0, 0]
    assert "start 1 of 3 again" in logs[1].read_text()
    whole = tmp_path / "whole"
    launch("bin/train.py", *TWO, *SMALL, steps, f"--workdir={whole}", logs=tmp_path / "logs")
    assert_same_end(whole, workdir)
    record("a worker is lost under --max_restarts", "kill −9", 1, "nothing at the end", seconds)


@pytest.mark.slow
def test_a_request_to_one_worker_stops_all(tmp_path, record):
    """SIGTERM to the worker that is not the chief: both leave at the same step, saved."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    workdir, logs = tmp_path / "run", [tmp_path / "0.log", tmp_path / "1.log"]
    both = [
        worker(i, addresses, *TWO, *SMALL, LONG, f"--workdir={workdir}", log=logs[i])
        for i in range(2)
    ]
    wait_for(lambda: steps_on_disk(workdir), both[0])
    began = time.monotonic()
    both[1].send_signal(signal.SIGTERM)
    assert [process.wait(timeout=60) for process in both] == [143, 143]
    seconds = time.monotonic() - began
    assert seconds < 10
    record("SIGTERM", "to one of two workers", 1, "nothing", seconds)


def pair_of_ports():
    """The first of two free ports in a row."""
    while True:
        first, *_ = free_ports(1)
        with socket.socket() as second, contextlib.suppress(OSError, OverflowError):
            second.bind(("127.0.0.1", first + 1))
            return first


@pytest.mark.slow
def test_slurm_starts_it(tmp_path):
    """launch/slurm.sh with a stand-in for srun, which sets what Slurm sets and starts two tasks."""
    first = pair_of_ports()
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(
        "#!/usr/bin/env bash\nwhile [[ $1 == --* ]]; do shift; done\n"
        f"export SLURM_STEP_NODELIST=127.0.0.1 SLURM_STEP_TASKS_PER_NODE=2\n"
        f"export LCSS_TF_PORT={first}\n"
        'SLURM_PROCID=1 "$@" & SLURM_PROCID=0 "$@"; status=$?; wait; exit $status\n'
    )
    srun.chmod(0o755)
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("the environment is elsewhere")
    environment = ENVIRONMENT | {"PATH": f"{srun.parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(
        ["bash", str(ROOT / "launch" / "slurm.sh"), *SMALL, f"--workdir={tmp_path / 'run'}"],
        cwd=ROOT, env=environment | {"SLURM_SUBMIT_DIR": str(ROOT)}, check=True, timeout=300,
    )  # fmt: skip
    assert meta(tmp_path / "run")["step"] == 40


@pytest.mark.slow
def test_launch_files_name_what_is_there():
    """The launch files name commands, flags and variables that exist."""
    text = {p.name: p.read_text() for p in (ROOT / "launch").iterdir()}
    assert {"slurm.sh", "kubernetes.yaml", "Dockerfile"} <= text.keys()
    for name in ("strategy", "max_restarts", "gin_file", "workdir"):
        assert name in train.FLAGS
        assert f"--{name}" in text["slurm.sh"]
    assert "bin/train.py" in text["slurm.sh"]
    assert "bin/train.py" in text["kubernetes.yaml"]
    assert (ROOT / "bin/train.py").is_file()
    for name in ("LCSS_TF_NUM_WORKERS", "LCSS_TF_SERVICE"):
        assert name in text["kubernetes.yaml"]
        assert name in (ROOT / "lcss_tf/training/cluster.py").read_text()
    assert subprocess.run(["bash", "-n", str(ROOT / "launch/slurm.sh")]).returncode == 0
