"""Post-hoc EMA: snapshots of power-function averages, and other lengths made of them afterwards.

How long the average of the weights should be is found out after training, not before (Karras et
al., 2024, section 3.2). A run with ``ScoreModel.average = @averages.PowerFunction()`` keeps two
averages, and snapshots of both in ``<workdir>/averages``. Any other length is a combination of
them: ``ScoreModel.load(workdir, sigma_rel=0.07)``, or ``lcss ema``.

A snapshot is a checkpoint without the network and the optimiser: written whole or not at all, with
a CRC of every array.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lcss_tf import files, serialization
from lcss_tf.averages import Combination, PowerFunction, Profile, combination
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.registry import AVERAGES
from lcss_tf.training.checkpoints import arrays_of, read, read_meta, step_of
from lcss_tf.training.loop import Periodic, Run
from lcss_tf.training.state import TrainState

FOLDER = "averages"
_NAME = re.compile(r"step_\d+\.npz")
_ROUGH = 0.05  # a relative error of the profile that is worth a warning


class Snapshots(Periodic):
    """Keeps snapshots of the averages in ``<workdir>/averages``, for other lengths afterwards.

    They are evenly spaced, and at most `keep`: when there would be more, the interval doubles, and
    every other one goes. The same ones are there after an interruption.

    Args:
      every: steps between snapshots; 0: none. By default the smallest power of two by which the
        run has at most `keep`. Nothing is kept where the averages are no `PowerFunction`.
      keep: the most snapshots; each takes the memory of all averages.

    Raises:
      UsageError: keep < 2.
    """

    keeps_averages = True

    def __init__(self, every: int | None = None, keep: int = 64) -> None:
        super().__init__(every or 0)
        if keep < 2:
            raise UsageError(f"Snapshots.keep must be at least 2; got {keep}.")
        self._given, self._keep = every, keep

    def begin(self, run: Run) -> None:
        """See `Periodic`.

        Raises:
          UsageError: `every` is given, and there is nothing to keep, or no place for it.
        """
        super().begin(run)
        state = run.state
        has_lengths = bool(state.averaging.sigma_rels)
        if self._given and not has_lengths:
            raise UsageError(
                f"Snapshots.every = {self._given}, and the run keeps no average that others can "
                "be made of. Set ScoreModel.average = @averages.PowerFunction(), from Python "
                "ScoreModel(average=averages.PowerFunction()), or leave Snapshots.every out."
            )
        if self._given and run.workdir is None:
            raise UsageError(
                f"Snapshots.every = {self._given}, and the run has no place to keep them. Give "
                "fit a workdir."
            )
        self.every = 0
        self._first = state.step
        self._missed: dict[str, Any] | None = None
        if not has_lengths or run.workdir is None or self._given == 0:
            return
        self._folder = Path(run.workdir) / FOLDER
        self.every = self._given or 1 << max(0, -(-run.steps // self._keep) - 1).bit_length()
        # The process may have been killed between the checkpoint of a step and its snapshot.
        due = state.step and state.step % self._interval(state.step) == 0
        if due and not self._path(state.step).exists():
            self._missed = self._arrays()

    def started(self) -> None:
        """See `Periodic`. What a run that was killed kept of later steps goes: it comes again."""
        if self.every:
            self.run.tolerance("Snapshots", self._tidy)

    def _tidy(self) -> None:
        for left in self._folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        for path in paths(self._folder):
            if (step_of(path) or 0) > self._first:
                path.unlink(missing_ok=True)
        if self._missed is not None:
            files.write_arrays(self._path(self._first), self._missed, durable=True)
            self._missed = None

    def act(self, step: int) -> None:
        """Writes a snapshot where one is due; at the end of a run its checkpoint serves."""
        interval = self._interval(step)
        if step % interval or not self.run.state.distribution.is_chief:
            return
        files.write_arrays(self._path(step), self._arrays(), durable=True)
        for path in paths(self._folder) if interval > self.every else ():
            if (step_of(path) or 0) % interval:
                path.unlink(missing_ok=True)

    def _interval(self, step: int) -> int:
        """Steps between the snapshots that are kept at a step."""
        interval = self.every
        while step // interval > self._keep:
            interval *= 2
        return interval

    def _path(self, step: int) -> Path:
        return self._folder / f"step_{step:09d}.npz"

    def _arrays(self) -> dict[str, Any]:
        state = self.run.state
        return arrays_of(state, state.averaging.groups)


def with_snapshots(run: Run, callbacks: Sequence[Any]) -> list[Any]:
    """The callbacks of a run, with `Snapshots` unless they are among them."""
    among = any(getattr(callback, "keeps_averages", False) for callback in callbacks)
    return [*callbacks] if among else [*callbacks, Snapshots()]


def paths(folder: str | Path) -> list[Path]:
    """The snapshots in a folder, oldest first."""
    found = [path for path in Path(folder).glob("step_*.npz") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: step_of(path) or 0)


class Reconstruction:
    """An average of another length than those that a run kept, as of one of its checkpoints.

    Args:
      path: of the checkpoint; its own averages and the snapshots up to its step are combined.
      sigma_rel: the length wanted, as a share of the updates up to the checkpoint.

    Attributes:
      average: a `PowerFunction` of this length alone.

    Raises:
      UsageError: the length is out of its range, or the run kept no averages to combine.
      CheckpointError, ArchiveError, OSError: the checkpoint cannot be read.
    """

    def __init__(self, path: Path, sigma_rel: float) -> None:
        self.average = PowerFunction((sigma_rel,))
        meta = read_meta(path)
        self._wanted = Profile(_updates(meta), float(sigma_rel))
        self._sources: dict[Profile, tuple[Path, str]] = {}
        self._add(path, meta)
        if not self._sources:
            raise UsageError(
                f"{path} is of a run without averages that others can be made of. Train with "
                "ScoreModel.average = @averages.PowerFunction(), from Python "
                "ScoreModel(average=averages.PowerFunction())."
            )
        for snapshot in paths(path.parent.parent / FOLDER):
            if (step_of(snapshot) or 0) < meta["step"]:
                try:
                    self._add(snapshot, read_meta(snapshot))
                except (UsageError, OSError) as error:
                    warn("Snapshot %s cannot be used (%s); the others are.", snapshot, error)

    def _add(self, path: Path, meta: dict) -> None:
        described = meta["model"].get("average")
        if not described:
            return
        averaging = serialization.restore(described, AVERAGES)
        for sigma_rel, group in zip(averaging.sigma_rels, averaging.groups, strict=False):
            self._sources[Profile(_updates(meta), sigma_rel)] = path, group

    @property
    def num_snapshots(self) -> int:
        """How many times of the training are combined, the checkpoint's own with them."""
        return len({path for path, _ in self._sources.values()})

    def combination(self) -> Combination:
        """The coefficients of what is stored, and the relative error of the profile."""
        return combination(list(self._sources), self._wanted)

    def fill(self, state: TrainState) -> Combination:
        """Sets a state's average; returns how it was made.

        A snapshot that turns out to be damaged is left out, with a warning.

        Raises:
          CheckpointError, OSError: the checkpoint itself is damaged.
        """
        targets = state.variables()["ema"]
        while True:
            found = self.combination()
            sums, bad = self._sum(found, targets)
            if bad is None:
                break
            self._sources = {p: s for p, s in self._sources.items() if s[0] != bad}
        for name, variable in targets.items():
            variable.assign(sums[name])
        if found.error > _ROUGH:
            warn(
                "The average of sigma_rel = %g is made of %d snapshots, and its profile is off by "
                "%.0f%%. Choose a length closer to those of the run, or train with more snapshots "
                "(Snapshots.every).",
                self._wanted.sigma_rel, self.num_snapshots, 100 * found.error,
            )  # fmt: skip
        return found

    def _sum(self, found: Combination, targets: dict) -> tuple[dict[str, Any], Path | None]:
        """Σ x_i θ̄_i by name, in float64; or the path of a file that is damaged."""
        sums: dict[str, Any] = {}
        newest = max(path for path, _ in self._sources.values())
        by_path: dict[Path, dict[str, float]] = {}
        for x, (path, group) in zip(found.coefficients, self._sources.values(), strict=True):
            if x:
                by_path.setdefault(path, {})[group] = float(x)
        for path, coefficients in by_path.items():
            try:
                arrays = read(path, dict.fromkeys(coefficients, targets))
            except (UsageError, OSError) as error:
                if path == next(iter(self._sources.values()))[0]:  # the checkpoint itself
                    raise
                warn("Snapshot %s cannot be used (%s); the others are.", path, error)
                return {}, path
            for group, x in coefficients.items():
                for name, value in arrays[group].items():
                    if value.dtype.kind == "f":
                        sums[name] = sums.get(name, 0.0) + x * value.astype(np.float64)
                    elif path == newest or name not in sums:  # a count, which has no mean
                        sums[name] = value
        return sums, None


def _updates(meta: dict) -> int:
    """Updates of the weights up to a checkpoint: the steps that were not skipped."""
    return int(meta.get("updates", meta["step"]))


__all__ = ["FOLDER", "Reconstruction", "Snapshots", "paths", "with_snapshots"]
