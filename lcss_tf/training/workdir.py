"""The directory of one run: who may write in it, and what the run is of."""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from absl import logging

from lcss_tf import files
from lcss_tf.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None  # type: ignore[assignment]

MODEL, DATA = "model.json", "data.json"
_LOCK = ".lock"
# Names that Keras numbers by what the process has made before, and the version that wrote.
_UNCOMPARED = {"name", "lcss_tf"}


@contextlib.contextmanager
def only_process(workdir: str | Path) -> Iterator[None]:
    """Makes the workdir, and holds its lock while the block runs.

    The lock is the operating system's: it ends with the process, however that ends. On a file
    system without locks a warning is logged, and nothing is held.

    Raises:
      UsageError: another process holds it, or the workdir cannot be written.
    """
    path = Path(workdir) / _LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115
    except OSError as error:
        raise UsageError(
            f"The workdir {workdir} cannot be written: {error}. Choose another workdir (--workdir)."
        ) from error
    with file:
        _acquire(file, workdir)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
            file.truncate(0)
            holder = {"pid": os.getpid(), "host": socket.gethostname()}
            file.write(json.dumps(holder | {"since": time.strftime("%F %T")}))
            file.flush()
        yield


def _acquire(file: IO, workdir: str | Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        try:
            holder = "process {pid} on {host}, since {since}".format(**json.loads(file.read()))
        except (ValueError, LookupError, TypeError, RecursionError):
            holder = "another process"
        raise UsageError(
            f"{workdir} is being used by {holder}. Two would overwrite each other's files: wait "
            "for it, stop it (kill), or choose another workdir (--workdir)."
        ) from None
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error))
        logging.warning(
            "The file system of %s has no locks (%s). Nothing keeps a second process from training "
            "in the same workdir: see to it yourself.", workdir, name,
        )  # fmt: skip


def check_same_model(workdir: str | Path, description: dict) -> None:
    """Raises UsageError if the workdir holds a run of another model; names what differs."""
    remedy = "Remove it, and it is written again; the checkpoints know the model too."
    stored = files.read_json(Path(workdir) / MODEL, dict, remedy)
    if stored is None:
        return
    differing = list(_differences(stored, json.loads(json.dumps(description)), ""))
    if differing:
        raise UsageError(
            f"{workdir} holds a run of another model. It differs in:\n"
            + "\n".join(f"  {line}" for line in differing[:20])
            + "\nChoose another workdir, or resume from its checkpoint with the new model by "
            "resume='force' (--resume=force)."
        )


def write_description(workdir: str | Path, description: dict) -> dict[str, bytes]:
    """Records what the run is of; returns {name: bytes} of what was written."""
    contents = {
        MODEL: json.dumps(description, indent=1).encode(),
        DATA: json.dumps(description["data"], indent=1).encode(),
    }
    for name, content in contents.items():
        files.write_bytes(Path(workdir) / name, content)
    return contents


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted((old.keys() | new.keys()) - _UNCOMPARED):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif old != new:
        yield f"{path}: {_short(old)} there, {_short(new)} now"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"


__all__ = ["DATA", "MODEL", "check_same_model", "only_process", "write_description"]
