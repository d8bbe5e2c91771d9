"""TensorFlow's start: what it says to nobody in particular is kept from the terminal.

Lines of its C++ libraries that are logged before Python can reach their settings ("oneDNN custom
operations are on", "Could not find cuda drivers", …) ignore TF_CPP_MIN_LOG_LEVEL. So while it is
imported, and looks for devices, the standard error goes through a process that leaves them out.
All other lines pass, errors above all, also those of a TensorFlow that dies while it starts.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import IO

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 0: all, 1: no notes, 2: no warnings either, 3: no errors
_DEFAULT = "2"
_LOGGED = re.compile(rb"([IWEF])\d{4} \d\d:\d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: ([IWEF]) ")
_SEVERITIES = b"IWEF"
# Errors in name only: said on every machine without a GPU, or with several of NVIDIA's libraries.
_HARMLESS = re.compile(
    rb"Unable to register cu\w+ (factory|computation)"
    rb"|computation_placer.*already registered"
    rb"|failed call to cuInit: .*(\(303\)|CUDA_ERROR_NO_DEVICE|no CUDA-capable device)"
)
_PREAMBLE = b"WARNING: All log messages before absl::InitializeLog() is called"
_CONTINUED = b"To enable the following instructions:"


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """In this block TensorFlow may be imported for the first time, and finds its devices.

    The user's own TF_CPP_MIN_LOG_LEVEL wins: 0 shows everything. This is for commands, which are
    a process of their own; the library leaves the environment and the standard error alone.
    """
    level = os.environ.setdefault(_LEVEL, _DEFAULT)
    if "tensorflow" in sys.modules or level not in ("1", "2", "3") or not hasattr(os, "fork"):
        yield
        return
    with _filtered_stderr(int(level)):
        yield
        if "tensorflow" in sys.modules:
            import tensorflow as tf

            tf.config.list_physical_devices()  # the driver's notes come now, not in the midst


def is_noise(line: bytes, level: int) -> bool:
    """Whether a line of the standard error is one of TensorFlow's notes on its start.

    Args:
      line: of the standard error.
      level: notes (1), warnings (2) and what is an error in name only (2) are noise.
    """
    if line.startswith((_PREAMBLE, _CONTINUED)):
        return True
    found = _LOGGED.match(line)
    if found is None:
        return False
    severity = _SEVERITIES.index(found[1] or found[2])
    if severity < min(level, 2):
        return True
    return level >= 2 and severity == 2 and _HARMLESS.search(line) is not None


@contextlib.contextmanager
def _filtered_stderr(level: int) -> Iterator[None]:
    """The file descriptor 2 leads through a process of its own, which outlives a crash of ours."""
    try:
        kept = os.dup(2)
        read, write = os.pipe()
    except OSError:  # no descriptor to be had: then with the noise
        yield
        return
    child = os.fork()
    if child == 0:
        _filter(read, write, kept, level)
    os.close(read)
    os.dup2(write, 2)
    os.close(write)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        os.dup2(kept, 2)  # the last writing end of the pipe is closed: the child ends
        os.close(kept)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _filter(read: int, write: int, out: int, level: int) -> None:
    """The child: copies lines until nobody writes any more. Never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it ends with its parent's writing
        os.close(write)
        os.dup2(out, 2)
        with os.fdopen(read, "rb", buffering=0) as lines:
            _copy(lines, out, level)
    finally:
        os._exit(0)


def _copy(lines: IO[bytes], out: int, level: int) -> None:
    rest = b""
    while chunk := lines.read(65_536):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not is_noise(line, level):
                os.write(out, line + b"\n")
    if rest:
        os.write(out, rest)


__all__ = ["is_noise", "quiet_start"]
