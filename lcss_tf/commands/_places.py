"""Where gin files and runs are. Nothing heavy is imported: a wrong path is answered at once."""

import difflib
import sys
from pathlib import Path

import lcss_tf
from lcss_tf.errors import UsageError
from lcss_tf.training.names import CONFIG, MODEL

_PACKAGE = Path(lcss_tf.__file__).resolve().parent
# Where the package is installed, its gin files lie in it; in a clone beside it.
CONFIGS = next(
    (
        p
        for p in (_PACKAGE / "configs", _PACKAGE.parent / "gin")
        if (p / "lcss_digits.gin").exists()
    ),
    _PACKAGE.parent / "gin",
)


def called(command: str) -> str:
    """How a command of this project is called here: as the one that is running was."""
    program = Path(sys.argv[0])
    if program.parent.name == "bin" and program.suffix == ".py":
        return f"python bin/{command}.py"
    return f"lcss {command}"


class ConfigError(UsageError):
    """A configuration that cannot be used; the message says what to change."""


def find_config(gin_file: str | Path) -> Path:
    """The path of a gin file: as given, or by its name among the project's own.

    Raises:
      FileNotFoundError: there is none; the message names near matches.
    """
    path = Path(gin_file)
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a folder. Give --gin_file a file in it.")
    own = Path(*path.parts[1:]) if path.parts[:1] == ("gin",) else path
    for place in (path, CONFIGS / own):
        if place.is_file():
            return place
    places = {path.parent, CONFIGS}
    known = sorted(str(p) for place in places for p in place.glob("*.gin"))
    by_name = {Path(p).stem: p for p in known}
    close = difflib.get_close_matches(path.stem, by_name, n=3, cutoff=0.4)
    if close:
        hint = "Did you mean " + " or ".join(by_name[name] for name in close) + "?"
    else:
        hint = f"Known: {', '.join(known) or 'none'}."
    raise FileNotFoundError(f"There is no gin file {path}. {hint}")


def is_run(workdir: str | Path) -> bool:
    """Whether the directory holds a run of the command line."""
    return (Path(workdir) / CONFIG).is_file()


def check_is_run(workdir: str | Path) -> None:
    """Raises FileNotFoundError if the directory holds no run; the message lists runs beside it."""
    workdir = Path(workdir)
    if is_run(workdir):
        return
    hint = ""
    if (workdir / MODEL).is_file():
        hint = " It was trained from Python: use ScoreModel.load."
    near = sorted(p.parent.name for p in workdir.parent.glob(f"*/{CONFIG}"))
    raise FileNotFoundError(
        f"{workdir} holds no run of the command line ({CONFIG} is missing).{hint} Runs beside "
        f"it: {', '.join(near) or 'none'}. Train one: {called('train')} --gin_file=…."
    )


__all__ = ["CONFIGS", "ConfigError", "check_is_run", "find_config", "is_run"]
