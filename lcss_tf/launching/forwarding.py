"""SIGTERM and SIGINT are handed on to the processes that were started."""

import signal
import subprocess

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Forwarding:
    """While it is entered, the two signals go to all that was started, and not to this process.

    Attributes:
      asked: whether one came.
      processes: what was started, in order.
    """

    def __init__(self):
        self.asked, self.processes, self._before = False, [], {}

    def __enter__(self):
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def start(self, command, **options):
        """A process, by `subprocess.Popen`."""
        self.processes.append(subprocess.Popen(command, **options))
        return self.processes[-1]

    def _receive(self, number, _):
        self.asked = True
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)


def exit_status(returncode):
    """As a shell has it: 128 + n for a process that signal n killed."""
    return 128 - returncode if returncode < 0 else returncode
