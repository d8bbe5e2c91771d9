"""New starts after faults, and only after these."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lcss_tf.commands._processes import launch, supervise
from lcss_tf.errors import UsageError
from lcss_tf.training.cluster import TEMPORARY
from tests.processes import ENVIRONMENT, ROOT

# Counts its starts in a file; ends as the next word says: a status, or "kill".
PROGRAM = """
import os, signal, sys
starts = len(open(sys.argv[1]).read()) if os.path.exists(sys.argv[1]) else 0
open(sys.argv[1], "a").write("x")
end = sys.argv[2 + starts]
os.kill(os.getpid(), signal.SIGKILL) if end == "kill" else sys.exit(int(end))
"""


@pytest.mark.parametrize(
    ("ends", "status", "starts"),
    [
        (("0",), 0, 1),
        (("kill", str(TEMPORARY), "0"), 0, 3),
        (("1",), 1, 1),  # would come again
        (("143",), 143, 1),  # asked to stop, and saved
        (("kill",) * 4, 128 + signal.SIGKILL, 4),  # three new starts at most
        ((str(TEMPORARY),) * 4, TEMPORARY, 4),
    ],
)
def test_what_is_started_again(ends, status, starts, tmp_path):
    count = tmp_path / "starts"
    command = [sys.executable, "-c", PROGRAM, str(count), *ends]
    assert supervise(command, max_restarts=3, pause_s=0.01) == status
    assert len(count.read_text()) == starts


def test_a_request_ends_both(tmp_path):
    """SIGTERM to the supervisor: its process gets it, and is not started again."""
    mark = tmp_path / "mark"
    child = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75));"
        f"pathlib.Path({str(mark)!r}).touch(); time.sleep(60)"
    )
    code = (
        "import sys; from lcss_tf.commands._processes import supervise;"
        f"sys.exit(supervise([sys.executable, '-c', {child!r}], 5, 0.01))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT)
    until = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=30) == TEMPORARY


def test_workers_have_addresses_of_their_own(tmp_path, capfd):
    code = "import os; print(os.environ['TF_CONFIG'])"
    assert launch(["-c", code], workers=2, logs=tmp_path) == 0
    first, second = capfd.readouterr().out, (tmp_path / "worker_1.log").read_text()
    assert '"index": 0' in first
    assert '"index": 1' in second
    assert first.split('"task"')[0] == second.split('"task"')[0]


def test_a_worker_that_fails_is_named(tmp_path, capfd):
    code = (
        "import json, os, sys; sys.exit(7 * json.loads(os.environ['TF_CONFIG'])['task']['index'])"
    )
    assert launch(["-c", code], workers=2, logs=tmp_path) == 7
    assert "Worker 1 ended with status 7; it said why in" in capfd.readouterr().err


def test_nothing_to_launch():
    with pytest.raises(UsageError, match=r"bin/launch.py --workers=2 bin/train.py"):
        launch([], workers=2, logs=os.devnull)
