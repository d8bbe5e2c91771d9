"""One process trains in a workdir at a time."""

import contextlib
import json
import os
import socket
import time
from pathlib import Path

from lcss_tf.config import ConfigError

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None

_LOCK = ".lock"


@contextlib.contextmanager
def only_process(workdir):
    """Makes the workdir, and holds its lock while the block runs.

    The lock is the operating system's: it ends with the process, however that ends.

    Raises:
      ConfigError: another process holds it, or the workdir cannot be written.
    """
    path = Path(workdir) / _LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(
            f"The workdir {workdir} cannot be written: {error}. Choose another --workdir."
        ) from error
    with file:
        _acquire(file, workdir)
        file.truncate(0)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
            file.write(json.dumps(holder))
            file.flush()
        yield


def _acquire(file, workdir):
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        try:
            holder = "process {pid} on {host}, since {since}".format(**json.loads(file.read()))
        except (ValueError, LookupError):
            holder = "another process"
        raise ConfigError(
            f"{workdir} is being trained by {holder}. Two would overwrite each other's "
            "checkpoints: wait for it, stop it (kill), or choose another --workdir."
        ) from None
