"""The training loop: steps, checkpoints, figures, and callbacks with a rhythm of their own."""

import contextlib
import functools
import logging as python_logging
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from lcss_tf import cores, files, random
from lcss_tf.conditioning import check_augmentation
from lcss_tf.data.pipeline import training_batches
from lcss_tf.display import Tolerance, warn, write_line
from lcss_tf.errors import UsageError
from lcss_tf.plots.history import History
from lcss_tf.random import check_seed
from lcss_tf.sdes.author import check_methods
from lcss_tf.training import memory
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.interruption import Interrupted, StopRequest, within
from lcss_tf.training.keras_callbacks import KerasCallbacks
from lcss_tf.training.optimizers import doubts, for_run
from lcss_tf.training.prior_check import report_prior
from lcss_tf.training.progress import Clock, Meter, NonFiniteError, ProgressBar
from lcss_tf.training.state import TrainState
from lcss_tf.training.step import TrainStep
from lcss_tf.training.summaries import Summaries
from lcss_tf.training.workdir import (
    check_same_model,
    only_process,
    record_failures,
    write_description,
)
from lcss_tf.typing import DatasetLike, LossLike

_VALIDATED = 1_024  # examples of the validation loss, at most
_MEASURED_NUMBERS = 2**20  # numbers on which the moments of x_t are measured, at most


@dataclass
class Run:
    """One training, as its callbacks see it.

    Attributes:
      state: the `TrainState`, which callbacks leave as it is.
      data: the `Dataset`.
      loss: the loss.
      steps: steps in all.
      batch_size: examples per step, over all replicas.
      seed: of everything random.
      workdir: where the run is kept; None: nowhere.
      optimizer: as of `optimizers.for_run`: a Keras optimiser, what makes one, or None.
      validates: whether the loss of the data's test split is measured.
      checkpoints: of the run; None without a workdir.
      summaries: of the run; without a workdir they go nowhere.
      records: {name: bytes} of small files to write beside the checkpoints.
      tolerance: around all that only shows; it counts what fails.
    """

    state: TrainState
    data: DatasetLike
    loss: LossLike
    steps: int
    batch_size: int
    seed: int = 0
    workdir: Path | None = None
    optimizer: Any = None
    validates: bool = False
    checkpoints: Checkpoints | None = None
    summaries: Summaries = field(default_factory=lambda: Summaries(None))
    records: dict[str, bytes] = field(default_factory=dict)
    tolerance: Tolerance = field(default_factory=Tolerance)


class Periodic(keras.callbacks.Callback):
    """A callback that acts after every n-th step, and after the last.

    A subclass defines `act`. It may look at `self.run`, the `Run`, and leaves its state alone.

    Args:
      every: n, in steps; 0: never.
    """

    run: Run

    def __init__(self, every: int) -> None:
        super().__init__()
        if every < 0:
            raise UsageError(f"{type(self).__name__}.every must not be negative; got {every}.")
        self.every = every

    def begin(self, run: Run) -> None:
        """Before the first step; raises UsageError for what cannot work. Writes nothing."""
        self.run = run

    def started(self) -> None:
        """After the first step: from now on the workdir is this run's, and may be written to."""

    def act(self, step: int) -> None:
        """Acts after `step` steps."""
        raise NotImplementedError(f"{type(self).__name__} must define act(step).")


class Trainer:
    """How a model is trained, whatever the model is.

    Args:
      log_every: steps between figures: in the history, in TensorBoard and for Keras callbacks.
      max_nonfinite: stop after so many non-finite steps in a row.
      data_timeout_s: the longest wait for a batch, in seconds; 0: no limit.
      make_step: (state, loss, batch_size, seed) -> the step; `TrainStep`, or a
        ``functools.partial`` of it with other options.
      make_checkpoints: (workdir, writes=…) -> `Checkpoints`; likewise.
      check_prior: (sde, data, seed) -> `PriorCheck`; likewise. None: no check.
      resume: "auto": resume a run of the same model; "force": of another model too.
      steps_per_call: steps that one call of the compiled program takes, at most. A small network's
        step takes less time than the call: then 10 or 50 pay. The steps are the same. What happens
        between steps happens between calls; a call ends early where something is due.

    Attributes:
      show_progress: whether a line shows where the training stands.
    """

    def __init__(
        self,
        log_every: int = 50,
        max_nonfinite: int = 20,
        data_timeout_s: float = 600.0,
        make_step: Callable = TrainStep,
        make_checkpoints: Callable = Checkpoints,
        check_prior: Callable | None = report_prior,
        resume: str = "auto",
        steps_per_call: int = 1,
    ) -> None:
        whole = not isinstance(steps_per_call, bool) and int(steps_per_call) == steps_per_call
        if not whole or steps_per_call < 1:
            raise UsageError(
                "Trainer.steps_per_call must be a whole number, at least 1; got "
                f"{steps_per_call!r}."
            )
        if log_every < 1 or max_nonfinite < 1 or data_timeout_s < 0:
            raise UsageError(
                "Trainer expects log_every >= 1, max_nonfinite >= 1 and data_timeout_s >= 0; got "
                f"{log_every}, {max_nonfinite} and {data_timeout_s}."
            )
        self.log_every = log_every
        self.max_nonfinite = max_nonfinite
        self.data_timeout_s = data_timeout_s
        self.make_step, self.make_checkpoints = make_step, make_checkpoints
        self.check_prior, self.resume = check_prior, resume
        self.steps_per_call = int(steps_per_call)
        self.show_progress = True

    def train(self, run: Run, callbacks: Sequence[Any] = (), model: Any = None) -> History:
        """Trains up to `run.steps` steps in all, resuming what the workdir holds.

        Args:
          run: what to train.
          callbacks: Keras callbacks, and `Periodic` ones. Keras' are called at the rhythm of
            `log_every`, which is an epoch to them.
          model: what Keras callbacks know as their model; its `stop_training` ends the loop.

        Raises:
          UsageError: before any work, with the remedy.
          NonFiniteError: too many non-finite steps in a row.
          DataTimeoutError: the data hang.
          MemoryError: the step does not fit; says what would.
          SystemExit: on SIGTERM, SIGINT or SIGHUP, after saving.
        """
        check(run)
        chief = run.state.distribution.is_chief
        lock = only_process(run.workdir) if run.workdir and chief else contextlib.nullcontext()
        with lock, _logging_that_raises_nothing():
            return self._train(run, callbacks, model)

    def _train(self, run: Run, callbacks: Sequence[Any], model: Any) -> History:
        state, chief, show = run.state, run.state.distribution.is_chief, run.tolerance
        tell = functools.partial(show, "A line of the standard output", write_line)
        restored = self._prepare(run, chief)
        if state.step >= run.steps:
            tell(f"Trained already: step {state.step:,} of {run.steps:,} in {run.workdir}.")
            return History.from_workdir(run.workdir) if run.workdir else History({})
        if restored is not None:
            tell(f"Resuming from {restored} at step {state.step:,}.")
        # Everything is built, and checked, before the first step. Until that is taken, nothing is
        # written that another run in this workdir would be measured against.
        step = self.make_step(state, run.loss, run.batch_size, run.seed)
        if self.steps_per_call > 1 and step.many_workers:
            raise UsageError(
                f"Trainer.steps_per_call = {self.steps_per_call}, and several workers train: they "
                "must hear of one another's requests to stop after every step. Use 1; one worker "
                "with several devices takes any."
            )
        run.summaries = Summaries(run.workdir if chief else None, show)
        for callback in callbacks:
            if hasattr(callback, "begin"):
                callback.begin(run)
        if chief and restored is None and self.check_prior is not None:
            self.check_prior(state.sde, run.data, run.seed, run.summaries)
        if hasattr(run.loss, "describe"):
            show("The description of the loss", lambda: tell(run.loss.describe(state.sde)))
        look = functools.partial(doubts, state.optimizer, state.step, run.steps)
        for line in show("The look at the learning rate", look) or ():
            warn("%s", line)
        batches = training_batches(
            run.data, state.distribution, run.batch_size, run.seed, state.step, state.condition,
            state.augmentation_size,
        )  # fmt: skip
        loop = _Loop(self, run, step, within(batches, self.data_timeout_s))
        try:
            return loop.run(callbacks, model)
        except tf.errors.OpError as error:
            if error.error_code == tf.errors.RESOURCE_EXHAUSTED or "RESOURCE_EXHAUST" in str(error):
                raise MemoryError(memory.advice(run, self.make_step)) from error
            raise
        finally:
            run.summaries.close()
            if show.failures:
                warn("What failed while training continued: %s.", show.text())
                if run.records and run.workdir and chief:  # it has begun
                    show("The record of failures", record_failures, run.workdir, show)

    def _prepare(self, run: Run, chief: bool) -> Path | None:
        """Restores what the workdir holds, or measures the data; the checkpoint restored."""
        state, path = run.state, None
        optimizer = for_run(run.optimizer, run.steps, state.num_parameters())
        state.attach(optimizer, run.loss)
        if run.workdir:
            run.checkpoints = self.make_checkpoints(run.workdir, writes=chief)
            if chief:
                if self.resume != "force":
                    check_same_model(run.workdir, state.description)
                run.checkpoints.prepare(state)
                path = run.checkpoints.restore(state)
        if path is None:
            measure(run)
        state.share(state.distribution)  # all workers begin with what the chief has
        return path


def check(run: Run) -> None:
    """Raises UsageError if devices, data, loss and model do not go together."""
    state = run.state
    check_seed(run.seed, "fit.seed")
    state.distribution.rows_per_replica(run.batch_size, "fit.batch_size")
    if isinstance(run.steps, bool) or int(run.steps) != run.steps or run.steps < 1:
        raise UsageError(f"fit.steps must be a whole number, at least 1; got {run.steps!r}.")
    check_sde(run)
    run.data.require("train")
    check_augmentation(state.network, run.data)
    if run.validates:
        run.data.require("test")
    for split in ("train", "test") if run.validates else ("train",):
        run.data.check_condition(state.condition, split)


def check_sde(run: Run) -> None:
    """Raises UsageError if a method of the SDE is wrong, or the SDE lacks what the loss needs."""
    check_methods(run.state.sde, run.state.state_shape)
    run.loss.check(run.state.sde)


def measure(run: Run) -> None:
    """Measures on the training data what the SDE and the preconditioning do not know yet."""
    sde, preconditioning = run.state.sde, run.state.score.preconditioning
    knows_path = sde.has_marginal or sde.measured
    if knows_path and preconditioning.measured is not None:
        return
    count = max(16, min(1024, _MEASURED_NUMBERS // int(np.prod(run.data.shape))))
    examples = run.data.some_examples(count, "train", run.seed)
    if not knows_path:
        sde.prepare(examples, run.seed)
    if preconditioning.measured is None:
        preconditioning.prepare(sde, examples, run.seed)


@contextlib.contextmanager
def _logging_that_raises_nothing() -> Iterator[None]:
    """A log that can no longer be written to must not end a training."""
    before, python_logging.raiseExceptions = python_logging.raiseExceptions, False
    try:
        yield
    finally:
        python_logging.raiseExceptions = before


class _Loop:
    """Runs training steps from the state's step to the end."""

    def __init__(self, trainer: Trainer, run: Run, step: Any, batches: Iterator) -> None:
        self._trainer, self._run, self._tolerance = trainer, run, run.tolerance
        self._train_step, self._batches = step, batches
        self._state, self._checkpoints = run.state, run.checkpoints
        self._meter = Meter(run.state.sde, trainer.max_nonfinite, run.state.nonfinite_steps)
        self._request = StopRequest()
        self._before: Any = None  # the report of the step before
        self._started = False  # whether this process has taken a step
        self._curves: dict[str, tuple[list, list]] = {}
        self._validate = _validation(run) if run.validates else None

    def run(self, callbacks: Sequence[Any], model: Any) -> History:
        """Trains up to the last step.

        On a signal the running step is finished (a periodic callback is broken off), the state
        saved, and SystemExit raised. If the data fail, the state is saved before their error is
        raised.
        """
        run, state, clock = self._run, self._state, Clock()
        periodic = [c for c in callbacks if hasattr(c, "act")]
        self._keras = KerasCallbacks(
            [c for c in callbacks if not hasattr(c, "act")],
            self._tolerance,
            model=model,
            steps=run.steps,
            epochs=-(-run.steps // self._trainer.log_every),
        )
        self._most = min(self._trainer.steps_per_call, *self._rhythms(periodic))
        # Several workers must read their reports at the same step: an error then ends all.
        alone = not self._train_step.many_workers
        self._keras("on_train_begin")
        kept = state.step  # the step that was saved last
        with self._request, _Tolerant(self._make_bar(), self._tolerance) as bar:
            while state.step < run.steps and not getattr(model, "stop_training", False):
                count = self._steps_until_something_is_due(periodic)
                with self._saved_on_error():
                    batches = [clock.waiting(self._batches) for _ in range(count)]
                report = self._take(batches)
                clock.step(count)
                if not self._started:
                    self._start(callbacks)
                    self._started = True
                    bar.compiled(state.step)
                stopped = self._stops(report) or bool(getattr(model, "stop_training", False))
                last = state.step == run.steps
                pause = last or stopped
                log = pause or state.step % self._trainer.log_every == 0
                due = pause or (bar.due() if alone else log)
                save = self._checkpoints is not None and (
                    pause or state.step % self._checkpoints.every == 0
                )
                if due or log or save:
                    self._drain(clock)
                if log:
                    self._log(clock)
                if due:
                    bar.show(state.step, self._meter.recent_loss(), clock.rate)
                if save:
                    self._save(must=pause)
                    kept = state.step
                if stopped and (self._request.asked or not getattr(model, "stop_training", False)):
                    self._leave()
                acted = self._act(periodic, pause)
                if save or acted:
                    clock.resume()
                if stopped:
                    break
            if kept != state.step:  # a callback ended the training after this step
                self._drain(clock)
                self._save(must=True)
        self._keras("on_train_end")
        return History({name: (s, v) for name, (s, v) in self._curves.items()})

    def _steps_until_something_is_due(self, periodic: Sequence[Any]) -> int:
        """How many steps the next call takes."""
        step = self._state.step
        left = [every - step % every for every in self._rhythms(periodic)]
        return min(self._most, self._run.steps - step, *left)

    def _rhythms(self, periodic: Sequence[Any]) -> list[int]:
        """After how many steps something is due, each time."""
        rhythms = [self._trainer.log_every, *(c.every for c in periodic)]
        if self._checkpoints is not None:
            rhythms.append(self._checkpoints.every)
        return [every for every in rhythms if every]

    def _take(self, batches: Sequence[Any]) -> Any:
        """Takes as many steps as there are batches, in one call; its report."""
        step, count, most = self._state.step, len(batches), self._most
        if most == 1:
            report = self._train_step(batches[0], step, self._request.asked)
            self._meter.add(step, report)
        else:
            # Always as many batches: one program serves calls that end early too.
            padded = [*batches, *([batches[-1]] * (most - count))]
            report = self._train_step.several(padded, step, count)
            self._meter.add_several(step, count, report)
        self._state.step += count
        return report

    def _start(self, callbacks: Sequence[Any]) -> None:
        """After the first step, which worked: says in the workdir what it is a run of."""
        run = self._run
        self._drain_only()  # waits for the step, on every worker
        if run.workdir and run.state.distribution.is_chief:
            run.records |= write_description(run.workdir, run.state.description)
            for callback in callbacks:
                if hasattr(callback, "started"):
                    callback.started()
            for name, content in run.records.items():
                if not (run.workdir / name).exists():
                    files.write_bytes(run.workdir / name, content)
        if self._checkpoints is not None:
            self._checkpoints.keep_beside(run.records)

    def _make_bar(self) -> Any:
        run = self._run
        if not self._trainer.show_progress:
            return None
        meaning = getattr(run.loss, "noise_mse_offset", None)  # a loss of a user's may lack it
        offset = meaning(run.state.sde) if meaning else None
        # Even to ask a closed standard error whether it is a terminal fails.
        make = lambda: ProgressBar(run.state.step, run.steps, run.batch_size, offset)
        return self._tolerance("The progress line", make)

    def _stops(self, report: Any) -> bool:
        """Whether to leave after this step because of a signal.

        Workers must leave together: each tells its request in the step's sums, and all hear of
        it one step later, when reading them holds nothing up.
        """
        if not self._train_step.many_workers:
            return self._request.asked  # read once: the signal may come at any line
        before, self._before = self._before, report
        return before is not None and float(before.requests) > 0

    def _act(self, periodic: Sequence[Any], pause: bool) -> bool:
        """Calls the periodic callbacks that are due; returns whether any was."""
        step = self._state.step
        due = [c for c in periodic if c.every and (pause or step % c.every == 0)]
        if not due:
            return False
        # Several workers act together, or not at all: there a request waits for the next step.
        alone = not self._train_step.many_workers
        quick = self._request.breaking() if alone else contextlib.nullcontext()
        try:
            with quick:
                for callback in due:
                    self._tolerance(type(callback).__name__, callback.act, step)
        except Interrupted:
            self._drain_only()
            self._save(must=True)
            self._leave()
        return True

    def _leave(self) -> NoReturn:
        """As the signal would have ended the process, had nobody listened."""
        if self._request.status == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(self._request.status)

    @contextlib.contextmanager
    def _saved_on_error(self) -> Iterator[None]:
        """If data or a user's callback fail, the state is still valid: it is saved first."""
        try:
            yield
        except BaseException:  # a callback may also end the process: sys.exit
            self._drain_only()
            if self._started:
                self._save(must=False)
            raise

    def _save(self, must: bool) -> None:
        """Saves; a disk that takes nothing ends training only if nothing comes after (`must`)."""
        if self._checkpoints is None:
            return
        try:
            self._checkpoints.save(self._state, patient=must)
        except Exception as error:  # of a disk mostly; whatever it is, the run goes on
            if must:
                raise
            newest = self._checkpoints.paths()[-1:]
            warn(
                "Step %d could not be saved (%s). Training continues, and tries again in %d steps; "
                "the newest checkpoint is %s.",
                self._state.step, error, self._checkpoints.every,
                newest[0].name if newest else "none",
            )  # fmt: skip

    def _drain(self, clock: Clock) -> None:
        try:
            self._drain_only()
        except NonFiniteError:
            self._log(clock, False)  # the count belongs in TensorBoard, above all now
            raise

    def _drain_only(self) -> None:
        try:
            self._meter.drain()
        finally:
            self._state.nonfinite_steps = self._meter.nonfinite_steps

    def _log(self, clock: Clock, call: bool = True) -> None:
        """Writes the figures since the last call; and calls Keras' callbacks with them."""
        step = self._state.step
        figures = self._tolerance("The figures", self._figures, clock) or {}
        self._run.summaries.scalars(figures, step)
        logs = {_keras_name(name): value for name, value in figures.items()}
        for name, value in logs.items():
            steps, values = self._curves.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)
        if not call:
            return
        epoch = (step - 1) // self._trainer.log_every
        with self._saved_on_error():
            self._keras("on_epoch_begin", epoch)
            self._keras("on_train_batch_begin", step - 1)
            self._keras("on_train_batch_end", step - 1, logs)
            self._keras("on_epoch_end", epoch, logs)

    def _figures(self, clock: Clock) -> dict[str, float]:
        figures, (rate, waited) = self._meter.figures(), clock.lap()
        if self._validate is not None:
            figures["loss/validation"] = self._tolerance("The validation loss", self._validate)
        figures["speed/steps_per_second"] = rate
        figures["speed/images_per_second"] = rate * self._run.batch_size
        figures["speed/input_wait_share"] = waited
        resident = self._tolerance("The memory's size", memory.resident_mib)
        figures["memory/resident_mib"] = resident
        return {name: value for name, value in figures.items() if value is not None}


def _keras_name(tag: str) -> str:
    """The name that Keras callbacks and the history use for a TensorBoard tag."""
    return {"loss/total": "loss", "loss/validation": "val_loss"}.get(tag, tag)


def _validation(run: Run) -> Callable[[], float]:
    """() -> the average's loss on held-out examples, under noise that is the same every time."""
    data, state = run.data, run.state
    count = max(16, min(_VALIDATED, _MEASURED_NUMBERS // int(np.prod(data.shape))))
    indices = data.spread_indices(count, "test")
    x0 = tf.convert_to_tensor(data.examples(indices, "test", run.seed), tf.float32)
    options: dict[str, Any] = {}
    if state.condition is not None:
        options["condition"] = data.conditions(state.condition, "test", run.seed)(indices)
    batch = int(x0.shape[0])
    number = cores.parts(batch, state.num_parameters())

    @tf.function(autograph=False)
    def per_example(x: Any, options: dict[str, Any], seed: Any) -> Any:
        score_fn = state.score.score_fn(state.average, batch=batch // number, **options)
        return run.loss(score_fn, state.sde, x, seed, batch).per_example

    @tf.function(autograph=False)
    def loss() -> Any:
        def part(own: slice) -> Any:
            seed = random.at_row(random.as_seed(run.seed), own.start)
            return per_example(x0[own], {k: v[own] for k, v in options.items()}, seed)

        return tf.reduce_mean(cores.joined(number, part, batch))

    return lambda: float(loss())


class _Tolerant:
    """The progress bar, or none; its failures end nothing."""

    def __init__(self, bar: ProgressBar | None, tolerance: Tolerance) -> None:
        self._call = lambda function, *args: tolerance("The progress line", function, *args)
        self._bar = bar

    def __enter__(self) -> "_Tolerant":
        if self._bar is not None:
            self._call(self._bar.__enter__)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._call(self._bar.__exit__, *error)

    def compiled(self, step: int) -> None:
        """See `ProgressBar.compiled`."""
        if self._bar is not None:
            self._call(self._bar.compiled, step)

    def due(self) -> bool:
        """See `ProgressBar.due`."""
        return self._bar is not None and self._bar.due()

    def show(self, *figures: Any) -> None:
        """See `ProgressBar.show`."""
        if self._bar is not None:
            self._call(self._bar.show, *figures)


__all__ = ["Periodic", "Run", "Trainer", "check", "measure"]
