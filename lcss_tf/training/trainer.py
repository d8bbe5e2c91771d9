"""The training loop: steps, and actions with a rhythm of their own."""

import contextlib
import signal
import sys
import time

import gin
from tqdm import tqdm

from lcss_tf.training.meter import Meter, NonFiniteError

TERMINATED = 128 + signal.SIGTERM  # the exit status that says "stopped by SIGTERM"


class EveryNSteps:
    """An action of the loop: calls `function(state)` after every n-th step, and after the last.

    Args:
      n: steps between calls; 0: never.
      function: what to do, with the `TrainState`.
    """

    def __init__(self, n, function):
        self._n = n
        self._function = function

    def __call__(self, state, last):
        if self._n and (last or state.step % self._n == 0):
            self._function(state)
            return True
        return False


@gin.configurable(
    "trainer", denylist=["state", "train_step", "batches", "checkpoints", "summaries"]
)
class Trainer:
    """Runs training steps from the state's step to the end.

    Args:
      state: the `TrainState`, restored.
      train_step: (batch, step) -> `StepReport`.
      batches: iterator of per-replica batches, standing at the state's step.
      checkpoints: `Checkpoints`.
      summaries: `Summaries`.
      log_every: steps between lines of scalars.
      max_nonfinite: stop after so many non-finite steps in a row.
    """

    def __init__(
        self, state, train_step, batches, checkpoints, summaries, log_every=50, max_nonfinite=20
    ):
        self._state = state
        self._train_step = train_step
        self._batches = batches
        self._checkpoints = checkpoints
        self._summaries = summaries
        self._log_every = log_every
        self._meter = Meter(state.model.sde, max_nonfinite, state.nonfinite_steps)
        self._terminated = False

    def run(self, total_steps, batch_size, actions=()):
        """Trains up to `total_steps` in all.

        Each action is called as action(state, last) after every step. On SIGTERM the
        running step is finished, the state saved, and SystemExit raised.
        """
        state, clock = self._state, _Clock()
        with _on_sigterm(self._terminate), _progress(state.step, total_steps) as bar:
            while state.step < total_steps:
                batch = clock.waiting(self._batches)
                self._meter.add(state.step, self._train_step(batch, state.step))
                state.step += 1
                clock.step()
                last = state.step == total_steps
                stop = self._terminated  # read once: the signal may come at any line
                pause = last or stop
                show = pause or bar.due()
                log = pause or state.step % self._log_every == 0
                save = pause or state.step % self._checkpoints.every == 0
                if show or log or save:
                    self._drain(clock, batch_size)
                if log:
                    self._log(clock, batch_size)
                if show:
                    bar.show(state.step, self._meter.last_loss, clock.rate, batch_size)
                if save:
                    self._checkpoints.save(state)
                if stop:
                    raise SystemExit(TERMINATED)
                acted = [action(state, last) for action in actions]
                if save or any(acted):
                    clock.resume()

    def _terminate(self):
        self._terminated = True

    def _drain(self, clock, batch_size):
        try:
            self._meter.drain()
        except NonFiniteError:
            self._log(clock, batch_size)  # the count belongs in TensorBoard, above all now
            raise
        finally:
            self._state.nonfinite_steps = self._meter.nonfinite_steps

    def _log(self, clock, batch_size):
        figures = self._meter.figures()
        rate, waited = clock.lap()
        figures["speed/steps_per_second"] = rate
        figures["speed/images_per_second"] = rate * batch_size
        figures["speed/input_wait_share"] = waited
        self._summaries.scalars(figures, self._state.step)


class _Clock:
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
    """One live line: step, loss, steps/s, images/s, time left."""

    def __init__(self, bar):
        self._bar = bar
        self._interval_seconds = 0.25 if sys.stderr.isatty() else 10.0
        self._shown = -float("inf")

    def due(self):
        return time.monotonic() - self._shown > self._interval_seconds

    def show(self, step, loss, rate, batch_size):
        self._shown = time.monotonic()
        self._bar.set_postfix_str(
            f"loss {loss:.4f}, {rate:.1f} steps/s, {rate * batch_size:,.0f} images/s", refresh=False
        )
        self._bar.update(step - self._bar.n)
        self._bar.refresh()


@contextlib.contextmanager
def _progress(step, total_steps):
    layout = "step {n:,}/{total:,} |{bar}| {postfix} [{elapsed}, {remaining} left]"
    with tqdm(
        total=total_steps, initial=step, bar_format=layout, dynamic_ncols=True, mininterval=0
    ) as bar:
        yield _Bar(bar)


@contextlib.contextmanager
def _on_sigterm(function):
    """Calls `function` on SIGTERM while the block runs (in the main thread; elsewhere not)."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: function())
    except ValueError:  # not in the main thread: signals are somebody else's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
