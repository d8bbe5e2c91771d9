"""The directory of one run: who may write in it, and what the run is of."""

import contextlib
import dataclasses
import errno
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from lcss_tf import files, forms
from lcss_tf.data.base import DataInfo
from lcss_tf.data.rescaling import as_described
from lcss_tf.display import Tolerance, warn
from lcss_tf.errors import UsageError
from lcss_tf.training.checkpoints import Checkpoints, read_meta
from lcss_tf.training.names import DATA, MODEL, RECORD

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None  # type: ignore[assignment]

_MODEL_REMEDY = "Remove it, and it is written again; the checkpoints know the model too."
_DESCRIPTION = {"data": forms.Optional(dict), "source": forms.Optional(dict)}
_FAILURES = {"failures": forms.Optional({str: {"times": forms.COUNT}})}
_LOCK = ".lock"
_LOOKS, _LOOK_S = 4, 0.05  # how often a lock that is held is tried, and the pause between
# Names that Keras numbers by what the process has made before, and the version that wrote. What
# the data were is compared by `as_begun`.
_UNCOMPARED = {"name", "lcss_tf", "source"}
_ROUNDING = 1e-9  # relative: what another machine's sums may differ by


@contextlib.contextmanager
def only_process(workdir: str | Path, what: str = "") -> Iterator[None]:
    """Makes the directory, and holds its lock while the block runs.

    The lock is the operating system's: it ends with the process, however that ends. On a file
    system without locks a warning is logged, and nothing is held. What processes that were killed
    left half written an hour ago or earlier goes.

    Args:
      workdir: the directory.
      what: what is written into it, a name: its own lock then, beside those of others, whose file
        goes when the block ends. By default the directory as a whole, a training's.

    Raises:
      UsageError: another process holds it, or the workdir cannot be written.
    """
    path = lock_path(workdir, what)
    with _opened(path, workdir) as file:
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
            file.truncate(0)
            holder = {"pid": os.getpid(), "host": socket.gethostname()}
            file.write(json.dumps(holder | {"since": time.strftime("%F %T")}))
            file.flush()
        files.sweep(workdir)
        try:
            yield
        finally:
            if what:
                path.unlink(missing_ok=True)


def lock_path(workdir: str | Path, what: str = "") -> Path:
    """The file of the lock that `only_process` holds."""
    return Path(workdir) / (f".{what}{_LOCK}" if what else _LOCK)


def in_use(workdir: str | Path) -> bool | None:
    """Whether a process holds the directory's lock; None where locks tell nothing."""
    if fcntl is None:
        return None
    try:
        with open(lock_path(workdir)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None


def _opened(path: Path, workdir: str | Path) -> IO:
    """The lock's file, locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+")  # noqa: SIM115
        except OSError as error:
            raise UsageError(
                f"{workdir} cannot be written: {error}. Choose another workdir (--workdir)."
            ) from error
        try:
            _acquire(file, workdir)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()  # its holder removed it meanwhile: another process would make a new one


def _acquire(file: IO, workdir: str | Path) -> None:
    if fcntl is None:
        return
    try:
        for left in reversed(range(_LOOKS)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # for a moment: `in_use` may be looking
                if not left:
                    raise
                time.sleep(_LOOK_S)
    except BlockingIOError:
        file.seek(0)
        try:
            holder = "process {pid} on {host}, since {since}".format(**json.loads(file.read()))
        except (ValueError, LookupError, TypeError, RecursionError):
            holder = "another process"
        raise UsageError(
            f"{workdir} is being used by {holder}. Two would overwrite each other's files: wait "
            "for it, stop it (kill), or choose another place (--workdir, --out, --logs)."
        ) from None
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error))
        warn(
            "The file system of %s has no locks (%s). Nothing keeps a second process from writing "
            "into the same place: see to it yourself.", workdir, name,
        )  # fmt: skip


def check_same_model(workdir: str | Path, description: dict) -> None:
    """Raises UsageError if the workdir holds a run of another model; names what differs."""
    stored = files.read_json(Path(workdir) / MODEL, dict, _MODEL_REMEDY)
    if stored is None:
        return
    differing = list(_differences(stored, json.loads(json.dumps(description)), ""))
    if differing:
        raise UsageError(
            f"{workdir} holds a run of another model. It differs in:\n"
            + "\n".join(f"  {line}" for line in differing[:20])
            + "\nChoose another workdir, or resume from its checkpoint with the new model by "
            "Trainer(resume='force') (--resume=force)."
        )


def source_of(data: Any) -> dict[str, Any]:
    """What data are now, as JSON has it: their own scaling, and their fingerprint if they have one.

    It stands in a run's description as ``source``.
    """
    known = data.fingerprint() if hasattr(data, "fingerprint") else None
    record = {"scaling": dataclasses.asdict(data.info().scaling)} | (known or {})
    beside = getattr(data, "condition", None)
    if beside is not None:
        record["condition"] = source_of(beside)
    return json.loads(json.dumps(record))


def as_begun(data: Any, workdir: str | Path, force: bool, distribution: Any) -> Any:
    """The data in the scaling of the run that a workdir holds, so that its weights still fit them.

    Args:
      data: a `Dataset`.
      workdir: the run's.
      force: whether other data than those it began with will do.
      distribution: its chief decides for all workers.

    Returns:
      `data` itself where nothing was trained yet or the scaling is the same; else a `Rescaled`.

    Raises:
      UsageError: the data are not what they were; names what changed, and the remedy.
    """
    kept = ""
    if distribution.is_chief:
        kept = _kept_description(data, Path(workdir), force)
    kept = _from_chief(kept, distribution)
    return as_described(data, DataInfo.from_json(kept)) if kept else data


def _kept_description(data: Any, workdir: Path, force: bool) -> str:
    paths = Checkpoints(workdir).paths()
    stored = _description(paths) or files.read_json(workdir / MODEL, _DESCRIPTION, _MODEL_REMEDY)
    if not stored or not stored.get("data"):
        return ""
    known = DataInfo.from_dict(stored["data"])
    info, source = json.loads(data.info().to_json()), source_of(data)
    if stored["data"].get("classes"):  # of a network that was told their names
        info["classes"] = list(data.class_names())
    before = stored.get("source") or {"scaling": stored["data"]["scaling"]}
    changed = [
        *_differences(_without_scaling(stored["data"]), _without_scaling(info), ""),
        *_differences(before, {key: source.get(key) for key in before}, ""),
    ]
    if changed and not force:
        lines = "\n".join(f"  {line}" for line in changed[:20])
        raise UsageError(
            f"{workdir} holds a run on other data than {data.name} is now. What changed:\n{lines}\n"
            "Put the data back as they were, or train in another workdir. Or resume with the data "
            "as they are now by Trainer(resume='force') (--resume=force): it keeps the scaling "
            "that it began with."
        )
    if not paths or known.shape != data.info().shape:
        return ""  # no weights that know the scaling, or none that fit the data
    if changed:
        warn(
            "The data %s are not those that the run in %s began with (%s). It keeps its scaling.",
            data.name, workdir, "; ".join(changed[:3]),
        )  # fmt: skip
    return known.to_json()


def _description(paths: Sequence[Path]) -> dict | None:
    """What the newest readable checkpoint is of."""
    for path in reversed(paths):
        try:
            found = read_meta(path)["model"]
        except (UsageError, OSError):
            continue
        if not forms.mismatch(found, _DESCRIPTION):
            return found
    return None


def _without_scaling(info: dict) -> dict:
    kept = {key: value for key, value in info.items() if key != "scaling"}
    if kept.get("condition"):
        kept["condition"] = _without_scaling(kept["condition"])
    return kept


def _from_chief(text: str, distribution: Any) -> str:
    """The chief's text, in all workers."""
    if distribution.num_workers == 1:
        return text
    content = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
    length = int(distribution.from_chief([np.int32(len(content))])[0])
    padded = np.zeros(length, np.int32)
    padded[: len(content)] = content[:length]
    return bytes(distribution.from_chief([padded])[0].astype(np.uint8)).decode() if length else ""


def write_description(workdir: str | Path, description: dict) -> dict[str, bytes]:
    """Records what the run is of; returns {name: bytes} of what was written."""
    contents = {
        MODEL: json.dumps(description, indent=1).encode(),
        DATA: json.dumps(description["data"], indent=1).encode(),
    }
    for name, content in contents.items():
        files.write_bytes(Path(workdir) / name, content)
    return contents


def record_failures(workdir: str | Path, tolerance: Tolerance) -> None:
    """Adds what failed while training continued to the run's record, under ``failures``.

    Raises:
      UsageError: the record is damaged; it is left as it is.
    """
    path = Path(workdir) / RECORD
    record = files.read_json(path, _FAILURES) or {}
    failures = record["failures"] = record.get("failures") or {}
    for name, count in tolerance.failures.items():
        before = failures.get(name, {}).get("times", 0)
        failures[name] = {"times": before + count, "last": tolerance.errors[name]}
    files.write_json(path, record, indent=2)


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted((old.keys() | new.keys()) - _UNCOMPARED):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif not _same(old, new):
        yield f"{path}: {_short(old)} there, {_short(new)} now"


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=_ROUNDING)
    return old == new


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"


__all__ = [
    "DATA",
    "MODEL",
    "RECORD",
    "as_begun",
    "check_same_model",
    "in_use",
    "lock_path",
    "only_process",
    "record_failures",
    "source_of",
    "write_description",
]
