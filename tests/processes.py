"""Commands as a person runs them, in processes of their own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from lcss_tf.plots.history import History

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}


def command(name, *arguments):
    return [sys.executable, str(ROOT / "bin" / f"{name}.py"), *map(str, arguments)]


def run(name, *arguments, status=0, environment=None, seconds=400):
    """Runs bin/<name>.py to its end, which must be `status`."""
    done = subprocess.run(
        command(name, *arguments), cwd=ROOT, env=ENVIRONMENT | (environment or {}),
        capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done


STARTED = []  # processes in the background; what a test leaves behind is killed after it


def start(*arguments, name="train", log=None, environment=None):
    """Starts bin/<name>.py in the background; its output is in `log`, a path, or a pipe."""
    return _background(command(name, *arguments), log, environment)


def start_code(code, *arguments, log=None):
    """Starts a Python text in the background."""
    return _background([sys.executable, "-c", code, *map(str, arguments)], log, None)


def _background(command, log, environment):
    output = open(log, "ab") if log else subprocess.PIPE  # noqa: SIM115
    process = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT | (environment or {}), stdout=output,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    STARTED.append(process)
    return process


def kill_what_was_started():
    """Kills the processes that `start` started and that still run, and all that these started."""
    while STARTED:
        process = STARTED.pop()
        for pid in [*descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def descendants(pid):
    """The ids of all processes that one started, and these (Linux; elsewhere none)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *descendants(child)]
    return found


def alive(pid):
    """Whether a process runs (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def readable(workdir):
    """Every checkpoint of a run can be read whole."""
    for path in Path(workdir).glob("checkpoints/*.npz"):
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                archive[key]


def wait_for(condition, process, seconds=120):
    """Waits until `condition()`; the process must live until then."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read().decode()
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.02)


def steps_on_disk(workdir):
    """The steps of a run's checkpoints, rising."""
    return sorted(int(p.stem[5:]) for p in Path(workdir).glob("checkpoints/step_*.npz"))


def final(workdir):
    """(name, arrays) of the newest checkpoint."""
    newest = max((Path(workdir) / "checkpoints").glob("step_*.npz"))
    with np.load(newest) as archive:
        return newest.name, {key: archive[key] for key in archive.files}


def assert_same_end(first, second, rtol=0.0):
    """The newest checkpoints of two runs are of one step, and hold the same numbers."""
    (name, expected), (again, actual) = final(first), final(second)
    assert name == again
    assert expected.keys() == actual.keys()
    for key, value in expected.items():
        if not rtol or value.dtype.kind != "f":
            np.testing.assert_array_equal(value, actual[key], err_msg=key)
            continue
        scale = max(float(np.abs(value).max()), 1e-30)
        np.testing.assert_allclose(actual[key], value, rtol=0, atol=rtol * scale, err_msg=key)


def scalars(workdir, tag):
    """{step: value} of a TensorBoard tag of a run, over all of its event files."""
    history = History.from_workdir(workdir)
    if tag not in history.names():
        return {}
    steps, values = history.curve(tag)
    return dict(zip(steps.astype(int).tolist(), values.tolist(), strict=True))


def meta(workdir):
    """The newest checkpoint's step and counts."""
    return json.loads(bytes(final(workdir)[1]["meta"]))
