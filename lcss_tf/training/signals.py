"""SIGTERM and SIGINT: a request to save and leave, heard where it does no harm."""

import contextlib
import os
import signal
import sys

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """Raised by the request in what may be broken off; see `StopRequest.breaking`."""


class StopRequest:
    """Listens for the two signals while it is entered (in the main thread; elsewhere not).

    The first is remembered, and the loop leaves after the running step. A second ends the process
    at once, as if nobody had listened.

    Attributes:
      asked: whether one came.
    """

    def __init__(self):
        self._signal = None
        self._before = {}
        self._breaks = False

    @property
    def asked(self):
        """Whether a signal came."""
        return self._signal is not None

    @property
    def status(self):
        """The exit status that names the signal: 143 for SIGTERM, 130 for SIGINT.

        143 as well where another worker was asked.
        """
        return 128 + (self._signal or signal.SIGTERM)

    def __enter__(self):
        for number in _SIGNALS:
            with contextlib.suppress(ValueError):  # not in the main thread
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        self._restore()

    @contextlib.contextmanager
    def breaking(self):
        """In this block, which must leave the state alone, the request raises `Interrupted`."""
        self._breaks = True
        try:
            if self.asked:
                raise Interrupted
            yield
        finally:
            self._breaks = False

    def _receive(self, number, _):
        if self.asked:
            self._restore()
            os.kill(os.getpid(), number)
            return
        self._signal = number
        name = signal.Signals(number).name
        sys.stderr.write(f"\n{name}: saving after this step; once more to stop at once.\n")
        if self._breaks:
            raise Interrupted

    def _restore(self):
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["Interrupted", "StopRequest"]
