"""Checkpoints: one `.npz` a step, written whole or not at all.

Every array is stored under its group and its variable's path, with a CRC that reading checks;
nothing is pickled. The file says of what model it is, so that it can be loaded by itself. A file
appears under its final name only when complete, so that a process killed while writing loses
nothing. Where the newest file cannot be read, the one before it serves.
"""

import errno
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from lcss_tf import files, forms
from lcss_tf._version import __version__
from lcss_tf.archives import ArchiveError, ArrayArchive
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.training.state import TrainState

FORMAT = 2
BEST = "best"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = re.compile(r"step_(\d+)\.npz")
_RANGE = re.compile(r"(\d*)-(\d*)")
_META = "meta"
_META_FORM = {"format": int, "step": forms.COUNT, "nonfinite_steps": forms.COUNT, "model": dict}


class CheckpointError(UsageError):
    """There are checkpoints, but none can be used."""


class Checkpoints:
    """The checkpoints of one run, under ``<workdir>/checkpoints``.

    Args:
      workdir: the run's directory.
      every: steps between checkpoints.
      keep: how many of the newest are kept.
      patience_s: how long the last save waits for a disk that is full, trying again, in seconds.
      writes: whether this process writes; of several workers the chief alone does.

    Raises:
      UsageError: unless every >= 1 and keep >= 1.
    """

    def __init__(
        self,
        workdir: str | Path,
        every: int = 1_000,
        keep: int = 3,
        patience_s: float = 60.0,
        writes: bool = True,
    ) -> None:
        if every < 1 or keep < 1:
            raise UsageError(
                f"Checkpoints expects every >= 1 and keep >= 1; got every={every}, keep={keep}."
            )
        self.directory = Path(workdir) / "checkpoints"
        self.every = every
        self.keep = keep
        self._patience_s = patience_s
        self._writes = writes
        self._beside: dict[str, bytes] = {}

    def keep_beside(self, contents: Mapping[str, bytes]) -> None:
        """Small files of the workdir ({name: bytes}) that every save puts back if they vanished."""
        self._beside |= contents

    def prepare(self, state: TrainState) -> None:
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
                f"{missing / 2**20:,.0f} MiB are missing. Make room, or choose another workdir",
            )

    def paths(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        found = [(int(m[1]), p) for p in self.directory.glob("*") if (m := _NAME.fullmatch(p.name))]
        return [path for _, path in sorted(found)]

    @property
    def best_path(self) -> Path:
        """Where the best checkpoint is kept, if training watches a metric."""
        return self.directory / f"{BEST}.npz"

    def at(self, step: int) -> Path:
        """The path of the checkpoint at a step, which may not be there."""
        return self.directory / f"step_{step:09d}.npz"

    def chosen(self, text: str) -> list[Path]:
        """Paths of checkpoints, oldest first.

        Args:
          text: "newest", "best", "all", a step as "4000", or a range as "1000-4000", "1000-".

        Raises:
          CheckpointError: there is none such; the message lists those there are.
          UsageError: another text.
        """
        paths, text = self.paths(), text.replace("_", "").replace(",", "")
        if text == BEST:
            found = [self.best_path] if self.best_path.is_file() else []
        elif text == "newest":
            found = paths[-1:]
        elif text == "all":
            found = paths
        elif text.isdigit():
            found = [path for path in paths if step_of(path) == int(text)]
        elif (match := _RANGE.fullmatch(text)) and any(match.groups()):
            low, high = int(match[1] or 0), int(match[2] or 10**18)
            found = [path for path in paths if low <= (step_of(path) or 0) <= high]
        else:
            raise UsageError(
                f"checkpoint={text!r}: expected newest, best, all, a step as 4000, or a range as "
                "1000-4000, 1000- or -4000."
            )
        if not found:
            there = ", ".join(f"{step_of(path):,}" for path in paths) or "none"
            raise CheckpointError(
                f"No checkpoint fits checkpoint={text}. Steps there are: {there}. Checkpoints.keep "
                "sets how many are kept in training, Watch.every keeps the best."
            )
        return found

    def candidates(self, text: str = "newest") -> Iterator[Path]:
        """Checkpoints to try, the newest first; "newest" tries those before it too.

        A training that runs may remove one before it is read. So each time it is looked up anew
        what there is, and one that was written meanwhile is tried as well.

        Raises:
          CheckpointError, UsageError: as `chosen`, if there is nothing to try.
        """
        tried: set[Path] = set()
        while True:
            try:
                found = self.paths() if text == "newest" else self.chosen(text)
            except CheckpointError:
                if tried:
                    return
                raise
            left = [path for path in found if path not in tried]
            if not left:
                return
            tried.add(left[-1])
            yield left[-1]

    def save(self, state: TrainState, patient: bool = False) -> Path:
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
                if not patient or time.monotonic() - start > self._patience_s:
                    text = f"{error.strerror or error}; make room there"
                    raise OSError(error.errno, text, str(path)) from error
                warn("%s could not be written (%s); trying again.", path, error)
                time.sleep(1.0)
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def _remove_oldest(self, path: Path) -> bool:
        """Removes the oldest checkpoint, if a newer one is left; returns whether there was one."""
        others = [other for other in self.paths() if other != path]
        if len(others) < 2:
            return False
        warn("No room for %s: %s is removed.", path.name, others[0].name)
        others[0].unlink(missing_ok=True)
        return True

    def write(self, path: Path, state: TrainState) -> Path:
        """Writes the state to a file of this folder, whole or not at all; returns the path."""
        if not self._writes:
            return path
        arrays = arrays_of(state)
        self.directory.mkdir(parents=True, exist_ok=True)
        for name, content in self._beside.items():
            if not (self.directory.parent / name).exists():
                files.write_bytes(self.directory.parent / name, content)
        return files.write_arrays(path, arrays, durable=True)

    def load(self, state: TrainState, path: Path) -> None:
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
        assign(state, arrays)

    def restore(self, state: TrainState) -> Path | None:
        """Restores the newest readable checkpoint; returns its path, or None if there is none.

        Raises:
          CheckpointError: there are checkpoints, and none can be used.
        """
        problems = []
        for path in self.candidates():
            try:
                arrays = read(path, state.variables())
            except Exception as error:  # a flipped bit can raise almost anything in zipfile
                reason = str(error) or type(error).__name__
                warn("Checkpoint %s cannot be used (%s); trying the one before.", path, reason)
                problems.append(f"  {path}: {reason}")
                continue
            assign(state, arrays)
            return path
        if problems:
            raise CheckpointError(
                "No checkpoint of this run can be used:\n" + "\n".join(problems) + "\n"
                "Put a good copy back, or start again in another workdir."
            )
        return None


def step_of(path: Path) -> int | None:
    """The step of a checkpoint's file; None of the best one's."""
    digits = path.stem.removeprefix("step_")
    return int(digits) if digits.isdigit() else None


def meta_of(state: TrainState) -> dict[str, Any]:
    """What a checkpoint says of itself, but for the description of its model."""
    meta = {
        "format": FORMAT,
        "lcss_tf": __version__,
        "step": state.step,
        "nonfinite_steps": state.nonfinite_steps,
    }
    if state.optimizer is not None:  # steps that were skipped are no updates
        meta["updates"] = int(state.optimizer.iterations.numpy())
    return meta


def arrays_of(state: TrainState, groups: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint: ``meta``, ``<group>/<path>``, and what was measured.

    Args:
      state: what it holds.
      groups: of variables; None: all.
    """
    meta = meta_of(state) | {"model": state.description}
    return {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8), **values_of(state, groups)}


def values_of(state: TrainState, groups: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The same without ``meta``."""
    arrays = {
        name: np.asarray(v.numpy())
        for name, v in state.variables_by_name().items()
        if groups is None or name.partition("/")[0] in groups
    }
    for name, value in (state.score.preconditioning.measured or {}).items():
        arrays[f"measured/{name}"] = value
    for name, value in state.sde.measured.items():
        arrays[f"sde/{name}"] = value
    return arrays


def description_of(path: Path, read_its_meta: Callable[[Path], dict] | None = None) -> dict:
    """Of what model a checkpoint is.

    Args:
      path: of the file, or of what `read_its_meta` reads.
      read_its_meta: `read_meta`, or its like for files of another kind.

    Raises:
      CheckpointError: the file cannot be used; names it, and says why.
    """
    try:
        return (read_its_meta or read_meta)(path)["model"]
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (ArchiveError, OSError) as error:
        raise CheckpointError(
            f"{path} is no model of lcss_tf, or is damaged ({error}). Put a good copy back."
        ) from error


def fill(state: TrainState, path: Path, read_it: Callable[..., dict] | None = None) -> None:
    """Gives a state that was built by `description_of` a checkpoint what the checkpoint holds.

    Args:
      state: the state.
      path: of the file, or of what `read_it` reads.
      read_it: `read`, or its like for files of another kind.

    Raises:
      CheckpointError: the file cannot be used; names it, and says why.
    """
    try:
        assign(state, (read_it or read)(path, state.variables()))
    except UsageError as error:
        raise CheckpointError(
            f"{path} is damaged, or does not fit its own description: {error}"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error


def read_meta(path: str | Path) -> dict:
    """What a checkpoint says of itself: its step, and the model it is of.

    Raises:
      CheckpointError: the file is of another format, or does not say it.
      ArchiveError, OSError: the file is damaged.
    """
    with ArrayArchive(path) as archive:
        return _meta(archive)


def read(path: str | Path, variables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The arrays of a checkpoint, whose claims are compared with the variables before any is read.

    Raises:
      CheckpointError: another format, or arrays that do not fit the variables.
      ArchiveError, OSError: the file is damaged.
    """
    with ArrayArchive(path) as archive:
        return {_META: _meta(archive), **read_groups(archive, variables)}


class Stored(Protocol):
    """A file of arrays that says what they are before they are read: `ArrayArchive`, and others."""

    @property
    def names(self) -> list[str]:
        """Of the arrays."""

    def claim(self, name: str) -> Any:
        """What an array says it is: its ``shape`` and ``dtype``."""

    def read(self, name: str, shape: Any = None) -> np.ndarray:
        """An array, which must be of the shape."""


def read_groups(
    archive: Stored, variables: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, np.ndarray]]:
    """{group: {name: array}} of the variables, and of what was measured; see `read`."""
    for group, targets in variables.items():
        _check_group(archive, group, targets)
    arrays = {name: _group(archive, name) for name in ("measured", "sde")}
    for group, targets in variables.items():
        arrays[group] = {
            name: archive.read(f"{group}/{name}", tuple(target.shape))
            for name, target in targets.items()
        }
    return arrays


def _check_group(archive: Stored, group: str, targets: Mapping[str, Any]) -> None:
    """Raises CheckpointError unless the stored arrays claim to be those of the variables."""
    stored = {key for key in archive.names if key.startswith(f"{group}/")}
    wanted = {f"{group}/{path}" for path in targets}
    if stored != wanted:
        raise CheckpointError(
            f"its arrays of the {group} are others: {_few(stored - wanted)} are stored and "
            f"unknown, {_few(wanted - stored)} are missing"
        )
    for name, target in targets.items():
        claim, dtype = archive.claim(f"{group}/{name}"), tf.as_dtype(target.dtype).as_numpy_dtype
        if claim.shape != tuple(target.shape) or claim.dtype != dtype:
            raise CheckpointError(
                f"{group} variable {name} has the shape {tuple(target.shape)} and the dtype "
                f"{np.dtype(dtype)}, the stored one {claim.shape} and {claim.dtype}"
            )


def _meta(archive: ArrayArchive) -> dict:
    text = bytes(archive.read(_META, (None,), np.uint8))
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its description is damaged ({error})") from error
    return check_meta(meta)


def check_meta(meta: Any) -> dict:
    """What a checkpoint says of itself, once its form is known to be that which is read here.

    Raises:
      CheckpointError: it is of another format, or damaged.
    """
    try:
        form = meta["format"]
    except (LookupError, TypeError) as error:
        raise CheckpointError(f"its description is damaged ({error})") from error
    if form != FORMAT:
        raise CheckpointError(
            f"it is of lcss_tf {meta.get('lcss_tf', '0.1.0')}, in format {form}; this is "
            f"{__version__}, which reads format {FORMAT}: install that version to resume this run"
        )
    problem = forms.mismatch(meta, _META_FORM)
    if problem:
        raise CheckpointError(f"its description is damaged: {problem}")
    return meta


def _group(archive: Stored, group: str) -> dict[str, np.ndarray]:
    prefix = f"{group}/"
    return {k[len(prefix) :]: archive.read(k) for k in archive.names if k.startswith(prefix)}


def _few(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return f"{len(names)} ({shown}{', …' if len(names) > 3 else ''})" if names else "none"


def assign(state: TrainState, arrays: Mapping[str, Any]) -> None:
    """Takes over what `read` returned."""
    for group, variables in state.variables().items():
        for path, variable in variables.items():
            if path in arrays.get(group, {}):
                variable.assign(arrays[group][path])
    if arrays["measured"]:
        state.score.preconditioning.measured = arrays["measured"]
    if arrays["sde"]:
        state.sde.measured = arrays["sde"]
    state.step = arrays["meta"]["step"]
    state.nonfinite_steps = arrays["meta"]["nonfinite_steps"]


__all__ = [
    "BEST",
    "CheckpointError",
    "Checkpoints",
    "Stored",
    "arrays_of",
    "assign",
    "description_of",
    "fill",
    "check_meta",
    "meta_of",
    "read",
    "read_groups",
    "read_meta",
    "step_of",
    "values_of",
]
