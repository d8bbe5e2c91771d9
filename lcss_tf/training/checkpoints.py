"""Checkpoints: one `.npz` a step, written whole or not at all.

Every array is stored under its group and index with a CRC that reading checks;
nothing is pickled. A file appears under its final name only when complete, so that
a process killed while writing loses nothing. Where the newest file cannot be read,
the one before it serves.
"""

import errno
import json
import re
import shutil
import time
from pathlib import Path

import gin
import numpy as np
from absl import logging

import lcss_tf
from lcss_tf import files
from lcss_tf.errors import UsageError

FORMAT = 1
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = re.compile(r"step_(\d+)\.npz")


class CheckpointError(UsageError):
    """There are checkpoints, but none can be used."""


@gin.configurable("checkpoints", denylist=["workdir", "writes"])
class Checkpoints:
    """The checkpoints of one run, under ``<workdir>/checkpoints``.

    Args:
      workdir: the run's directory.
      every: steps between checkpoints.
      keep: how many of the newest are kept.
      patience_s: how long the last save waits for a disk that is full, trying again, in seconds.
      writes: whether this process writes; of several workers the chief alone does.

    Raises:
      ValueError: unless every >= 1 and keep >= 1.
    """

    def __init__(self, workdir, every=1_000, keep=3, patience_s=60.0, writes=True):
        if every < 1 or keep < 1:
            raise UsageError(
                f"checkpoints expects every >= 1 and keep >= 1; got every={every}, keep={keep}."
            )
        self.directory = Path(workdir) / "checkpoints"
        self.every = every
        self.keep = keep
        self._patience_seconds = patience_s
        self._writes = writes
        self._beside = {}

    def keep_beside(self, contents):
        """Small files of the workdir ({name: bytes}) that every save puts back if they vanished."""
        self._beside |= contents

    def prepare(self, state):
        """Before training: removes what a killed process left half written, and looks for room.

        Raises:
          OSError: there is no room for two checkpoints; says how much is missing.
        """
        if not self._writes:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        for left in self.directory.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        size = state.num_bytes()
        present = sum(path.stat().st_size for path in self.paths())
        missing = 2 * size - present - shutil.disk_usage(self.directory).free
        if missing > 0:
            raise OSError(
                errno.ENOSPC,
                f"{self.directory} has no room for two checkpoints of {size / 2**20:,.0f} MiB: "
                f"{missing / 2**20:,.0f} MiB are missing. Make room, or choose another --workdir",
            )

    def paths(self):
        """Complete checkpoints, oldest first."""
        found = [(int(m[1]), p) for p in self.directory.glob("*") if (m := _NAME.fullmatch(p.name))]
        return [path for _, path in sorted(found)]

    @property
    def best_path(self):
        """Where the best checkpoint is kept, if training watches a metric."""
        return self.directory / "best.npz"

    def at(self, step):
        """The path of the checkpoint at a step, which may not be there."""
        return self.directory / f"step_{step:09d}.npz"

    def save(self, state, patient=False):
        """Writes the state at its step, and removes all but the newest `keep`.

        On a full disk old checkpoints are removed first, all but the newest; after that, with
        `patient`, it tries again for `patience_s` seconds.

        Raises:
          OSError: it could not be written. The checkpoints before are whole.
        """
        path, start = self.at(state.step), time.monotonic()
        while True:
            try:
                self.write(path, state)
                break
            except OSError as error:
                if error.errno in _FULL and self._remove_oldest(path):
                    continue
                if not patient or time.monotonic() - start > self._patience_seconds:
                    text = f"{error.strerror or error}; make room there"
                    raise OSError(error.errno, text, str(path)) from error
                logging.warning("%s could not be written (%s); trying again.", path, error)
                time.sleep(1.0)
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def _remove_oldest(self, path):
        """Removes the oldest checkpoint, if a newer one is left; returns whether there was one."""
        others = [other for other in self.paths() if other != path]
        if len(others) < 2:
            return False
        logging.warning("No room for %s: %s is removed.", path.name, others[0].name)
        others[0].unlink(missing_ok=True)
        return True

    def write(self, path, state):
        """Writes the state to a file of this folder, whole or not at all; returns the path."""
        if not self._writes:
            return path
        meta = {
            "format": FORMAT,
            "lcss_tf": lcss_tf.__version__,
            "step": state.step,
            "nonfinite_steps": state.nonfinite_steps,
        }
        arrays = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
        for group, variables in state.variables().items():
            for i, variable in enumerate(variables):
                arrays[f"{group}/{i:05d}"] = variable.numpy()
        for name, value in (state.model.preconditioning.measured or {}).items():
            arrays[f"measured/{name}"] = value
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, content in self._beside.items():
            if not (self.directory.parent / name).exists():
                files.write_bytes(self.directory.parent / name, content)
        files.write_arrays(path, arrays, durable=True)
        return path

    def load(self, state, path):
        """Restores one checkpoint.

        Raises:
          CheckpointError: it is not there, or cannot be used; the message says why.
        """
        try:
            arrays = read(path, state.variables())
        except Exception as error:  # a flipped bit can raise almost anything in zipfile
            known = ", ".join(p.stem for p in self.paths()) or "none"
            raise CheckpointError(
                f"Checkpoint {path} cannot be used ({str(error) or type(error).__name__}). "
                f"There are: {known}."
            ) from error
        _assign(state, arrays)

    def restore(self, state):
        """Restores the newest readable checkpoint; returns its path, or None if there is none.

        Raises:
          CheckpointError: there are checkpoints, and none can be used.
        """
        problems = []
        for path in reversed(self.paths()):
            try:
                arrays = read(path, state.variables())
            except Exception as error:  # a flipped bit can raise almost anything in zipfile
                reason = str(error) or type(error).__name__
                logging.warning(
                    "Checkpoint %s cannot be used (%s); trying the one before.", path, reason
                )
                problems.append(f"  {path}: {reason}")
                continue
            _assign(state, arrays)
            return path
        if problems:
            raise CheckpointError(
                "No checkpoint of this run can be used:\n" + "\n".join(problems) + "\n"
                "Put a good copy back, or start again in another --workdir."
            )
        return None


def read(path, variables):
    """The arrays of a checkpoint, checked against the variables by group.

    Raises:
      CheckpointError: another format, or arrays that do not fit the variables.
      Others, of zipfile and NumPy: the file is damaged.
    """
    with np.load(path, allow_pickle=False) as archive:
        meta = json.loads(bytes(archive["meta"]))
        if meta["format"] != FORMAT:
            raise CheckpointError(
                f"it is of lcss_tf {meta.get('lcss_tf', '0.1.0')}, in format {meta['format']}; "
                f"this is {lcss_tf.__version__}, which reads format {FORMAT}: install that version "
                "to go on with this run"
            )
        arrays = {"meta": meta, "measured": {}}
        for key in archive.files:
            group, _, name = key.partition("/")
            if group == "measured":
                arrays["measured"][name] = archive[key]
        for group, targets in variables.items():
            stored = sorted(key for key in archive.files if key.startswith(f"{group}/"))
            if len(stored) != len(targets):
                raise CheckpointError(
                    f"it holds {len(stored)} arrays for the {group}, which has {len(targets)}"
                )
            arrays[group] = [archive[key] for key in stored]
            for array, target in zip(arrays[group], targets, strict=True):
                if array.shape != tuple(target.shape):
                    raise CheckpointError(
                        f"{group} variable {target.path} has the shape {tuple(target.shape)}, "
                        f"the stored one {array.shape}"
                    )
    return arrays


def _assign(state, arrays):
    for group, variables in state.variables().items():
        for variable, array in zip(variables, arrays[group], strict=True):
            variable.assign(array)
    if arrays["measured"]:
        state.model.preconditioning.measured = arrays["measured"]
    state.step = arrays["meta"]["step"]
    state.nonfinite_steps = arrays["meta"]["nonfinite_steps"]


__all__ = ["CheckpointError", "Checkpoints", "read"]
