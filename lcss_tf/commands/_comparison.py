"""Losses side by side: one seed, data, network and budget; quality, seconds, memory."""

import functools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gin
import numpy as np
import tensorflow as tf

from lcss_tf import cores, files, forms, plots, random, xla
from lcss_tf.commands import _gin, _runs
from lcss_tf.display import Bar, tolerated, warn
from lcss_tf.errors import NotFiniteError, UnknownNameError, UsageError
from lcss_tf.exact import exact_mixture
from lcss_tf.inference import Sampling, conditions_of, given_of
from lcss_tf.metrics import MetricSuite, References
from lcss_tf.model import ScoreModel
from lcss_tf.ops import like
from lcss_tf.training import Checkpoints, Periodic, Run
from lcss_tf.training.memory import PeakMemory
from lcss_tf.training.optimizers import for_run

RESULT, DIAGNOSIS = "result.json", "diagnosis.json"
_PROGRESS = "progress.json"
_ANEW = "Remove {} to train that run anew."
_POINT = {"step": forms.COUNT, "seconds": forms.NUMBER, str: forms.NUMBER}
_RECORD_FORM = {
    "seconds": forms.FINITE,
    "block_ms": [forms.NUMBER],
    "curve": [_POINT],
    "budgets": {str: _POINT},
    "peak_mib": forms.NUMBER,
}
FIGURES_FORM = {  # of a result's figures alone
    "name": forms.TEXT,
    "ms_per_step": forms.NUMBER,
    "budgets": {"steps": _POINT, "seconds": forms.Optional(_POINT)},
}
_RESULT_FORM = FIGURES_FORM | {
    **dict.fromkeys(("loss", "sde"), forms.TEXT),
    **dict.fromkeys(("parameters", "batch_size"), forms.COUNT),
    "peak_mib": forms.NUMBER,
    "curve": [_POINT],
}
_DIAGNOSIS_FORM = {
    "name": forms.TEXT,
    "buckets": [forms.PAIR],
    "figures": {str: [forms.NUMBER]},
    "step": {str: forms.NUMBER},
}
_BLOCK = 10  # steps between two looks at the clock
_SAVE_S = 60.0  # training seconds between checkpoints
_FOREVER = 10**9  # steps: the budgets end the training
_POINTS = 4_096  # at which the score is compared, at each time
_HELD_OUT_NUMBERS = 2**21  # numbers of held-out data at each time, at most
_PICTURED = 64  # images in a grid
_SEED = 20_240  # of the evaluator's own draws: the same for every loss


@gin.configurable
@dataclass
class Comparison:
    """Losses that are trained alike: data, network, batch, steps and seed are those of `fit`.

    Each is trained until both budgets are spent, `fit.steps` and `seconds`, and
    evaluated at both: at equal steps and at equal wall clock.

    Args:
      losses: objects of `LOSSES` by the names they go under in the tables.
      seconds: training seconds of the equal wall clock; compilation, evaluation and
        checkpoints do not count. 0: equal steps alone.
      sdes: SDEs by name of a loss, where it is not `ScoreModel.sde`.
      networks: networks by name of a loss, where it is not `ScoreModel.network`.
      optimizers: Keras optimisers by name of a loss, where it is not `fit.optimizer`.
      times: at which the score is compared, fractions of T.
      metric: an object of `METRICS`, measured on samples at both budgets; None: none.
      samplers: objects of `SAMPLERS` by name; by default the one bound to `sample`.
      sample_repeats: sets of samples over which the metric is averaged.
      curve_points: how often the score is compared on the way.
      metrics: further objects of `METRICS`.
      seeds: train every loss once with each, in place of `fit.seed`; the tables then have means
        over seeds with standard errors.
    """

    losses: dict = gin.REQUIRED
    seconds: float = gin.REQUIRED
    sdes: Any = None
    times: tuple = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
    metric: Any = None
    samplers: Any = None
    sample_repeats: int = 1
    curve_points: int = 8
    metrics: tuple = ()
    seeds: tuple = ()
    networks: Any = None
    optimizers: Any = None

    def __post_init__(self) -> None:
        by_name = {k: getattr(self, k) or {} for k in ("sdes", "networks", "optimizers")}
        self.sdes, self.networks, self.optimizers = by_name.values()
        self.samplers = self.samplers or {"samples": None}
        for seed in self.seeds:
            random.check_seed(seed, "Each of Comparison.seeds")
        for option, given in by_name.items():
            strangers = sorted(set(given) - set(self.losses))
            if strangers or not self.losses:
                raise UsageError(
                    f"Comparison.{option} has keys {strangers} that Comparison.losses has not; "
                    f"the losses are {sorted(self.losses)}."
                )
        if self.seconds < 0 or not all(0 < t <= 1 for t in self.times):
            raise UsageError(
                "Comparison expects seconds >= 0 and times in (0, 1]; got "
                f"seconds={self.seconds}, times={self.times}."
            )
        slugs = {slug(name) for name in self.entries}
        if len(slugs) < len(self.entries):
            raise UsageError(
                f"Comparison.losses: {sorted(self.entries)} become the folders {sorted(slugs)}; "
                "use names that differ in letters or digits, and seeds that differ."
            )

    @property
    def budgets(self) -> tuple[str, ...]:
        """What a training ends by."""
        return ("steps", "seconds") if self.seconds else ("steps",)

    @property
    def all_metrics(self) -> list:
        """`metric` and `metrics`."""
        return [m for m in (self.metric, *self.metrics) if m is not None]

    @property
    def entries(self) -> dict[str, tuple[str, int | None]]:
        """{name: (loss, seed)} of all that is trained; seed None: `fit.seed`."""
        if not self.seeds:
            return {name: (name, None) for name in self.losses}
        # By seeds first: a comparison that is stopped early has whole rounds.
        return {f"{loss} (seed {s})": (loss, s) for s in self.seeds for loss in self.losses}

    def build(self, name: str) -> tuple[ScoreModel, dict[str, Any]]:
        """(a fresh model, the arguments of its `fit`) of one run.

        Raises:
          UnknownNameError: there is no such run.
        """
        if name not in self.entries:
            raise UnknownNameError(f"No run named {name!r} in Comparison: {sorted(self.entries)}.")
        loss, seed = self.entries[name]
        given = {"sde": self.sdes[loss]} if loss in self.sdes else {}
        if loss in self.networks:  # which is trained in place: each run has its own
            network = self.networks[loss]
            given["network"] = type(network).from_config(network.get_config())
        model = _gin.ScoreModel(distribution=_gin.Distribution(), **given)
        arguments = _gin.fit() | {"loss": self.losses[loss]}
        arguments["optimizer"] = self.optimizers.get(loss, arguments["optimizer"])
        return model, arguments | ({} if seed is None else {"seed": seed})

    def check(self) -> None:
        """Raises UsageError, before any work, for a loss that cannot train on its SDE."""
        for loss, made in self.losses.items():
            sde = self.sdes.get(loss) or _gin.ScoreModel().sde
            try:
                made.check(sde)
            except UsageError as error:
                raise UsageError(f"Comparison.losses[{loss!r}]: {error}") from error


def slug(name: str) -> str:
    """The folder of a run: its name in small letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def entry_workdir(workdir: str | Path, name: str) -> Path:
    """Where one loss is trained."""
    return Path(workdir) / slug(name)


def train_entry(
    comparison: Comparison, name: str, workdir: str | Path, resume: str = "auto"
) -> None:
    """Trains and evaluates one run of a comparison in its own folder, and resumes by itself.

    Writes ``result.json``.

    Args:
      comparison: the `Comparison`.
      name: of the run.
      workdir: the comparison's directory.
      resume: as of `Trainer`: "force" resumes a run of another model, or on other data.
    """
    memory = PeakMemory()
    model, arguments = comparison.build(name)
    asked, steps = arguments["optimizer"], arguments["steps"]
    arguments["optimizer"] = lambda _, parameters: for_run(asked, steps, parameters)
    del arguments["callbacks"]  # `train` alone makes them: several runs would share one's files
    budgets = _Budgets(comparison, name, arguments["steps"], model, memory)
    budgets.begun = lambda: _runs.adopt(workdir)
    trainer = _gin.Trainer(
        make_step=_gin.TrainStep,
        make_checkpoints=budgets.make_checkpoints,
        check_prior=None,
        resume=resume,
    )
    trainer.show_progress = False
    directory = entry_workdir(workdir, name)
    with budgets:
        model.fit(
            **(arguments | {"steps": _FOREVER}),
            workdir=directory,
            callbacks=[budgets],
            trainer=trainer,
        )
    budgets.raise_failure()
    files.write_json(directory / RESULT, budgets.result())


def read_result(workdir: str | Path, name: str, file: str, form: Any = None) -> dict | None:
    """``result.json`` or ``diagnosis.json`` of one run; None where there is none.

    Args:
      workdir: the comparison's directory.
      name: of the run.
      file: `RESULT` or `DIAGNOSIS`.
      form: that is needed of it; by default all that is written.

    Raises:
      UsageError: it is damaged; names it.
    """
    whole, done = (_RESULT_FORM, "trained") if file == RESULT else (_DIAGNOSIS_FORM, "measured")
    path = entry_workdir(workdir, name) / file
    return files.read_json(path, form or whole, f"Remove it: {name} is {done} to its end again.")


def _records(path: Path) -> dict[str, Any]:
    """What is recorded beside the newest checkpoints, by step."""
    remedy = _ANEW.format(path.parent)
    records = files.read_json(path, {str: dict}, remedy) or {}
    if not all(step.isdecimal() and step.isascii() and len(step) < 19 for step in records):
        raise UsageError(f"{path} is damaged: its keys should be steps. {remedy}")
    return records


def _record(path: Path, step: int) -> dict[str, Any] | None:
    """What is recorded of one step; None where nothing is.

    Raises:
      UsageError: it is damaged; names it.
    """
    record = _records(path).get(str(step))
    problem = None if record is None else forms.mismatch(record, _RECORD_FORM)
    if problem:
        raise UsageError(f"{path} is damaged: {problem}. {_ANEW.format(path.parent)}")
    return record


class _Recorded(Checkpoints):
    """Checkpoints that keep the comparison's record of their step beside them."""

    def __init__(self, workdir: str | Path, record: dict, writes: bool = True) -> None:
        super().__init__(workdir, every=_FOREVER, keep=2, writes=writes)
        self._record, self._path = record, Path(workdir) / _PROGRESS

    def write(self, path: Path, state: Any) -> Path:
        """The record first: whichever checkpoint is restored finds its own."""
        records = _records(self._path)
        # A later step is of a process that was killed before its checkpoint was written.
        before = {int(step): record for step, record in records.items() if int(step) < state.step}
        kept = dict(sorted((before | {state.step: self._record}).items())[-4:])
        files.write_json(self._path, kept, indent=None)
        return super().write(path, state)


class _Budgets(Periodic):
    """Ends a training when both budgets are spent; times it, and evaluates it on the way.

    Args:
      comparison: the `Comparison`.
      name: of the run.
      steps: the budget of steps.
      model: the model that is trained.
      memory: started before anything was built.
    """

    def __init__(
        self, comparison: Comparison, name: str, steps: int, model: ScoreModel, memory: PeakMemory
    ) -> None:
        super().__init__(1)
        self._comparison, self._name, self._steps = comparison, name, steps
        self._trained, self._memory = model, memory
        self.record: dict[str, Any] = {
            "seconds": 0.0, "block_ms": [], "curve": [], "budgets": {}, "peak_mib": 0.0
        }  # fmt: skip
        # The first step of a process compiles: it counts as a step, not as time.
        self._since: float = 0.0
        self._last_step = 0  # up to which time was counted
        self._failure: Exception | None = None
        self._marks = np.linspace(0, 1, comparison.curve_points + 1)[1:]
        self.begun: Callable[[], None] = lambda: None  # called after the first step

    def __enter__(self) -> "_Budgets":
        self._bar = Bar(100, self._name, "%").__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def make_checkpoints(self, workdir: str | Path, writes: bool = True) -> Checkpoints:
        """As `Trainer` wants it."""
        return _Recorded(workdir, self.record, writes)

    def begin(self, run: Run) -> None:
        """See `Periodic`."""
        super().begin(run)
        self._checkpoints: Any = run.checkpoints
        self._directory: Any = run.workdir
        step = run.state.step
        if step:
            self.record.update(self._recorded(step))
        self._saved_s = self.record["seconds"]
        self._evaluator = Evaluator(self._comparison, self._trained, run.data, run.seed)
        if step:
            self._evaluate_if_due(step)  # a process that was stopped may not have come to it
        if self._done():
            self._trained.stop_training = True

    def started(self) -> None:
        """See `Periodic`."""
        self.begun()

    def _recorded(self, step: int) -> dict[str, Any]:
        path = self._directory / _PROGRESS
        record = _record(path, step)
        if record is None:
            raise UsageError(
                f"{path} has no record of step {step}, where the newest checkpoint is. Remove "
                f"{self.run.workdir} to train {self._name} anew."
            )
        return record

    def act(self, step: int) -> None:
        """After every step; looks at the clock after every block, and at the budget of steps."""
        ends = step % _BLOCK == 0 or step == self._steps
        try:
            if not self._since:
                self._wait()
                self._memory.restart()
                self._last_step, self._since = step, time.perf_counter()
            if ends:
                self._end_block(step)
        except Exception as error:  # the loop would train on without us, and never end
            self._failure = error
            self._trained.stop_training = True

    def raise_failure(self) -> None:
        """Raises what ended the training before its budgets were spent, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _wait(self) -> None:
        """Until the device has taken the step."""
        int(self.run.state.optimizer.iterations.numpy())

    def _end_block(self, step: int) -> None:
        self._wait()
        now, record, steps = time.perf_counter(), self.record, step - self._last_step
        if steps:
            record["seconds"] += now - self._since
            record["block_ms"].append(round(1e3 * (now - self._since) / steps, 4))
            record["peak_mib"] = max(record["peak_mib"], self._memory.peak())
        fraction = min(step / self._steps, self._share(), 1.0)
        self._bar.note = f"{self.ms_per_step():.1f} ms/step"
        self._bar.update(int(100 * fraction) - self._bar.n)
        self._evaluate_if_due(step)
        if record["seconds"] - self._saved_s > _SAVE_S:
            self._checkpoints.save(self.run.state)
            self._saved_s = record["seconds"]
        if self._done():
            self._trained.stop_training = True
        self._last_step, self._since = step, time.perf_counter()

    def ms_per_step(self) -> float:
        """Median over blocks."""
        return float(np.median(self.record["block_ms"])) if self.record["block_ms"] else 0.0

    def result(self) -> dict[str, Any]:
        """What ``result.json`` holds."""
        run = self.run
        return {
            "name": self._name,
            "loss": type(run.loss).__name__,
            "sde": type(run.state.sde).__name__,
            "parameters": run.state.num_parameters(),
            "batch_size": run.batch_size,
            "ms_per_step": self.ms_per_step(),
            **{key: self.record[key] for key in ("peak_mib", "curve", "budgets")},
        }

    def _done(self) -> bool:
        return set(self._comparison.budgets) <= set(self.record["budgets"])

    def _share(self) -> float:
        budget = self._comparison.seconds
        return self.record["seconds"] / budget if budget else 1.0

    def _evaluate_if_due(self, step: int) -> None:
        record, directory = self.record, self._directory
        reached = {"steps": step >= self._steps, "seconds": self._share() >= 1.0}
        asked = [name for name in self._comparison.budgets if name not in record["budgets"]]
        new = [name for name in asked if reached[name]]
        done = len(record["curve"])
        share = self._share() if self._comparison.seconds else min(step / self._steps, 1.0)
        on_curve = done < len(self._marks) and share >= self._marks[done]
        if not new and not on_curve:
            return
        place = {"step": step, "seconds": record["seconds"]}
        values = self._evaluator.score_errors()
        while done < len(self._marks) and share >= self._marks[done]:
            done += 1
        record["curve"] += [place | values] * (done - len(record["curve"]))
        if new:
            samples, pictures = self._evaluator.sample_metrics()
            for name in new:
                record["budgets"][name] = place | values | samples
                for sampler, picture in pictures.items():
                    path = directory / f"equal_{name}_{slug(sampler)}.png"
                    self.run.tolerance(f"The picture {path.name}", plots.write_png, path, picture)
            self._checkpoints.save(self.run.state, patient=True)
        self._memory.restart()  # the evaluator's memory is not the loss's


class Evaluator:
    """How good the average's score is: against the truth, on held-out data, by its samples.

    Args:
      comparison: the `Comparison`.
      model: the model, prepared.
      data: its `Dataset`.
      seed: of the run.
    """

    def __init__(self, comparison: Comparison, model: ScoreModel, data: Any, seed: int) -> None:
        self._comparison, self._data, self._seed = comparison, data, seed
        self._info, sde, self._network = model.info, model.sde, model.network
        self._times = [float(t * sde.T) for t in comparison.times]
        self._score = _compiled_score(model)
        self._errors: Callable = lambda score: {}
        if hasattr(data, "means"):  # a mixture
            self._errors = _against_truth(data, sde, self._times)
        elif sde.has_marginal:
            self._errors = _held_out(data, sde, self._times, seed)
        self._draws = {
            name: Sampling(model.state, **(_gin.sample() | ({"sampler": s} if s else {})))
            for name, s in comparison.samplers.items()
            if comparison.all_metrics
        }

    def score_errors(self) -> dict[str, float]:
        """Errors by time: {"score_error@0.1": …} or {"epsilon_mse@0.1": …}, and their mean."""
        errors = self._errors(self._score)
        if errors:
            kind = next(iter(errors)).split("@")[0]
            errors[f"{kind}_mean"] = float(np.mean(list(errors.values())))
        return errors

    def sample_metrics(self) -> tuple[dict[str, float], dict[str, Any]]:
        """The metrics of samples from each sampler and of real examples, and pictures of samples.

        Means over repeats; pictures are uint8 images by sampler.
        """
        draws: dict[str, list[float]] = {}
        pictures: dict[str, Any] = {}
        count = max((metric.num_samples for metric in self._comparison.all_metrics), default=0)
        given = conditions_of(self._network, self._data, count) if self._draws else None
        for name, draw in self._draws.items():
            for k in range(self._comparison.sample_repeats):
                drawing = functools.partial(draw, count, _SEED + k, given, progress=False)
                for key, value in self._one_draw(name, k, drawing, pictures).items():
                    draws.setdefault(key, []).append(value)
        return {name: float(np.mean(values)) for name, values in draws.items()}, pictures

    def _one_draw(
        self, name: str, k: int, drawing: Callable[[], Any], pictures: dict[str, Any]
    ) -> dict[str, float]:
        metrics = self._comparison.all_metrics
        try:
            drawn = drawing()
        except NotFiniteError as error:  # young weights: the comparison goes on
            warn("%s: %s", name, error)
            return {f"{metric.name} ({name})": float("nan") for metric in metrics}
        samples = self._info.unscale(drawn.x)
        density = getattr(self._data, "log_density", None)
        beside = functools.partial(given_of, self._network, self._data, len(samples))
        draw = lambda: plots.main_view(samples, self._info, _PICTURED, None, density, beside())
        picture = tolerated(f"The picture of {name}", draw) if k == 0 else None
        if picture is not None:
            pictures[name] = picture
        values: dict[str, float] = {}
        for metric in metrics:
            # Data that are drawn, not read, are drawn anew for every repeat.
            suite = MetricSuite([metric], References(self._data, self._seed + k, store=False))
            found = suite.measure([samples[: metric.num_samples]])
            values |= {f"{key} ({name})": v.value for key, v in found.items()}
            values |= {f"{key} (real)": v.value for key, v in suite.real_values.items()}
        return values


def _compiled_score(model: ScoreModel) -> Callable:
    """(x, t) -> the score of the average's weights."""
    network = model.state.average
    mode = xla.mode(None, getattr(network, "pieces_on_cpu", False))

    def part(x: Any, t: Any) -> Any:
        with xla.in_pieces(mode == "pieces"):
            return model.score_fn(x, t)

    compiled = tf.function(part, jit_compile=mode is True or None, autograph=False)

    @tf.function(autograph=False)
    def score(x: Any, t: Any) -> Any:
        rows = x.shape[0]
        number = cores.parts(rows, network.count_params())
        return cores.joined(number, lambda own: compiled(x[own], t[own]), rows)

    return score


def _against_truth(data: Any, sde: Any, times: Sequence[float]) -> Callable:
    """score -> E‖S − s*‖²/E‖s*‖² at each time, at points drawn from p_t."""
    exact = exact_mixture(data, sde, times)
    x0 = data.some_examples(_POINTS, "test", _SEED)
    draw = tf.function(sde.sample_xt, jit_compile=True)
    points, truths = [], []
    for i, t in enumerate(times):
        x = draw(x0, tf.fill([_POINTS], t), random.seed_for(_SEED, "points", i))
        points.append(x)
        truths.append(np.asarray(exact.score(x.numpy(), i)))

    def errors(score):
        figures = {}
        for t, x, truth in zip(times, points, truths, strict=True):
            gap = score(x, tf.fill([_POINTS], t)).numpy() - truth
            figures[f"score_error@{t:g}"] = float(np.sum(gap**2) / np.sum(truth**2))
        return figures

    return errors


def _held_out(data: Any, sde: Any, times: Sequence[float], seed: int) -> Callable:
    """score -> E‖σ_t S(x_t, t) + z‖²/D at each time, on held-out data under fixed noise."""
    size = data.size("test") or _POINTS
    per_pass = max(1, _HELD_OUT_NUMBERS // (size * int(np.prod(data.shape))))
    repeats = min(16, per_pass)
    x0 = tf.cast(data.some_examples(size, "test", seed), tf.float32)

    def errors(score):
        figures = {}
        for i, t in enumerate(times):
            t_batch, squares = tf.fill([size], t), []
            sigma_t = like(sde.marginal(t_batch)[1], x0)
            for k in range(repeats):
                z = random.normal(random.seed_for(_SEED, "held out", i, k), x0.shape)
                gap = sigma_t * score(sde.perturb(x0, t_batch, z), t_batch) + z
                squares.append(float(tf.reduce_mean(gap**2)))
            figures[f"epsilon_mse@{t:g}"] = float(np.mean(squares))
        return figures

    return errors


def diagnose_entry(comparison: Comparison, name: str, workdir: str | Path) -> None:
    """Measures one loss's gradient at the average's weights of the comparison's first run.

    By time, and of a whole step with the loss's own times and weights.

    The same weights, examples and times for every loss on that run's SDE; a loss on another SDE,
    or with another network, is measured at its own weights. Writes ``diagnosis.json``.

    Raises:
      CheckpointError: the comparison has not run.
    """
    model, arguments = comparison.build(name)
    loss = comparison.entries[name][0]
    own = loss in comparison.sdes or loss in comparison.networks
    weights_of = name if own else next(iter(comparison.entries))
    trained = ScoreModel.load(entry_workdir(workdir, weights_of), distribution=model.distribution)
    state, data, seed = trained.state, arguments["data"], arguments["seed"]
    diagnostics = _gin.GradientDiagnostics(state.score, arguments["loss"])
    x0 = tf.convert_to_tensor(data.some_examples(diagnostics.batch_size, "train", seed))
    measured = diagnostics.measure(state.average, x0, seed)
    step = diagnostics.measure_step(state.average, x0, seed)
    result = {"name": name, "buckets": measured.buckets, "figures": measured.figures()}
    result["step"] = step._asdict()
    files.write_json(entry_workdir(workdir, name) / DIAGNOSIS, result)
