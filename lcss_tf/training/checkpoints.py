"""Checkpoints: one `.npz` a step, written whole or not at all.

Every array is stored under its group and index with a CRC that reading checks;
nothing is pickled. A file appears under its final name only when complete, so that
a process killed while writing loses nothing. Where the newest file cannot be read,
the one before it serves.
"""

import json
import os
import re
from pathlib import Path

import gin
import numpy as np
from absl import logging

FORMAT = 1
_NAME = re.compile(r"step_(\d+)\.npz")


class CheckpointError(RuntimeError):
    """There are checkpoints, but none can be used."""


@gin.configurable("checkpoints", denylist=["workdir"])
class Checkpoints:
    """The checkpoints of one run, under ``<workdir>/checkpoints``.

    Args:
      workdir: the run's directory.
      every: steps between checkpoints.
      keep: how many of the newest are kept.

    Raises:
      ValueError: unless every >= 1 and keep >= 1.
    """

    def __init__(self, workdir, every=1_000, keep=3):
        if every < 1 or keep < 1:
            raise ValueError(
                f"checkpoints expects every >= 1 and keep >= 1; got every={every}, keep={keep}."
            )
        self.directory = Path(workdir) / "checkpoints"
        self.every = every
        self.keep = keep

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

    def save(self, state):
        """Writes the state at its step, and removes all but the newest `keep`."""
        path = self.write(self.at(state.step), state)
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def write(self, path, state):
        """Writes the state to a file of this folder, whole or not at all; returns the path."""
        meta = {"format": FORMAT, "step": state.step, "nonfinite_steps": state.nonfinite_steps}
        arrays = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
        for group, variables in state.variables().items():
            for i, variable in enumerate(variables):
                arrays[f"{group}/{i:05d}"] = variable.numpy()
        for name, value in (state.model.preconditioning.measured or {}).items():
            arrays[f"measured/{name}"] = value
        self.directory.mkdir(parents=True, exist_ok=True)
        _write_whole(path, arrays)
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
                f"its format is {meta['format']}, this version of lcss_tf reads {FORMAT}"
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


def _write_whole(path, arrays):
    """Writes an .npz under a temporary name, flushes it to the disk, then renames it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes_whole(path, content):
    """Writes a small file atomically."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


__all__ = ["CheckpointError", "Checkpoints", "read", "write_bytes_whole"]
