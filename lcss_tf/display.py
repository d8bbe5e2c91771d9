"""What a person sees while something runs: lines, warnings, how far it is. None of it ends a run.

Nobody may be reading any more, the disk of a log may be full, a terminal may be gone: what only
shows is dropped then, and counted where `Tolerance` stands around it.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from absl import logging
from tqdm.auto import tqdm

from lcss_tf.texts import visible

LIVE_S, LINES_S = 0.25, 30.0  # between two updates, on a terminal and in a file


def say(text: Any = "", error: bool = False) -> None:
    """Prints lines for people, to the standard error if `error`. It never raises.

    Control characters of other people's text are shown as escapes: see `texts.visible`.
    """
    with contextlib.suppress(Exception):
        write_line(text, error)


def write_line(text: Any, error: bool = False) -> None:
    """As `say`, but raises what the stream raises. What its encoding lacks is escaped."""
    stream = strict(sys.stderr if error else sys.stdout)
    if stream is not None:  # a program without a console has none
        stream.write(_encodable(visible(text, "\n\t"), stream) + "\n")
        stream.flush()


def _encodable(text: str, stream: Any) -> str:
    r"""A text with an escape such as ``\u2265`` for each character that a stream cannot encode."""
    encoding = getattr(stream, "encoding", None)
    if not (isinstance(encoding, str) and isinstance(text, str)):  # io.StringIO has none
        return text
    try:
        text.encode(encoding, getattr(stream, "errors", None) or "strict")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:  # the stream itself says what is wrong
        return text
    return text


def strict(stream: Any) -> Any:
    """The stream itself where `tolerant_streams` stands before it."""
    return getattr(stream, "strict", stream)


def warn(text: str, *args: Any, **options: Any) -> None:
    """``logging.warning``, whatever the log's handlers raise."""
    with contextlib.suppress(Exception):
        logging.warning(text, *args, **options)


class Tolerance:
    """Runs what only shows or reports; whatever it raises must not end what runs.

    Failures are counted by name. The first of each, and then every hundredth, is logged.

    Attributes:
      failures: {name: how many}.
      errors: {name: the last error, as a text}.
    """

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.errors: dict[str, str] = {}

    def __call__(self, name: str, function: Callable, *args: Any) -> Any:
        """function(*args), or None where it fails."""
        try:
            return function(*args)
        except Exception as error:  # of other people's writers and callbacks: anything
            count = self.failures.get(name, 0)
            self.failures[name] = count + 1
            text = _error_text(error)
            self.errors[name] = text
            if count % 100 == 0:
                warn("%s failed (%s). Work continues without it.", name, text, exc_info=count == 0)
            return None

    def text(self) -> str:
        """What failed and how often, in a line; empty if nothing did."""
        return ", ".join(f"{name} ({count} times)" for name, count in self.failures.items())


def tolerated(name: str, function: Callable, *args: Any) -> Any:
    """function(*args), or None with a warning: for what is beside the result, such as a picture."""
    return Tolerance()(name, function, *args)


def _error_text(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {str(error)[:300]}"
    except Exception:  # even the message of somebody else's error may fail
        return type(error).__name__


class Bar:
    """How far a long piece of work is: one live line, or whole lines at a rhythm.

    On a terminal and in a notebook the line is live. Into a file or a pipe a whole line goes every
    30 seconds, and one at the end. Nothing that fails here raises.

    Args:
      total: of what is counted.
      name: what is being done.
      unit: of what is counted.
      initial: how many of it are done before.
      shown: whether anything is shown at all.
      delay_s: work that takes less shows nothing.

    Attributes:
      n: how many are done.
      note: a text that is shown behind.
    """

    def __init__(
        self,
        total: int,
        name: str = "",
        unit: str = "",
        initial: int = 0,
        shown: bool = True,
        delay_s: float = 0.0,
    ) -> None:
        self.n, self.note = initial, ""
        self._total, self._initial, self._delay_s = total, initial, delay_s
        self._name, self._unit = visible(name), visible(unit)
        self._shown = shown
        self._start = self._last = time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first update came, with which n
        self._bar: Any = None

    def __enter__(self) -> "Bar":
        if self._shown and is_live():
            with contextlib.suppress(Exception):
                self._bar = tqdm(
                    total=self._total, desc=self._name or None, unit=f" {self._unit}",
                    initial=self._initial, delay=self._delay_s,
                )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            with contextlib.suppress(Exception):
                self._bar.close()
        elif kind is None:
            self._line()

    def update(self, count: int = 1) -> None:
        """`count` more are done."""
        self.n += count
        self._first = self._first or (time.monotonic(), self.n)
        if self._bar is not None:
            with contextlib.suppress(Exception):
                self._bar.set_postfix_str(visible(self.note), refresh=False)
                self._bar.update(count)
        elif time.monotonic() - self._last > LINES_S:
            self._line()

    def _line(self) -> None:
        self._last = time.monotonic()
        elapsed = self._last - self._start
        if not self._shown or elapsed < self._delay_s or is_live():
            return
        left = time_left(self._total - self.n, self._rate(elapsed))
        name = f"{self._name}: " if self._name else ""
        spent = tqdm.format_interval(elapsed)
        done = f"{name}{self.n:,}/{self._total:,} {self._unit}"
        note = f", {self.note}" if self.note else ""
        say(f"{done}{note} [{spent}, {left} left]", error=True)

    def _rate(self, elapsed: float) -> float:
        """Of what is counted, a second; without the time to the first update, which compiles."""
        if self._first is not None:
            since, n = self._first
            if self.n > n and self._last > since:
                return (self.n - n) / (self._last - since)
        return (self.n - self._initial) / max(elapsed, 1e-9)


def duration(seconds: float) -> str:
    """Seconds for people: ``04:12``, ``1:04:12``."""
    return tqdm.format_interval(seconds)


def time_left(count: float, rate: float) -> str:
    """How long `count` things take at `rate` a second: ``02:10``; ``?`` where no rate is known."""
    return tqdm.format_interval(max(count, 0) / rate) if rate > 0 else "?"


def is_live() -> bool:
    """Whether a line of the standard error can be redrawn: on a terminal, and in a notebook."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return bool(sys.stderr.isatty())
    except Exception:  # there is none, or it is closed
        return False


class _TolerantStream:
    """A text stream whose writing never raises; all else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self.strict = strict(stream)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            self.strict.write(_encodable(text, self.strict))
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.strict.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.strict, name)


@contextlib.contextmanager
def tolerant_streams() -> Iterator[None]:
    """In this block nothing that is printed raises, whoever prints it.

    A stream that takes nothing at the end is led to the null device: Python would flush it once
    more when the process ends, and turn a good exit status into a bad one.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_TolerantStream(stream) for stream in before)  # type: ignore
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                _lead_to_null(stream)


def _lead_to_null(stream: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        number, null = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def open_closed_streams() -> None:
    """Opens standard streams that are closed on the null device.

    The next file that is opened would otherwise take their number, and what libraries write to
    the standard error would go into it: into a checkpoint, say.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Takes the lowest number that is free: this one. Child processes get it too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


__all__ = [
    "LINES_S",
    "LIVE_S",
    "Bar",
    "Tolerance",
    "duration",
    "is_live",
    "open_closed_streams",
    "say",
    "strict",
    "time_left",
    "tolerant_streams",
    "tolerated",
    "warn",
    "write_line",
]
