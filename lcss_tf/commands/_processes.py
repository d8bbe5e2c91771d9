"""Processes that a command starts: workers on one machine, a supervised command, children.

Signals that reach the command are handed on to all that it started, so that nothing is orphaned.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.training.cluster import TEMPORARY, Cluster

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
_LONGEST_PAUSE_S = 60.0
_PARENT = "LCSS_TF_PARENT"  # the process that started this one, and hands signals on
_PR_SET_PDEATHSIG = 1


class Forwarding:
    """While it is entered, signals go to all that was started, and not to this process.

    Attributes:
      asked: whether one came.
      processes: what was started, in order.
    """

    def __init__(self) -> None:
        self.asked = False
        self.processes: list[subprocess.Popen] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Forwarding":
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen:
        """A process, by `subprocess.Popen`.

        In a group of its own: Ctrl-C reaches it through this process, once. A second signal would
        end a training without saving.
        """
        environment = {**options.pop("env", os.environ), _PARENT: str(os.getpid())}
        process = subprocess.Popen(command, start_new_session=True, env=environment, **options)
        self.processes.append(process)
        if self.asked:  # the signal came before there was a process to hand it to
            process.terminate()
        return process

    def _receive(self, number: int, _: Any) -> None:
        self.asked = True
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)


def end_with_parent() -> None:
    """Asks to be sent SIGTERM when the command that started this process ends (Linux).

    It hands on the signals that reach it; kill -9 it cannot. The child saves then and leaves,
    instead of training on beside a command that was started again.
    """
    parent = os.environ.pop(_PARENT, None)
    if parent != str(os.getppid()):
        return
    with contextlib.suppress(OSError, AttributeError):  # another operating system
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent != str(os.getppid()):  # it ended meanwhile
        os.kill(os.getpid(), signal.SIGTERM)


def own_command() -> list[str]:
    """The command that runs this process's program again, without its arguments."""
    if Path(sys.argv[0]).name == "__main__.py":  # python -m lcss_tf
        return [sys.executable, "-m", "lcss_tf"]
    return [sys.executable, sys.argv[0]]


def exit_status(returncode: int) -> int:
    """As a shell has it: 128 + n for a process that signal n killed."""
    return 128 - returncode if returncode < 0 else returncode


def launch(command: Sequence[str], workers: int, logs: str | Path) -> int:
    """Starts a Python command once for each worker, and waits for all.

    The first worker, the chief, has this terminal; what the others say goes to
    ``<logs>/worker_<i>.log``. Signals are handed on to all.

    Args:
      command: arguments after ``python``, e.g. ["bin/train.py", "--strategy=multi_worker", …].
      workers: how many.
      logs: a directory.

    Returns:
      The first exit status that is not 0, of the workers in their order; else 0.

    Raises:
      UsageError: no command, or no workers.
    """
    if workers < 1 or not command:
        raise UsageError(
            f"Expected a command and at least one worker; got {command} and {workers}. For "
            "example: python bin/launch.py --workers=2 bin/train.py --strategy=multi_worker "
            "--gin_file=gin/lcss_digits.gin"
        )
    logs = Path(logs)
    logs.mkdir(parents=True, exist_ok=True)
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(workers))
    with Forwarding() as forwarding, contextlib.ExitStack() as files:
        for index in range(workers):
            environment = {**os.environ, "TF_CONFIG": Cluster(addresses, index).tf_config()}
            output = {}
            if index:
                log = files.enter_context(open(logs / f"worker_{index}.log", "wb"))
                output = {"stdout": log, "stderr": subprocess.STDOUT}
            forwarding.start([sys.executable, *command], env=environment, **output)
        statuses = [exit_status(process.wait()) for process in forwarding.processes]
    for index, status in enumerate(statuses):
        if status:
            where = f"; it said why in {logs / f'worker_{index}.log'}" if index else ""
            say(f"Worker {index} ended with status {status}{where}.", error=True)
    return next((status for status in statuses if status), 0)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def supervise(command: Sequence[str], max_restarts: int, pause_s: float = 1.0) -> int:
    """Runs a command to its end, and again after a fault.

    A fault is a process killed by a signal that nobody sent to the supervisor (out of memory, a
    crash), or the status `TEMPORARY`. Errors of the configuration are not: they would come again.
    Signals are handed on, and end both.

    Args:
      command: a list of arguments.
      max_restarts: new starts at most.
      pause_s: seconds before the first new start; doubled every time, up to a minute.

    Returns:
      The exit status of the last start; 128 + n where signal n killed it.

    Raises:
      UsageError: max_restarts is negative.
    """
    if max_restarts < 0:
        raise UsageError(f"max_restarts must not be negative; got {max_restarts}.")
    with Forwarding() as forwarding:
        for restart in range(max_restarts + 1):
            status = forwarding.start(command).wait()
            if (status >= 0 and status != TEMPORARY) or forwarding.asked:
                break
            reason = f"signal {-status}" if status < 0 else f"status {status}"
            if restart == max_restarts:
                _say(f"Ended by {reason} once more than --max_restarts={max_restarts} allows.")
                break
            _say(f"Ended by {reason}; start {restart + 1} of {max_restarts} again.")
            until = time.monotonic() + min(pause_s * 2**restart, _LONGEST_PAUSE_S)
            while not forwarding.asked and time.monotonic() < until:
                time.sleep(0.1)
            if forwarding.asked:
                break
    return exit_status(status)


def _say(text: str) -> None:
    say(text, error=True)
