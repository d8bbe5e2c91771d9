"""What may interrupt a training from outside: signals, and data that do not come."""

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any

from lcss_tf.display import say
from lcss_tf.errors import TemporaryError

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
_END = object()


class Interrupted(BaseException):
    """Raised by the request in what may be broken off; see `StopRequest.breaking`."""


class StopRequest:
    """Listens for SIGTERM, SIGINT and SIGHUP while it is entered, in the main thread.

    The first signal is remembered, and the loop leaves after the running step. A second one ends
    the process at once, as if nobody had listened.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._before: dict[int, Any] = {}
        self._breaks = False

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self._signal is not None

    @property
    def status(self) -> int:
        """The exit status that names the signal: 143 for SIGTERM, 130 for SIGINT.

        143 as well where another worker was asked.
        """
        return 128 + (self._signal or signal.SIGTERM)

    def __enter__(self) -> "StopRequest":
        for number in _SIGNALS:
            with contextlib.suppress(ValueError):  # not in the main thread
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: Any) -> None:
        self._restore()

    @contextlib.contextmanager
    def breaking(self) -> Iterator[None]:
        """In this block, which must leave the state alone, the request raises `Interrupted`."""
        self._breaks = True
        try:
            if self.asked:
                raise Interrupted
            yield
        finally:
            self._breaks = False

    def _receive(self, number: int, _: Any) -> None:
        if self.asked:
            self._restore()
            os.kill(os.getpid(), number)
            return
        self._signal = number
        name = signal.Signals(number).name
        say(f"\n{name}: saving after this step; once more to stop at once.", error=True)
        if self._breaks:
            raise Interrupted

    def _restore(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_by_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP end this block as Ctrl-C does: by an exception, SystemExit.

    So what is half written is removed, and locks are let go. The exit status is 128 + the signal's
    number. A second signal ends the process at once. A training listens by itself: `StopRequest`.
    """
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def receive(number: int, _: Any) -> None:
        restore()
        say(f"\n{signal.Signals(number).name}: ended.", error=True)
        raise SystemExit(128 + number)

    for number in _SIGNALS:
        if number == signal.SIGINT:
            continue
        with contextlib.suppress(ValueError):  # not in the main thread
            if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
                before[number] = signal.signal(number, receive)
    try:
        yield
    finally:
        restore()


class DataTimeoutError(TemporaryError, TimeoutError):
    """No batch came within the time limit."""


def within(batches: Iterator, timeout_s: float) -> Iterator:
    """The iterator `batches`, read by a thread of its own, one batch ahead.

    Args:
      batches: an iterator.
      timeout_s: the longest wait for one, in seconds; 0: without limit, and without a thread.

    Raises (on iteration):
      DataTimeoutError: nothing came in time. The thread is left to itself: it cannot be stopped
        while it waits in somebody else's code.
      Others: what `batches` raises.
    """
    if not timeout_s:
        yield from batches
        return
    ready: queue.Queue = queue.Queue(maxsize=1)
    stop = threading.Event()

    def read() -> None:
        try:
            for batch in batches:
                ready.put((batch, None))
                if stop.is_set():
                    return
            ready.put((_END, None))
        except BaseException as error:
            ready.put((None, error))

    threading.Thread(target=read, daemon=True, name="batches").start()
    try:
        while True:
            try:
                batch, error = ready.get(timeout=timeout_s)
            except queue.Empty:
                raise DataTimeoutError(
                    f"The data source delivered nothing for {timeout_s:g} s. The state is saved: "
                    "look at the disk or the network that the data come from, and start again by "
                    "the same command. Trainer.data_timeout_s sets the limit; 0 is none."
                ) from None
            if error is not None:
                raise error
            if batch is _END:
                return
            yield batch
    finally:
        stop.set()
        with contextlib.suppress(queue.Empty):  # lets go of the thread, if it waits to deliver
            ready.get_nowait()


__all__ = ["DataTimeoutError", "Interrupted", "StopRequest", "within"]
