"""The training loop: steps, and actions with a rhythm of their own."""

import contextlib

import gin
from absl import logging

from lcss_tf import memory
from lcss_tf.training.meter import Meter, NonFiniteError
from lcss_tf.training.patience import within
from lcss_tf.training.progress import Clock, progress
from lcss_tf.training.signals import Interrupted, StopRequest


class EveryNSteps:
    """An action of the loop: calls `function(state)` after every n-th step, and after the last.

    Args:
      n: steps between calls; 0: never.
      function: what to do, with the `TrainState`, which it leaves as it is.
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
      train_step: a `TrainStep`.
      batches: iterator of per-replica batches, standing at the state's step.
      checkpoints: `Checkpoints`.
      summaries: `Summaries`.
      log_every: steps between lines of scalars.
      max_nonfinite: stop after so many non-finite steps in a row.
      data_timeout_s: the longest wait for a batch, in seconds; 0: no limit.
    """

    def __init__(
        self, state, train_step, batches, checkpoints, summaries, log_every=50, max_nonfinite=20,
        data_timeout_s=600.0,
    ):  # fmt: skip
        self._state = state
        self._train_step = train_step
        self._batches = within(batches, data_timeout_s)
        self._checkpoints = checkpoints
        self._summaries = summaries
        self._log_every = log_every
        self._meter = Meter(state.model.sde, max_nonfinite, state.nonfinite_steps)
        self._request = StopRequest()
        self._before = None  # the report of the step before

    def run(self, total_steps, batch_size, actions=()):
        """Trains up to `total_steps` in all.

        Each action is called as action(state, last) after every step. On SIGTERM or SIGINT the
        running step is finished (an action is broken off), the state saved, and SystemExit
        raised. If the data or an action fail, the state is saved before the error goes on.
        """
        state, clock = self._state, Clock()
        # Several workers must read their reports at the same step: an error then ends all.
        alone = not self._train_step.many_workers
        with self._request, progress(state.step, total_steps) as bar:
            while state.step < total_steps:
                with self._saved_on_error():
                    batch = clock.waiting(self._batches)
                report = self._train_step(batch, state.step, self._request.asked)
                self._meter.add(state.step, report)
                state.step += 1
                clock.step()
                last = state.step == total_steps
                stop = self._stops(report)
                pause = last or stop
                log = pause or state.step % self._log_every == 0
                show = pause or (bar.due() if alone else log)
                save = pause or state.step % self._checkpoints.every == 0
                if show or log or save:
                    self._drain(clock, batch_size)
                if log:
                    self._log(clock, batch_size)
                if show:
                    bar.show(state.step, self._meter.last_loss, clock.rate, batch_size)
                if save:
                    self._save(must=pause)
                if stop:
                    raise SystemExit(self._request.status)
                acted = self._act(actions, last)
                if save or acted:
                    clock.resume()

    def _stops(self, report):
        """Whether to leave after this step.

        Workers must leave together: each tells its request in the step's sums, and all hear of
        it one step later, when reading them holds nothing up.
        """
        if not self._train_step.many_workers:
            return self._request.asked  # read once: the signal may come at any line
        before, self._before = self._before, report
        return before is not None and float(before.requests) > 0

    def _act(self, actions, last):
        """Calls the actions; returns whether any had something to do."""
        state = self._state
        # Several workers act together, or not at all: there a request waits for the next step.
        quick = self._request.breaking if not self._train_step.many_workers else _nothing
        try:
            with self._saved_on_error(), quick():
                acted = [_tolerant(action, state, last) for action in actions]
                return any(acted)
        except Interrupted:
            self._drain_only()
            self._save(must=True)
            raise SystemExit(self._request.status) from None

    @contextlib.contextmanager
    def _saved_on_error(self):
        """An error in this block says nothing against the state: it is saved first."""
        try:
            yield
        except Exception:
            self._drain_only()
            if self._state.step:
                self._save(must=False)
            raise

    def _save(self, must):
        """Saves; a disk that takes nothing ends training only if nothing comes after (`must`)."""
        try:
            self._checkpoints.save(self._state, patient=must)
        except OSError as error:
            if must:
                raise
            newest = self._checkpoints.paths()[-1:]
            logging.warning(
                "Step %d could not be saved (%s). Training goes on, and tries again in %d steps; "
                "the newest checkpoint is %s.",
                self._state.step, error, self._checkpoints.every,
                newest[0].name if newest else "none",
            )  # fmt: skip

    def _drain(self, clock, batch_size):
        try:
            self._drain_only()
        except NonFiniteError:
            self._log(clock, batch_size)  # the count belongs in TensorBoard, above all now
            raise

    def _drain_only(self):
        try:
            self._meter.drain()
        finally:
            self._state.nonfinite_steps = self._meter.nonfinite_steps

    def _log(self, clock, batch_size):
        figures = self._meter.figures()
        rate, waited = clock.lap()
        figures["speed/steps_per_second"] = rate
        figures["speed/images_per_second"] = rate * batch_size
        figures["speed/input_wait_share"] = waited
        figures["memory/resident_mib"] = memory.resident_mib()
        self._summaries.scalars(figures, self._state.step)


def _tolerant(action, state, last):
    """The action; what it cannot write, for want of space say, does not end training."""
    try:
        return action(state, last)
    except TimeoutError:  # of the data; an OSError too
        raise
    except OSError as error:
        logging.warning("At step %d something was not written: %s", state.step, error)
        return True


@contextlib.contextmanager
def _nothing():
    yield
