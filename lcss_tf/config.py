"""Gin files and bindings, users' modules, and the configuration kept beside every run.

A gin file is code: it can import modules and call what they register. Read it before you
run somebody else's.
"""

import contextlib
import difflib
import importlib
import json
import re
import sys
from pathlib import Path

import gin
from absl import logging

from lcss_tf.errors import UsageError
from lcss_tf.files import write_bytes
from lcss_tf.provenance import provenance
from lcss_tf.registry import ALL_REGISTRIES

PROJECT_GIN = Path(__file__).resolve().parent.parent / "gin"
_CONFIG, _OPERATIVE, _RUN = "config.gin", "operative_config.gin", "run.json"
_DEVICES = re.compile(r"^distribution\.\w+ = .*\n", re.MULTILINE)
_UNKNOWN = re.compile(r"No configurable matching (?:reference )?'@?([\w./]+)")


class ConfigError(UsageError):
    """A configuration that cannot be used; the message says what to change."""


def load(gin_file, bindings=(), imports=()):
    """Parses a gin file and bindings into gin's global configuration.

    Args:
      gin_file: path; files that it includes are sought beside it and in the project's gin/.
      bindings: lines such as ``train.total_steps = 2_000``, applied last.
      imports: users' modules to import first: module names, or paths of .py files.

    Raises:
      FileNotFoundError: no such file; the message names near matches.
      ConfigError: what gin cannot parse, or an unknown name; the message lists the known ones.
    """
    path = Path(gin_file)
    if not path.is_file():
        raise FileNotFoundError(_missing(path))
    for module in imports:
        import_user_module(module)
    for place in (Path.cwd(), PROJECT_GIN.parent, PROJECT_GIN, path.resolve().parent):
        gin.add_config_file_search_path(str(place))
    gin.clear_config()
    level = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)  # gin logs every place where it looks in vain
    try:
        gin.parse_config_files_and_bindings([str(path)], list(bindings))
    except (ValueError, SyntaxError) as error:
        raise ConfigError(f"{error}{_known_names(str(error))}") from error
    except OSError as error:
        raise ConfigError(f"{path} includes a file that is not there: {error}") from error
    finally:
        logging.set_verbosity(level)


def import_user_module(module):
    """Imports a user's module by its name, or by the path of its .py file.

    Raises:
      ConfigError: there is no such module.
    """
    path = Path(module)
    place, name = (
        (path.resolve().parent, path.stem) if path.suffix == ".py" else (Path.cwd(), module)
    )
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigError(
            f"--import={module}: there is no such module. Give a module name that Python can "
            f"import from {Path.cwd()}, or the path of a .py file."
        ) from error


def claim_workdir(workdir, imports=(), force=False):
    """Makes the workdir and records in it the parsed configuration and where it came from.

    What binds the devices (`distribution`) is not part of it: a run goes on, and is sampled from,
    on whatever devices there are.

    Returns:
      What was written: {name: bytes}.

    Raises:
      ConfigError: the workdir cannot be written, or holds a run with another configuration;
        the message names the keys that differ.
    """
    workdir = Path(workdir)
    config = parsed_config()
    stored = workdir / _CONFIG
    if stored.is_file() and not force:
        differing = _differing_keys(stored.read_text(), config)
        if differing:
            raise ConfigError(
                f"{workdir} holds a run with another configuration. It differs in:\n"
                + "\n".join(f"  {line}" for line in differing)
                + "\nChoose another --workdir, or go on from its checkpoint with the new "
                "configuration by --resume=force."
            )
    imports = [str(Path(m).resolve()) if m.endswith(".py") else m for m in imports]
    run = provenance() | {"imports": imports, "devices": device_bindings()}
    contents = {_CONFIG: config.encode(), _RUN: json.dumps(run, indent=2).encode()}
    with _writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(workdir / name, content)
    return contents


def parsed_config():
    """The parsed configuration as a text, without what binds the devices."""
    # gin underlines its titles over the whole width.
    config = re.sub(r"={80,}", "=" * 78, gin.config_str(max_line_length=10_000))
    return _DEVICES.sub("", config)


def device_bindings():
    """The bindings of `distribution`, which no run's record holds."""
    return [line.strip() for line in _DEVICES.findall(gin.config_str(max_line_length=10_000))]


def is_run(workdir):
    """Whether the directory holds a run."""
    return (Path(workdir) / _CONFIG).is_file()


def load_workdir(workdir, bindings=()):
    """Parses the configuration of a run, and imports the user's modules it named; returns them.

    Raises:
      FileNotFoundError: the workdir holds no run; the message lists runs beside it.
    """
    workdir = Path(workdir)
    if not is_run(workdir):
        near = sorted(p.parent.name for p in workdir.parent.glob(f"*/{_CONFIG}"))
        raise FileNotFoundError(
            f"{workdir} holds no run ({_CONFIG} is missing). "
            f"Runs beside it: {', '.join(near) or 'none'}. Train one with bin/train.py."
        )
    imports = recorded(workdir)["imports"]
    load(workdir / _CONFIG, bindings, imports)
    return imports


def recorded(workdir):
    """What a run's ``run.json`` holds.

    Raises:
      FileNotFoundError: the workdir holds no run.
    """
    path = Path(workdir) / _RUN
    if not path.is_file():
        raise FileNotFoundError(f"{workdir} holds no run ({_RUN} is missing).")
    return json.loads(path.read_text())


def write_operative(workdir):
    """Writes the operative configuration, every parameter that was used; returns {name: bytes}."""
    content = gin.operative_config_str().encode()
    write_bytes(Path(workdir) / _OPERATIVE, content)
    return {_OPERATIVE: content}


def hyperparameters():
    """The parsed configuration as a flat dict of short texts, for TensorBoard."""
    return {
        key: value[:80]
        for key, value in binding_table(gin.config_str(max_line_length=10_000)).items()
    }


def binding_table(config):
    """Bindings of a configuration text as {key: value}; joins continued lines."""
    joined = re.sub(r"\\\n\s*", "", config)
    pairs = (line.split(" = ", 1) for line in joined.splitlines() if " = " in line)
    return {key.strip(): value.strip() for key, value in pairs if not key.startswith("#")}


def _differing_keys(old, new):
    old, new = binding_table(_DEVICES.sub("", old)), binding_table(new)
    return [
        f"{key}: {old.get(key, '(unset)')} there, {new.get(key, '(unset)')} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _missing(path):
    places = {path.parent, PROJECT_GIN}
    known = sorted(str(p) for place in places for p in place.glob("*.gin"))
    by_name = {Path(p).stem: p for p in known}
    close = difflib.get_close_matches(path.stem, by_name, n=3, cutoff=0.4)
    if close:
        hint = "Did you mean " + " or ".join(by_name[name] for name in close) + "?"
    else:
        hint = f"Known: {', '.join(known) or 'none'}."
    return f"There is no gin file {path}. {hint}"


def _known_names(message):
    """The known names beside an unknown one, if the message is about that."""
    match = _UNKNOWN.search(message)
    if not match:
        return ""
    module, _, name = match[1].rstrip("()").rpartition(".")
    registries = [r for r in ALL_REGISTRIES if r.module == module] or ALL_REGISTRIES
    known = sorted(f"{r.module}.{part}" for r in registries for part in r)
    short = {full.rpartition(".")[2]: full for full in known}
    close = difflib.get_close_matches(name, short, n=1, cutoff=0.5)
    hint = f"\n  Did you mean {short[close[0]]}?" if close else ""
    own = "A module of your own comes in by --import=my_sdes."
    return f"{hint}\n  Known: {', '.join(known)}.\n  {own}"


@contextlib.contextmanager
def _writing(workdir):
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The workdir {workdir} cannot be written: {error}. Choose another --workdir."
        ) from error
