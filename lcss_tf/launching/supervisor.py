"""Starts a command again when it ended by a fault that a new start may mend."""

import sys
import time

from lcss_tf.launching.forwarding import Forwarding, exit_status
from lcss_tf.training.cluster import TEMPORARY

_LONGEST_PAUSE_SECONDS = 60.0


def supervise(command, max_restarts, pause_seconds=1.0):
    """Runs a command to its end, and again after a fault.

    A fault is a process killed by a signal that nobody sent to the supervisor (out of memory, a
    crash), or the status `TEMPORARY`. Errors of the configuration are not: they would come again.
    SIGTERM and SIGINT are handed on, and end both.

    Args:
      command: a list of arguments.
      max_restarts: new starts at most.
      pause_seconds: before the first new start; doubled every time, up to a minute.

    Returns:
      The exit status of the last start; 128 + n where signal n killed it.
    """
    with Forwarding() as forwarding:
        for restart in range(max_restarts + 1):
            status = forwarding.start(command).wait()
            if (status >= 0 and status != TEMPORARY) or forwarding.asked:
                break
            reason = f"signal {-status}" if status < 0 else f"status {status}"
            if restart == max_restarts:
                _say(f"Ended by {reason} once more than --max_restarts={max_restarts} allows.")
                break
            _say(f"Ended by {reason}; start {restart + 1} of {max_restarts} again.")
            until = time.monotonic() + min(pause_seconds * 2**restart, _LONGEST_PAUSE_SECONDS)
            while not forwarding.asked and time.monotonic() < until:
                time.sleep(0.1)
            if forwarding.asked:
                break
    return exit_status(status)


def _say(text):
    print(text, file=sys.stderr, flush=True)
