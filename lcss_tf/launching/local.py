"""Several workers on this machine, over loopback: to try out what will run on many hosts."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from lcss_tf.errors import UsageError
from lcss_tf.launching.forwarding import Forwarding, exit_status
from lcss_tf.training.cluster import Cluster


def launch(command, workers, logs):
    """Starts a Python command once for each worker, and waits for all.

    The first worker, the chief, has this terminal; what the others say goes to
    ``<logs>/worker_<i>.log``. SIGTERM and SIGINT are handed on to all.

    Args:
      command: arguments after ``python``, e.g. ["bin/train.py", "--strategy=multi_worker", …].
      workers: how many.
      logs: a directory.

    Returns:
      The first exit status that is not 0, of the workers in their order; else 0.

    Raises:
      ValueError: no command, or no workers.
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
            # A group of its own: Ctrl-C reaches the workers through this process, once.
            forwarding.start(
                [sys.executable, *command], env=environment, start_new_session=True, **output
            )
        statuses = [exit_status(process.wait()) for process in forwarding.processes]
    for index, status in enumerate(statuses):
        if status:
            where = f"; it said why in {logs / f'worker_{index}.log'}" if index else ""
            print(f"Worker {index} ended with status {status}{where}.", file=sys.stderr)
    return next((status for status in statuses if status), 0)


def free_ports(count):
    """Ports of this machine that nobody uses."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
