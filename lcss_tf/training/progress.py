"""What a person sees of the loop: its speed, the means of its reports, and one live line."""

import contextlib
import operator
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from lcss_tf.display import LINES_S, LIVE_S, is_live, strict, time_left, warn, write_line
from lcss_tf.errors import NotFiniteError
from lcss_tf.training.step import NUM_BUCKETS, StepReport

_LIVE_S, _LINES_S = LIVE_S, LINES_S  # between two updates, on a terminal and in a file
_TICK_S = 1.0  # of the clock while the first step compiles, on a terminal
_COMPILING = "compiling the first step …"


class NonFiniteError(NotFiniteError):
    """Too many steps in a row had a non-finite loss or gradient."""


class Clock:
    """Steps per second, without the time that actions take."""

    def __init__(self) -> None:
        self.rate = 0.0
        self._lap_steps = 0
        self._lap_s = 0.0
        self._lap_waited_s = 0.0
        self._waited_s = 0.0  # in the running call
        self._since: float | None = None  # the first step compiles: it does not count

    def waiting(self, batches: Iterator) -> Any:
        """The next of `batches`; the time that it takes to come is counted."""
        start = time.monotonic()
        batch = next(batches)
        self._waited_s += time.monotonic() - start
        return batch

    def step(self, count: int = 1) -> None:
        """So many steps have been taken, in one call."""
        now = time.monotonic()
        since, self._since = self._since, now
        waited, self._waited_s = self._waited_s, 0.0
        if since is None:
            return
        self._lap_waited_s += waited
        seconds = now - since
        self._lap_steps += count
        self._lap_s += seconds
        # A moving average over about 50 steps, for the line of progress.
        rate, kept = count / max(seconds, 1e-9), 0.98**count
        self.rate = rate if not self.rate else 1 / (kept / self.rate + (1 - kept) / rate)

    def lap(self) -> tuple[float, float]:
        """Since the last lap: steps per second, and the share of the time that input took."""
        seconds = max(self._lap_s, 1e-9)
        rate, waited = self._lap_steps / seconds, self._lap_waited_s / seconds
        self._lap_steps, self._lap_s, self._lap_waited_s = 0, 0.0, 0.0
        return rate, waited

    def resume(self) -> None:
        """Forgets the time since the last step."""
        self._since = time.monotonic()


class Meter:
    """Means of the steps' reports over an interval, and a watch for non-finite steps.

    Reports stay on the device until the figures are wanted, so that the loop need not wait for
    each step.

    Args:
      sde: names the parts of [t_min, T].
      max_nonfinite: stop after so many non-finite steps in a row.
      nonfinite_steps: how many the run had before.
    """

    def __init__(self, sde: Any, max_nonfinite: int, nonfinite_steps: int = 0) -> None:
        self._sde = sde
        self._max_nonfinite = max_nonfinite
        self._in_a_row = 0
        self._pending: list = []
        self._finished: list = []
        self.nonfinite_steps = nonfinite_steps
        self._overflows = 0  # steps skipped since the last figures because of the loss's scale
        self._shown: list[float] = []  # losses since the line of progress was last shown
        self._loss = float("nan")

    def add(self, step: int, report: StepReport) -> None:
        """Takes the report of step number `step`."""
        self._pending.append((step, None, report))

    def add_several(self, step: int, count: int, reports: StepReport) -> None:
        """Takes those of `count` steps from number `step` on, in a first axis."""
        self._pending.append((step, count, reports))

    def drain(self) -> None:
        """Waits for the pending reports and looks at them.

        Raises:
          NonFiniteError: `max_nonfinite` in a row; the message names step and times.
        """
        pending, self._pending = self._pending, []
        for step, report in _one_by_one(pending):
            if report.finite:
                self._in_a_row = 0
                self._finished.append(report)
                self._shown.append(float(report.loss))
                continue
            if report.scaling.get("overflowed"):  # the scale is halved; that alone is no failure
                self._overflows += 1
                continue
            self._in_a_row += 1
            self.nonfinite_steps += 1
            where = self._where(report)
            warn("Step %d skipped: non-finite %s.", step, where)
            if self._in_a_row >= self._max_nonfinite:
                raise NonFiniteError(
                    f"{self._in_a_row} steps in a row, up to step {step}, had a non-finite "
                    f"{where}. None of them changed the weights, and the last checkpoint is good. "
                    "Try a lower learning rate, a longer warm-up or a larger t_min of the SDE."
                )

    def _scaling(self, scaling: dict) -> dict[str, float]:
        """The scale of the last step, and how many were skipped for it; of float16 alone."""
        overflows, self._overflows = self._overflows, 0
        if not scaling:
            return {}
        return {"loss_scale": float(scaling["scale"]), "loss_scale_overflows": float(overflows)}

    def _where(self, report: StepReport) -> str:
        bad = np.flatnonzero(~np.isfinite(report.bucket_sums))
        if bad.size:
            names = ", ".join(bucket_name(int(i), self._sde).split("/")[1] for i in bad)
            return f"loss, in t-bucket {names}"
        counts = np.maximum(report.bucket_counts, 1)
        worst = int(np.argmax(np.abs(report.bucket_sums) / counts))
        name = bucket_name(worst, self._sde).split("/")[1]
        return f"gradient, the losses finite and largest in t-bucket {name}"

    def recent_loss(self) -> float:
        """The mean over the finite steps since the last call, or what it was then."""
        shown, self._shown = self._shown, []
        self._loss = float(np.mean(shown)) if shown else self._loss
        return self._loss

    def figures(self) -> dict[str, float]:
        """Means over the finite steps since the last call, by TensorBoard tag."""
        finished, self._finished = self._finished, []
        figures = {"nonfinite_steps": float(self.nonfinite_steps)}
        if not finished:
            return figures
        figures["loss/total"] = float(np.mean([r.loss for r in finished]))
        for name in finished[0].terms:
            figures[f"loss/{name}"] = float(np.mean([r.terms[name] for r in finished]))
        figures["gradient_norm"] = float(np.mean([r.gradient_norm for r in finished]))
        figures["learning_rate"] = float(finished[-1].learning_rate)
        figures |= self._scaling(finished[-1].scaling)
        sums = np.sum([r.bucket_sums for r in finished], axis=0)
        counts = np.sum([r.bucket_counts for r in finished], axis=0)
        for i in range(NUM_BUCKETS):
            if counts[i]:
                figures[bucket_name(i, self._sde)] = float(sums[i] / counts[i])
        return figures


def _one_by_one(pending: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """(step, report) of each step, once the device has it."""
    for step, count, report in pending:
        report = tf.nest.map_structure(lambda value: value.numpy(), report)
        if count is None:
            yield step, report
            continue
        for i in range(count):
            yield step + i, tf.nest.map_structure(operator.itemgetter(i), report)


def bucket_name(index: int, sde: Any) -> str:
    """The tag of a part of [t_min, T]: ``loss_by_t/0.1-0.2``."""
    width = (sde.T - sde.t_min) / NUM_BUCKETS
    return f"loss_by_t/{sde.t_min + index * width:.1f}-{sde.t_min + (index + 1) * width:.1f}"


class ProgressBar:
    """Step, loss, steps/s, examples/s and time left: one live line, or lines at a rhythm.

    On a terminal and in a notebook the line is live. Into a file or a pipe a whole line goes every
    30 seconds. Before the first step has ended it says that the step is being compiled, and for how
    long; `compiled` says what it took.

    Args:
      step: done before.
      steps: in all.
      batch_size: examples per step.
      noise_mse_offset: what the loss lacks of ε-MSE, see `Loss.noise_mse_offset`; None: ε-MSE is
        not shown.
    """

    _LAYOUT = "step {n:,}/{total:,} |{bar}| {postfix} [{elapsed}, {remaining} left]"

    def __init__(
        self, step: int, steps: int, batch_size: int, noise_mse_offset: float | None = None
    ) -> None:
        self._step, self._steps, self._batch_size = step, steps, batch_size
        self._offset = noise_mse_offset
        self._shown, self._start = time.monotonic(), time.monotonic()
        self._bar: Any = None
        self._live = is_live()
        self._compiled = threading.Event()
        self._ticking: threading.Thread | None = None

    def __enter__(self) -> "ProgressBar":
        if self._live:
            self._bar = tqdm(
                total=self._steps,
                initial=self._step,
                bar_format=self._LAYOUT,
                dynamic_ncols=True,
                mininterval=0,
                file=strict(sys.stderr),
            )
        self._say(_COMPILING)
        # Compilation holds the loop up, so that a thread of its own shows the time. Where there is
        # none to be had, the line stands still.
        ticking = threading.Thread(target=self._tick, daemon=True, name="compiling")
        with contextlib.suppress(RuntimeError):
            ticking.start()
            self._ticking = ticking
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop_ticking()
        if self._bar is not None:
            self._bar.close()

    def compiled(self, step: int) -> None:
        """The first step has been taken: says how long it took to come."""
        self._stop_ticking()
        taken, self._step, self._shown = step - self._step, step, time.monotonic()
        if self._bar is not None:
            self._bar.n = step
        what = "first step" if taken == 1 else f"first {taken} steps"
        self._say(f"{what} after {self._shown - self._start:.1f} s")

    def _tick(self) -> None:
        """Shows how long compilation has taken, until `compiled`. Runs in a thread of its own."""
        while not self._compiled.wait(_TICK_S if self._live else _LINES_S):
            with contextlib.suppress(Exception):
                self._say(f"{_COMPILING} {time.monotonic() - self._start:.0f} s")

    def _stop_ticking(self) -> None:
        self._compiled.set()
        if self._ticking is not None:
            self._ticking.join(_TICK_S)  # not for ever: a terminal may take no more

    def _say(self, text: str) -> None:
        if self._bar is not None:
            # Not by `refresh`: where writing fails it keeps its lock, and the loop would wait for
            # the thread that shows the time.
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.display()
        else:
            write_line(f"step {self._step:,}/{self._steps:,}, {text}", error=True)

    def due(self) -> bool:
        """Whether it is time to show again."""
        return time.monotonic() - self._shown > (_LIVE_S if self._live else _LINES_S)

    def show(self, step: int, loss: float, rate: float) -> None:
        """Shows where the loop stands; `rate` is in steps per second."""
        self._shown = time.monotonic()
        meaning = "" if self._offset is None else f" (ε-MSE {loss + self._offset:.4f})"
        rates = f"{rate:.1f} steps/s, {rate * self._batch_size:,.0f} examples/s"
        figures = f"loss {loss:.4f}{meaning}, {rates}"
        if self._bar is not None:
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(step - self._bar.n)
            self._bar.refresh()
            return
        left = time_left(self._steps - step, rate)
        elapsed = tqdm.format_interval(self._shown - self._start)
        write_line(f"step {step:,}/{self._steps:,}, {figures} [{elapsed}, {left} left]", error=True)


__all__ = ["Clock", "Meter", "NonFiniteError", "ProgressBar", "bucket_name"]
