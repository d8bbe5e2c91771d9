"""Measures a run's samples."""

import contextlib
import functools
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gin
import numpy as np

from lcss_tf import files, plots, random
from lcss_tf.commands import _cli, _gin, _runs
from lcss_tf.commands._likelihood import held_out_likelihood, report
from lcss_tf.commands._places import called
from lcss_tf.commands._report import write_report
from lcss_tf.commands._results import Results, figures_text, rows
from lcss_tf.commands._samples import evaluate_samples, samples_place
from lcss_tf.commands.flags.evaluate import FLAGS
from lcss_tf.display import Bar, say, tolerated, warn
from lcss_tf.errors import NotFiniteError
from lcss_tf.inference import conditions_of, given_of
from lcss_tf.metrics import Features, Metric, MetricSuite, default_metrics
from lcss_tf.model import ScoreModel
from lcss_tf.random import check_seed
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints, step_of
from lcss_tf.training.workdir import in_use, only_process

_LOOK_S = 5.0  # between two looks for the first checkpoint
_GIVE_UP_S = 30.0  # without a training: a supervisor may be starting it again
_SAID_S = 300.0  # between two lines that say what is waited for
_BEST = -1  # stands for the step of the best checkpoint
_KEPT = 1_024  # samples that stay on the disk, for pictures and neighbours
_SHARD = 1_024  # samples in a file, about


def main(_: Sequence[str]) -> None:
    """The command."""
    if FLAGS.samples is not None:
        _evaluate_samples()
        return
    workdir = FLAGS.workdir
    if FLAGS.follow:
        _await_first(workdir)
    _runs.load_configuration(workdir, _cli.bindings(FLAGS))
    if FLAGS.likelihood:
        model = _runs.load_model(workdir)
        with _alone(model, workdir, "likelihood"):
            say(report(held_out_likelihood(model, workdir)))
        return
    evaluation = Evaluation(workdir)
    if FLAGS.stats_only:
        for i, path in enumerate(evaluation.suite.reference_paths):
            say(f"reference {i:<32}{path}")
        return
    with _alone(evaluation.model, evaluation.directory):
        figures = evaluation.follow() if FLAGS.follow else evaluation.run(FLAGS.checkpoint)
    say(figures_text(figures))
    samples = Path(workdir) / "samples"
    grid = samples / "final_grid.png"
    say(f"\nLook at the samples:   {grid if grid.is_file() else samples / 'final_samples.npz'}")
    say(f"Read the report:       {workdir}/report.html")
    say(f"Follow the training:   tensorboard --logdir {workdir}")
    spec = evaluation.model.state.condition
    asked = "--num_samples=64" if spec is None or spec.is_class else "--condition=test:16"
    say(f"Draw more samples:     {called('sample')} --workdir={workdir} {asked}")


class _Watched:
    """A workdir while somebody waits for what a training writes there.

    Args:
      workdir: the run's directory.
      give_up_s: how long to wait while no process holds the run's lock.
    """

    def __init__(self, workdir: str | Path, give_up_s: float) -> None:
        self._workdir, self._give_up_s = workdir, give_up_s
        self._free_since: float | None = None
        self._said = -math.inf

    def is_dead(self) -> bool:
        """Whether nothing has trained there for so long."""
        now = time.monotonic()
        if in_use(self._workdir) is not False:  # None: the file system has no locks
            self._free_since = None
        elif self._free_since is None:
            self._free_since = now
        return self._free_since is not None and now - self._free_since >= self._give_up_s

    def say(self, text: str, anew: bool = False) -> None:
        """Says what is waited for: at once if `anew`, and every few minutes."""
        if anew or time.monotonic() - self._said > _SAID_S:
            say(text)
            self._said = time.monotonic()


def _await_first(workdir: str | Path) -> None:
    """Waits for the first checkpoint of a training that runs.

    Raises:
      CheckpointError: there is none, and nothing trains there.
      FileNotFoundError: there is not even a run.
    """
    watched, checkpoints = _Watched(workdir, _GIVE_UP_S), Checkpoints(workdir)
    while True:
        dead = watched.is_dead()  # before the look: the last checkpoint comes before the end
        if checkpoints.paths() and _runs.is_run(workdir):
            return
        if dead or not Path(workdir).is_dir():
            if not _runs.is_run(workdir):
                return  # what reads the configuration says so
            raise CheckpointError(
                f"{workdir} has no checkpoint, and no process trains there. Start the training "
                "again by its command, then this one."
            )
        watched.say(f"Waiting for the first checkpoint of {workdir}.")
        time.sleep(_LOOK_S)


def _alone(model: ScoreModel, place: str | Path, what: str = "") -> Any:
    """No second process writes there meanwhile; of several workers the chief alone writes."""
    chief = model.distribution.is_chief
    return only_process(place, what) if chief else contextlib.nullcontext()


def _evaluate_samples() -> None:
    place = FLAGS.out or samples_place(FLAGS.samples)
    figures = evaluate_samples(
        FLAGS.samples, FLAGS.reference, place, FLAGS.gin_bindings, FLAGS["import"].value
    )
    say(figures_text(figures))
    say(f"\nRead the report:       {place}/report.html")


@gin.configurable(denylist=["workdir"])
class Evaluation:
    """Measures samples of a run's checkpoints; its configuration must be loaded.

    The same figures of real examples of the other split stand beside them: what a perfect model
    would score. Writes ``metrics.json`` (of the last checkpoint evaluated), ``metrics.csv`` (of
    all), ``report.html``, TensorBoard scalars at the checkpoints' steps and, under ``evaluation``,
    one folder a checkpoint. A checkpoint that is evaluated already under the same configuration is
    not evaluated again, and one that was interrupted resumes after its last finished shard.

    Args:
      workdir: the run's directory.
      metric: an object of `METRICS`.
      metrics: several; with neither, `default_metrics` of the data.
      seed: of the samples.
      poll_s: seconds between two looks for new checkpoints, when following.
      report: whether to write ``<workdir>/report.html``.
      give_up_s: seconds that following waits while no process trains there: a supervisor may be
        starting it again.

    Raises:
      UsageError: a metric does not fit the data.
    """

    def __init__(
        self,
        workdir: str | Path,
        metric: Metric | None = None,
        metrics: Sequence[Metric] | None = None,
        seed: int = 1,
        poll_s: float = 10.0,
        report: bool = True,
        give_up_s: float = _GIVE_UP_S,
    ) -> None:
        check_seed(seed, "Evaluation.seed")
        self._workdir, self._seed = Path(workdir), seed
        self._poll_s, self._report, self._give_up_s = poll_s, report, give_up_s
        self.model = _runs.load_model(workdir)
        self.arguments = _gin.fit()
        data = _runs.data_for(self.model, self.arguments["data"])
        self._distribution = self.model.distribution
        self._chief = self._distribution.is_chief
        chosen = list(metrics or []) + ([metric] if metric else [])
        references = _gin.References(data, self.arguments["seed"])
        self.suite = MetricSuite(
            chosen or default_metrics(data.info(), data), references, progress=True
        )
        self._draw = self.model.sampling(**_gin.sample())
        self._conditions = conditions_of(self.model.network, data, self.suite.num_samples)
        self._checkpoints, self._results = Checkpoints(workdir), Results(workdir, self._chief)

    @property
    def directory(self) -> Path:
        """Where the results of each checkpoint go."""
        return self._results.directory

    def run(self, checkpoint: str = "newest") -> dict[str, Any]:
        """Evaluates checkpoints that are not evaluated yet; returns the figures of the last.

        With several, one that cannot be used is left out with a warning.
        """
        choose = lambda: self._checkpoints.chosen(checkpoint)
        paths = self._agreed(choose)
        try:
            return self._each(paths)
        except CheckpointError:
            again = self._agreed(choose)  # a training that runs may have removed it
            if again == paths:
                raise
            return self._each(again)

    def follow(self) -> dict[str, Any]:
        """Evaluates checkpoints as they appear, until that of the last step.

        Raises:
          CheckpointError: the training ended before its last step; what was evaluated is kept.
        """
        watched, steps = _Watched(self._workdir, self._give_up_s), self.arguments["steps"]
        seen: set[Path] = set()
        result = None
        while True:
            dead = self._decided(watched.is_dead)  # before the look at what there is
            new = self._agreed(lambda: [p for p in self._checkpoints.paths() if p not in seen])
            for path in new:
                seen.add(path)
                try:
                    result = self._each([path])
                except CheckpointError as error:  # training removed it meanwhile
                    warn("%s is left out: %s", path.name, error)
                except NotFiniteError as error:  # young weights
                    warn("%s: %s", path.name, error)
            newest = max((step_of(path) or 0 for path in seen), default=0)
            if newest >= steps:
                if result is None:
                    raise CheckpointError(f"No checkpoint of {self._workdir} could be evaluated.")
                return result
            where = f"{self._workdir}, whose newest is of step {newest:,} of {steps:,}"
            if dead and not new:
                raise CheckpointError(
                    f"No process trains in {where}. What there is is evaluated. Start the training "
                    "again by its command, and then this one, to follow it to its end."
                )
            if self._chief:
                watched.say(f"Waiting for the next checkpoint of {where}.", anew=bool(new))
            time.sleep(self._poll_s)

    def _decided(self, ask: Callable[[], bool]) -> bool:
        """What the chief finds, on all workers."""
        found = np.int64(self._chief and ask())
        return bool(self._distribution.from_chief([found])[0])

    def _each(self, paths: Sequence[Path]) -> dict[str, Any]:
        done = None
        for path in paths:
            try:
                done = self._one(path)
            except (CheckpointError, NotFiniteError) as error:
                if len(paths) == 1:
                    raise
                warn("%s is left out: %s", path.name, error)
        if done is None:
            raise CheckpointError(f"None of {len(paths)} checkpoints could be evaluated.")
        figures = self._results.publish(done)
        if self._report and self._chief:
            parts = self._workdir, self.model, self.arguments, self.suite, self._results.all()
            tolerated("report.html", write_report, *parts, self._given)
        return figures

    def _one(self, path: Path) -> dict:
        """The result of one checkpoint: found, or measured."""
        key, suite = self._load(path), self.suite
        step = self.model.step
        found = self._results.finished(step, key)
        if found:
            say(f"Step {step:,} is evaluated already.")
            return found
        say(f"Evaluating step {step:,}.")
        real = rows(suite.real_values, {})
        place = self._results.place(step)
        shards = _Shards(
            place / f"shards_{key[:12]}", self._draw, self.model, self._seed, self._conditions
        )
        kept: list = []

        def features() -> Iterator[dict[str, Features]]:
            for samples, outputs in shards.features(suite):
                if sum(map(len, kept)) < _KEPT:
                    kept.append(samples[: _KEPT - sum(map(len, kept))])
                yield outputs

        values = suite.measure_features(features())
        if self._chief:
            self._write_samples(place, np.concatenate(kept))
        result = {
            "step": step,
            "key": key,
            "figures": rows(values, suite.real_values),
            "real_split": suite.real_split if real else None,
            "counts": suite.counts,
            "facts": suite.facts,
            "references": [str(path) for path in suite.reference_paths],
        }
        self._distribution.meet()  # the shards are read by all workers, and go now
        self._results.write(result)
        if self._chief:
            for left in place.glob("shards_*"):  # also of a run that was interrupted
                shutil.rmtree(left, ignore_errors=True)
        return result

    def _load(self, path: Path) -> str:
        """Loads a checkpoint, on all workers what the chief has read; returns the result's key.

        Raises:
          CheckpointError: the chief cannot read it.
        """
        measured = [f"{m.name} {m.extractor.identity()}" for m in self.suite.metrics]
        key, problem = "", None
        if self._chief:
            try:
                key = files.text_hash(_runs.parsed_config(), files.sha256(path), *measured)
                self._checkpoints.load(self.model.state, path)
            except CheckpointError as error:
                problem = error
            except OSError as error:  # training removed it meanwhile
                problem = CheckpointError(f"Checkpoint {path} cannot be read: {error}")
        told = np.array([problem is None, *bytes.fromhex(key or "00" * 32)], np.int32)
        readable, *digits = self._distribution.from_chief([told])[0].tolist()
        if problem is not None:
            raise problem
        if not readable:
            raise CheckpointError(f"{path} cannot be used; the chief says why.")
        self.model.state.share(self._distribution)
        return bytes(digits).hex()

    def _agreed(self, choose: Any) -> list[Path]:
        """What the chief chooses of the checkpoints, a list of paths, on all workers."""
        paths = choose() if self._chief else []
        count = int(self._distribution.from_chief([np.int64(len(paths))])[0])
        steps = np.full(count, _BEST)
        known = [step_of(path) for path in paths]
        steps[: len(paths)] = [_BEST if step is None else step for step in known]
        steps = self._distribution.from_chief([steps])[0].tolist() if count else []
        place = lambda s: self._checkpoints.best_path if s == _BEST else self._checkpoints.at(s)
        return [place(step) for step in steps]

    @functools.cached_property
    def _given(self) -> plots.Given | None:
        """What the samples that are shown were given; None too where it cannot be read."""
        data, count = self.suite.references.data, self.suite.num_samples
        return tolerated("Conditions", given_of, self.model.network, data, count, _KEPT)

    def _write_samples(self, place: Path, samples: np.ndarray) -> None:
        files.write_arrays(place / "samples.npz", {"samples": samples})
        density = getattr(self.arguments["data"], "log_density", None)
        draw = lambda: plots.main_view(
            samples, self.model.info, 64, log_density=density, given=self._given
        )
        picture = tolerated("The picture of samples", draw)
        if picture is not None:
            for path in (place / "grid.png", self._workdir / "samples" / "final_grid.png"):
                tolerated(f"The picture {path}", plots.write_png, path, picture)
        else:
            path = self._workdir / "samples" / "final_samples.npz"
            files.write_arrays(path, {"samples": samples})


class _Shards:
    """Draws samples shard by shard, each from a seed of its own, and reads them back.

    Memory holds two shards at a time. A file that is missing or damaged is made again, to the same
    bits; features of extractors that are costly are kept in it too.
    """

    def __init__(
        self, directory: Path, draw: Any, model: ScoreModel, seed: int, conditions: Any = None
    ) -> None:
        self._directory, self._draw, self._model = directory, draw, model
        self._conditions = conditions  # those that the samples take in turn
        self._seed, self._writes = seed, model.distribution.is_chief
        self.size = -(-_SHARD // draw.batch_size) * draw.batch_size

    def features(self, suite: MetricSuite) -> Iterator[tuple[np.ndarray, dict[str, Features]]]:
        """Yields (samples [B, ...] in the data's own units, their features by extractor).

        Raises:
          NotFiniteError: samples are not finite.
        """
        count = suite.num_samples
        with Bar(count, "evaluating", "samples") as bar, ThreadPoolExecutor(1) as beside:
            pending = None
            for start in range(0, count, self.size):
                index, size = start // self.size, min(self.size, count - start)
                arrays = self._shard(index, size, bar)
                if pending is not None:
                    yield pending.result()
                # The next shard is drawn while this one's features are taken.
                pending = beside.submit(self._with_features, suite, index, arrays)
            if pending is not None:
                yield pending.result()

    def _with_features(
        self, suite: MetricSuite, index: int, arrays: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, Features]]:
        samples, found = arrays["samples"], {}
        new: dict[str, np.ndarray] = {}
        for identity, extractor in suite.extractors.items():
            features = _stored(arrays, identity, len(samples))
            if features is None:
                features = extractor(samples)
                new |= _arrays(features, identity) if extractor.costly else {}
            found[identity] = features
        if new and self._writes:
            files.write_arrays(self._path(index), arrays | new)
        return samples, found

    def _shard(self, index: int, size: int, bar: Bar) -> dict[str, np.ndarray]:
        """The arrays of a shard with at least `size` samples, cut to these; counted on the bar."""
        arrays = files.read_arrays(self._path(index))
        if arrays is None or len(arrays.get("samples", ())) < size:
            # Shard 0 has the samples that `ScoreModel.sample` gives for the seed itself.
            seed = random.seed_for(self._seed, "shard", index) if index else self._seed
            given = self._conditions
            if given is not None:
                given = given[(index * self.size + np.arange(size)) % len(given)]
            drawn = self._draw(size, seed, given, progress=bar)
            arrays = {"samples": self._model.info.unscale(drawn.x)}
            if self._writes:
                files.write_arrays(self._path(index), arrays)
        else:
            bar.update(size)
        return {key: value[:size] for key, value in arrays.items()}

    def _path(self, index: int) -> Path:
        return self._directory / f"shard_{index:05d}.npz"


def _keys(identity: str) -> tuple[str, str]:
    key = files.text_hash(identity)[:16]
    return f"features_{key}", f"logits_{key}"


def _stored(arrays: dict, identity: str, size: int) -> Features | None:
    features, logits = (arrays.get(key) for key in _keys(identity))
    if features is None or len(features) < size:
        return None
    return Features(features, logits)


def _arrays(features: Features, identity: str) -> dict[str, np.ndarray]:
    pairs = zip(_keys(identity), features, strict=True)
    return {key: value for key, value in pairs if value is not None}


__all__ = ["Evaluation", "main"]
