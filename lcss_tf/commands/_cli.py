"""What the commands share: flags of their own, errors as messages, exit statuses."""

import contextlib
import errno
import importlib
import logging as std_logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags, logging

from lcss_tf.commands._places import find_config
from lcss_tf.commands._processes import end_with_parent
from lcss_tf.commands._startup import quiet_start
from lcss_tf.display import say, tolerant_streams
from lcss_tf.errors import TemporaryError, UsageError
from lcss_tf.texts import visible
from lcss_tf.training.cluster import TEMPORARY
from lcss_tf.training.interruption import ending_by_signal

_FOR_PEOPLE = (UsageError, OSError, MemoryError)
_HERE = __name__.rpartition(".")[0]
_PROJECT = Path(__file__).resolve().parents[1]


def run(command: ModuleType, arguments: Sequence[str], name: str) -> int:
    """Parses a command's flags and runs it; returns the exit status.

    TensorFlow is imported when the work begins: help and what is wrong with the flags come before.

    Args:
      command: a module of `lcss_tf.commands.flags`, with `FLAGS`, a ``flags.FlagValues``. Where it
        takes arguments without a flag, it says by `POSITIONAL` what they are. Where it has
        ``check()``, that raises UsageError for flags that do not go together. The work is
        ``main(positional)`` of the module of the same name in `lcss_tf.commands`, which may be
        given too.
      arguments: without the program's name.
      name: what the program is called in messages.
    """
    with tolerant_streams(), ending_by_signal():
        end_with_parent()
        return _run(command, arguments, name)


def _run(command: ModuleType, arguments: Sequence[str], name: str) -> int:
    own = command.__name__.rpartition(".")[2]
    command = importlib.import_module(f"{_HERE}.flags.{own}")
    FLAGS = command.FLAGS
    if any(a in ("--help", "-h", "-help", "--helpfull") for a in arguments):
        say(f"{(command.__doc__ or '').strip()}\n\nFlags:\n{FLAGS.get_help()}")
        return 0
    flags.FLAGS.mark_as_parsed()  # absl's own flags: else its first line complains
    flags.FLAGS.logtostderr = True  # that of now, which may have been replaced since the start
    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(_Literal())
    for flag in FLAGS:
        FLAGS[flag].unparse()  # of a call before, in the same process
    parse = getattr(command, "parse", lambda words: FLAGS([name, *words])[1:])
    try:
        positional = parse(list(arguments))
        if positional and not hasattr(command, "POSITIONAL"):
            raise flags.Error(
                f"{name} takes flags alone; got {' '.join(positional)!r}. Write --flag=value, and "
                "--flag or --noflag for what is on or off."
            )
    except flags.Error as error:
        say(f"error: {error}\nAll flags: {name} --help", error=True)
        return 2
    with exit_status() as status:
        if "gin_file" in FLAGS and FLAGS["gin_file"].value is not None:
            find_config(FLAGS["gin_file"].value)
        getattr(command, "check", lambda: None)()
        with quiet_start():
            work = importlib.import_module(f"{_HERE}.{own}")
        status[0] = work.main(positional) or 0
    return status[0]


@contextlib.contextmanager
def _watching_workers() -> Iterator[None]:
    """As `distribution.watching_workers`, once that is imported: no worker is lost before."""
    try:
        yield
    except Exception:
        if "lcss_tf.training.distribution" not in sys.modules:
            raise
        from lcss_tf.training.distribution import watching_workers

        with watching_workers():
            raise


class _Literal(logging.PythonFormatter):
    """The log's lines, in which no name of somebody else's acts on the terminal."""

    def format(self, record: std_logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        return visible(super().format(record), "\n\t")


@contextlib.contextmanager
def exit_status() -> Iterator[list[int]]:
    """Prints errors that a person can mend as one message, and gives the exit status.

    1: such an error. 75: a new start may mend it. 130: interrupted. LCSS_TF_TRACEBACK=1 in the
    environment shows where errors were raised. Other errors are bugs and keep their traceback;
    where a part of a user's own raised it, a line says so.
    """
    logging.set_verbosity(logging.WARNING)
    std_logging.getLogger("tensorflow").setLevel(std_logging.ERROR)
    status = [0]
    try:
        with _watching_workers():
            yield status
    except KeyboardInterrupt:
        say("\nInterrupted.", error=True)
        status[0] = 130
    except TemporaryError as error:
        say(f"\nerror: {error}", error=True)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # At once: the interpreter's own end would wait for the lost worker, or for the data.
        os._exit(TEMPORARY)
    except Exception as error:
        unset = "Required bindings" in str(error)
        if os.environ.get("LCSS_TF_TRACEBACK") or not (isinstance(error, _FOR_PEOPLE) or unset):
            place = _own_part(error)
            if place:
                say(f"\nThe error comes from a part of your own: look at {place}.", error=True)
            raise
        say(f"\nerror: {message_of(error)}", error=True)
        if unset:
            say("Bind them in the gin file, or by --gin_bindings.", error=True)
        status[0] = 1


_REMEDIES = {
    errno.ENOENT: "There is no such file or folder. Check the path.",
    errno.EACCES: "It may not be used. Allow it (chmod u+rwX), or run as a user who may.",
    errno.EPERM: "It may not be used. Allow it (chmod u+rwX), or run as a user who may.",
    errno.EISDIR: "It is a folder, and a file is expected. Name a file.",
    errno.ENOTDIR: "A part of the path is a file, not a folder. Check the path.",
    errno.EEXIST: "It is there already, as something else. Choose another path.",
    errno.ENOSPC: "The disk is full. Make room.",
    errno.EDQUOT: "The disk is full. Make room.",
    errno.EROFS: "Nothing can be written there. Choose another path.",
    errno.EMFILE: "Too many files are open. Raise the limit: ulimit -n 4096.",
    errno.ENAMETOOLONG: "The name is too long. Choose a shorter one.",
}


def message_of(error: BaseException) -> str:
    """The message of an error; of one of the system's own with the file and a remedy."""
    code, words = getattr(error, "errno", None), getattr(error, "strerror", None)
    if code not in _REMEDIES or words != os.strerror(code):  # words of the project's own
        return str(error)
    name = getattr(error, "filename", None)
    return f"{name}: {_REMEDIES[code]} ({words})" if name else f"{words}. {_REMEDIES[code]}"


def _own_part(error: BaseException) -> str | None:
    """Where a user's own code is innermost in the traceback: file, line and function."""
    python = f"{os.sep}lib{os.sep}python"
    libraries = (f"{_PROJECT}{os.sep}", "site-packages", "dist-packages", python)
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in libraries) and Path(frame.filename).is_file()
    ]
    return f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}" if own else None


def gin_flags(FLAGS: flags.FlagValues, example: str = "fit.steps=2_000") -> None:
    """--gin_file, --gin_bindings and --import."""
    flags.DEFINE_string("gin_file", None, "The experiment: a path, or a name of `lcss configs`.",
                        flag_values=FLAGS)  # fmt: skip
    bindings_flag(FLAGS, example, "the file's")
    import_flag(FLAGS)


def import_flag(FLAGS: flags.FlagValues) -> None:
    """--import."""
    flags.DEFINE_multi_string(
        "import", [], "A module of yours, or the path of its file", flag_values=FLAGS
    )


def bindings_flag(FLAGS: flags.FlagValues, example: str, over: str = "the run's") -> None:
    """--gin_bindings."""
    flags.DEFINE_multi_string(
        "gin_bindings", [], f"Bindings over {over}, e.g. '{example}'", flag_values=FLAGS
    )


def workdir_flag(FLAGS: flags.FlagValues, text: str, required: bool = False) -> None:
    """--workdir."""
    flags.DEFINE_string("workdir", None, text, flag_values=FLAGS, required=required)


def strategy_flag(FLAGS: flags.FlagValues) -> None:
    """--strategy."""
    flags.DEFINE_enum(
        "strategy", None, ["mirrored", "multi_worker", "one_device", "tpu"],
        "How work is spread over devices and machines; over the gin file's.", flag_values=FLAGS,
    )  # fmt: skip


def resume_flag(FLAGS: flags.FlagValues) -> None:
    """--resume."""
    flags.DEFINE_enum(
        "resume", "auto", ["auto", "force"], "force: resume although the configuration differs.",
        flag_values=FLAGS,
    )  # fmt: skip


def check_finite(FLAGS: flags.FlagValues, *names: str) -> None:
    """Raises UsageError if a flag, which may be left out, is NaN or infinite."""
    for name in names:
        if not math.isfinite(FLAGS[name].value or 0.0):
            raise UsageError(f"--{name} must be a finite number; got {FLAGS[name].value}.")


def bindings(FLAGS: flags.FlagValues) -> list[str]:
    """--strategy and --gin_bindings as gin bindings."""
    strategy = FLAGS["strategy"].value if "strategy" in FLAGS else None
    own = [f"Distribution.strategy = {strategy!r}"] if strategy else []
    return own + list(FLAGS["gin_bindings"].value)


def main_of(command: ModuleType) -> Callable[[], Any]:
    """The function that a file of bin/ runs."""

    def main() -> None:
        sys.exit(run(command, sys.argv[1:], f"python {sys.argv[0]}"))

    return main
