"""What the commands record beside a run, and how they find it again."""

import contextlib
import importlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np

from lcss_tf import files, forms
from lcss_tf._version import __version__
from lcss_tf.commands import _gin
from lcss_tf.commands._gin import binding_table
from lcss_tf.commands._places import ConfigError, check_is_run, is_run
from lcss_tf.data.rescaling import as_described
from lcss_tf.errors import UsageError
from lcss_tf.model import ScoreModel
from lcss_tf.training import loop
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints, read_meta, step_of
from lcss_tf.training.names import CONFIG, RECORD
from lcss_tf.training.workdir import as_begun, write_description

_CONFIG, _OPERATIVE, _RUN = CONFIG, "operative_config.gin", RECORD
_RECORD = {
    "imports": [forms.TEXT],
    "devices": forms.Optional([forms.TEXT]),
    "lcss_tf": forms.Optional(forms.TEXT),
    "started": forms.Optional(forms.TEXT),
    "versions": forms.Optional({str: forms.TEXT}),
    "failures": forms.Optional(dict),
}
_RUN_REMEDY = (
    'Put a good copy back, or write {"imports": []} into it if the run needs no module of yours.'
)
_VERSIONS = ("tensorflow", "keras", "numpy")
_OFFERED = ".offered"  # a folder of the workdir
# What binds the devices, and what changes no number of a run: neither is part of what it is.
_DEVICES = re.compile(r"^Distribution\.\w+ = .*\n", re.MULTILINE)
_NUMBERLESS = (
    "Checkpoints.", "Pictures.", "Watch.", "Trainer.", "Evaluation.", "sample.", "Snapshots.",
    "Guidance.", "fit.callbacks",
    *(f"{name}." for name in _gin.KERAS_CALLBACKS),
)  # fmt: skip

_COMPARED_BY_DATA = ".on_bad_example"  # what it leaves out shows in the data's fingerprint


def default_workdir(gin_file: str | Path) -> Path:
    """runs/<name of the gin file>."""
    return Path("runs") / Path(gin_file).stem


def check_configuration(workdir: str | Path, force: bool = False) -> None:
    """Raises ConfigError if the workdir holds a run with another configuration; names the keys.

    The devices are not compared: a run resumes on whatever devices there are. Nor is what changes
    no number: rhythms of checkpoints, pictures and figures.
    """
    stored = Path(workdir) / _CONFIG
    if force or not stored.is_file():
        return
    _check_version(workdir)
    differing = _differing_keys(files.read_text(stored), parsed_config())
    if differing:
        raise ConfigError(
            f"{workdir} holds a run with another configuration. It differs in:\n"
            + "\n".join(f"  {line}" for line in differing)
            + "\nChoose another --workdir, or resume from its checkpoint with the new "
            "configuration by --resume=force."
        )


def records(imports: Sequence[str] = ()) -> dict[str, bytes]:
    """{name: bytes} of what a run records: its configuration, and where it came from."""
    imports = [str(Path(m).resolve()) if m.endswith(".py") else m for m in imports]
    run = provenance() | {"imports": imports, "devices": device_bindings()}
    return {_CONFIG: parsed_config().encode(), _RUN: json.dumps(run, indent=2).encode()}


def write_records(workdir: str | Path, contents: dict[str, bytes]) -> None:
    """Writes them.

    Raises:
      ConfigError: the workdir cannot be written.
    """
    failures = _failures(workdir)
    with _writing(workdir):
        for name, content in contents.items():
            files.write_bytes(Path(workdir) / name, content)
        if failures and _RUN in contents:
            record = json.loads(contents[_RUN]) | {"failures": failures}
            files.write_json(Path(workdir) / _RUN, record, indent=2)


def _failures(workdir: str | Path) -> dict[str, Any]:
    """What failed while the run continued, as its record has it; {} where that is damaged."""
    try:
        return (files.read_json(Path(workdir) / _RUN, dict) or {}).get("failures") or {}
    except UsageError:  # it is written anew
        return {}


def offer(workdir: str | Path, contents: dict[str, bytes]) -> None:
    """Lays records beside the run's own, for processes that are to begin under them.

    Until `adopt` the workdir stays a run of what it was a run of.
    """
    shutil.rmtree(Path(workdir) / _OFFERED, ignore_errors=True)
    write_records(Path(workdir) / _OFFERED, contents)


def offered(workdir: str | Path) -> Path:
    """Where the records are that a process of this workdir is to begin under."""
    place = Path(workdir) / _OFFERED
    return place if is_run(place) else Path(workdir)


def adopt(workdir: str | Path) -> None:
    """The run has begun under the offered records, if there are any: they are its own now."""
    place = Path(workdir) / _OFFERED
    if is_run(place):
        write_records(workdir, {p.name: p.read_bytes() for p in place.iterdir() if p.is_file()})
        shutil.rmtree(place, ignore_errors=True)


def withdraw(workdir: str | Path) -> None:
    """Nothing began under the offered records: they go."""
    shutil.rmtree(Path(workdir) / _OFFERED, ignore_errors=True)


def write_operative(workdir: str | Path) -> dict[str, bytes]:
    """Writes the operative configuration, every parameter that was used; returns {name: bytes}."""
    content = gin.operative_config_str().encode()
    files.write_bytes(Path(workdir) / _OPERATIVE, content)
    return {_OPERATIVE: content}


def begin(run: loop.Run, workdir: str | Path | None = None, checkpoint: str = "newest") -> None:
    """Brings a planned training to where a run stands, or to before its first step.

    Args:
      run: what is trained.
      workdir: of the run; None: there is none yet.
      checkpoint: of the run.

    Raises:
      UsageError: the run's data are not what they were when it began.
      FileNotFoundError: the data are missing.
    """
    if workdir is None:
        loop.measure(run)
        return
    checkpoints = Checkpoints(workdir)
    checkpoints.load(run.state, checkpoints.chosen(checkpoint)[-1])
    run.data = as_begun(run.data, workdir, False, run.state.distribution)


def write_run(workdir: str | Path, model: ScoreModel, imports: Sequence[str] = ()) -> Path:
    """Makes a model that was not trained here a run, at its step; returns its checkpoint's path.

    Args:
      workdir: the run's directory.
      model: knows the data that it is of.
      imports: users' modules, recorded with the run.
    """
    model.state.description = model.description()
    write_records(workdir, records(imports))
    write_description(workdir, model.state.description)
    write_operative(workdir)
    return Checkpoints(workdir).save(model.state)


def parsed_config() -> str:
    """The parsed configuration as a text, without what binds the devices."""
    # gin underlines its titles over the whole width.
    config = re.sub(r"={80,}", "=" * 78, gin.config_str(max_line_length=10_000))
    return _DEVICES.sub("", config)


def device_bindings() -> list[str]:
    """The bindings of `Distribution`, which no run's record holds."""
    return [line.strip() for line in _DEVICES.findall(gin.config_str(max_line_length=10_000))]


def hyperparameters() -> dict[str, str]:
    """The parsed configuration as a flat dict of short texts, for TensorBoard."""
    table = binding_table(gin.config_str(max_line_length=10_000))
    return {key: value[:80] for key, value in table.items()}


def load_configuration(
    workdir: str | Path, bindings: Sequence[str] = (), more_imports: Sequence[str] = ()
) -> list[str]:
    """Parses the configuration of a run, and imports the user's modules it named; returns them.

    Modules of `more_imports` are imported too.

    Raises:
      FileNotFoundError: the workdir holds no run; the message lists runs beside it.
      ConfigError: the run is of an earlier version; the message says of which.
    """
    workdir = Path(workdir)
    check_is_run(workdir)
    _check_version(workdir)
    imports = recorded(workdir)["imports"]
    _gin.load(workdir / _CONFIG, bindings, [*imports, *more_imports])
    return imports


def load_model(workdir: str | Path, checkpoint: str = "newest") -> ScoreModel:
    """The model of a run whose configuration is loaded, on the devices that it binds.

    Of several workers all load what the chief finds, not what is newest a moment later.
    """
    _gin.share_cores("sample")
    distribution = _gin.Distribution()
    if distribution.num_workers == 1:
        return ScoreModel.load(workdir, checkpoint, distribution)
    checkpoints = Checkpoints(workdir)
    found = _readable(checkpoints, checkpoint) if distribution.is_chief else None
    told = np.int64(-1 if found is None else step_of(found) or 0)
    step = int(distribution.from_chief([told])[0])
    if step < 0:
        raise CheckpointError(f"{workdir} has no checkpoint that the chief can read.")
    return ScoreModel.load(checkpoints.at(step), distribution=distribution)


def data_for(model: ScoreModel, data: Any) -> Any:
    """A dataset in the scaling of a model that was trained on it, whatever its own is by now."""
    return as_described(data, model.info)


def _readable(checkpoints: Checkpoints, text: str) -> Path | None:
    for path in checkpoints.candidates(text):
        try:
            read_meta(path)
            return path
        except (UsageError, OSError):
            continue
    return None


def recorded(workdir: str | Path) -> dict[str, Any]:
    """What a run's ``run.json`` holds.

    Raises:
      FileNotFoundError: the workdir holds no run.
      ConfigError: the file is damaged.
    """
    path = Path(workdir) / _RUN
    if not path.is_file():
        raise FileNotFoundError(f"{workdir} holds no run ({_RUN} is missing).")
    try:
        return files.read_json(path, _RECORD, _RUN_REMEDY)
    except UsageError as error:
        raise ConfigError(str(error)) from error


def provenance() -> dict[str, Any]:
    """Where a result came from: versions, host, commit, command."""
    return {
        "lcss_tf": __version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "versions": {name: importlib.import_module(name).__version__ for name in _VERSIONS},
        "host": socket.gethostname(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": sys.argv,
    }


def provenance_differences(then: dict, now: dict) -> list[str]:
    """Lines that say in what two of these differ that can change a number."""
    lines = []
    for key in ("lcss_tf", "commit", "python", "machine"):
        if then.get(key) != now.get(key):
            lines.append(f"{key}: {then.get(key)} then, {now.get(key)} now")
    for name in _VERSIONS:
        old, new = (then.get("versions") or {}).get(name), now["versions"][name]
        if old != new:
            lines.append(f"{name}: {old} then, {new} now")
    return lines


def _check_version(workdir: str | Path) -> None:
    """Raises ConfigError if the run is of a version whose keys had other names; gives the new.

    Nor does a configuration that is empty say what the run is.
    """
    config = files.read_text(Path(workdir) / _CONFIG)
    if not config.strip():
        raise ConfigError(
            f"{Path(workdir) / _CONFIG} is empty: it should hold the configuration of the run. Put "
            "a good copy back, or train again in another --workdir."
        )
    lines = _gin.renamed(config)
    if not lines:
        return
    run = files.read_json(Path(workdir) / _RUN, _RECORD, _RUN_REMEDY) or {}
    version = run.get("lcss_tf") or "0.1.0"
    raise ConfigError(
        f"{workdir} holds a run of lcss_tf {version}; this is {__version__}, which cannot read its "
        "checkpoints. Install that version to use the run, or train again in another --workdir "
        "with the new keys:\n" + "\n".join(f"  {line}" for line in lines)
    )


def _differing_keys(old_text: str, new_text: str) -> list[str]:
    old, new = (binding_table(_DEVICES.sub("", text)) for text in (old_text, new_text))
    return [
        f"{key}: {old.get(key, '(unset)')} there, {new.get(key, '(unset)')} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and not key.startswith(_NUMBERLESS)
        and not key.endswith(_COMPARED_BY_DATA)
    ]


def _commit() -> str | None:
    """The git commit of the project's files, with "+" if they have changed since; or None."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--", "lcss_tf", "bin") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


@contextlib.contextmanager
def _writing(workdir: str | Path) -> Any:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The workdir {workdir} cannot be written: {error}. Choose another --workdir."
        ) from error
