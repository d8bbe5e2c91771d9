"""What a person sees of the loop: its speed, and one live line."""

import contextlib
import sys
import time

from tqdm import tqdm


class Clock:
    """Steps per second, without the time that actions take."""

    def __init__(self):
        self.rate = 0.0
        self._lap_steps = 0
        self._lap_seconds = 0.0
        self._lap_waited = 0.0
        self._waited = 0.0  # in the running step
        self._since = None  # the first step compiles: it does not count

    def waiting(self, batches):
        """The next of `batches`; the time that it takes to come is counted."""
        start = time.monotonic()
        batch = next(batches)
        self._waited = time.monotonic() - start
        return batch

    def step(self):
        """A step has been taken."""
        now = time.monotonic()
        since, self._since = self._since, now
        if since is None:
            return
        self._lap_waited += self._waited
        seconds = now - since
        self._lap_steps += 1
        self._lap_seconds += seconds
        # A moving average over about 50 steps, for the line of progress.
        rate = 1.0 / max(seconds, 1e-9)
        self.rate = rate if not self.rate else 1 / (0.98 / self.rate + 0.02 / rate)

    def lap(self):
        """Since the last lap: steps per second, and the share of the time that input took."""
        seconds = max(self._lap_seconds, 1e-9)
        rate, waited = self._lap_steps / seconds, self._lap_waited / seconds
        self._lap_steps, self._lap_seconds, self._lap_waited = 0, 0.0, 0.0
        return rate, waited

    def resume(self):
        """Forgets the time since the last step."""
        self._since = time.monotonic()


class _Bar:
    """One live line: step, loss, steps/s, examples/s, time left."""

    def __init__(self, bar):
        self._bar = bar
        self._interval_seconds = 0.25 if sys.stderr.isatty() else 10.0
        self._shown = -float("inf")

    def due(self):
        return time.monotonic() - self._shown > self._interval_seconds

    def show(self, step, loss, rate, batch_size):
        self._shown = time.monotonic()
        self._bar.set_postfix_str(
            f"loss {loss:.4f}, {rate:.1f} steps/s, {rate * batch_size:,.0f} examples/s",
            refresh=False,
        )
        self._bar.update(step - self._bar.n)
        self._bar.refresh()


@contextlib.contextmanager
def progress(step, total_steps):
    """A live line while the block runs."""
    layout = "step {n:,}/{total:,} |{bar}| {postfix} [{elapsed}, {remaining} left]"
    with tqdm(
        total=total_steps, initial=step, bar_format=layout, dynamic_ncols=True, mininterval=0
    ) as bar:
        yield _Bar(bar)
