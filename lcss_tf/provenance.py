"""Where a result came from: versions, host, commit, command. Kept beside every run."""

import importlib
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path

import lcss_tf

_VERSIONS = ("tensorflow", "keras", "numpy")


def provenance():
    """A dict for JSON."""
    return {
        "lcss_tf": lcss_tf.__version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "versions": {name: importlib.import_module(name).__version__ for name in _VERSIONS},
        "host": socket.gethostname(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": sys.argv,
    }


def differences(then, now):
    """Lines that say in what two of these differ that can change a number."""
    lines = []
    for key in ("lcss_tf", "commit", "python", "machine"):
        if then.get(key) != now.get(key):
            lines.append(f"{key}: {then.get(key)} then, {now.get(key)} now")
    for name in _VERSIONS:
        old, new = then.get("versions", {}).get(name), now["versions"][name]
        if old != new:
            lines.append(f"{name}: {old} then, {new} now")
    return lines


def _commit():
    """The git commit of the project's files, with "+" if they have changed since; or None."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--", "lcss_tf", "bin") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root, *arguments):
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()
