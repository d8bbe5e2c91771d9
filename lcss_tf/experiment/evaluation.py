"""The root `evaluate`: samples of checkpoints against held-out data, by every metric bound."""

import time
from pathlib import Path

import gin
import numpy as np
from absl import logging

from lcss_tf import files, images
from lcss_tf.config import parsed_config
from lcss_tf.experiment.evaluation_report import write_report
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.reference import References
from lcss_tf.experiment.results import Results, rows
from lcss_tf.experiment.sampling import picture_of
from lcss_tf.experiment.selection import chosen, step_of
from lcss_tf.experiment.shards import Shards
from lcss_tf.features import DigitsClassifier
from lcss_tf.metrics import (
    MMD,
    ClassScore,
    DensityCoverage,
    EnergyDistance,
    Frechet,
    KernelDistance,
    PixelFrechet,
    PrecisionRecall,
    SlicedWasserstein,
    sample_summary,
)
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints

_VECTORS = dict.fromkeys(("vector", "signal", "volume", "table"), SlicedWasserstein)
DEFAULT_METRICS = {"image": PixelFrechet, **_VECTORS}
_PATIENCE_SECONDS = 5.0  # between two looks for the first checkpoint
_BEST = -1  # stands for the step of the best checkpoint
_KEPT = 1_024  # samples that stay on the disk, for pictures and neighbours


def default_metrics(info):
    """What is measured where nothing is bound: for the digits by their classifier too."""
    if info.kind != "image":
        return [SlicedWasserstein(), MMD(), EnergyDistance()]
    if info.name != "digits":
        return [PixelFrechet()]
    seen = DigitsClassifier()
    by_classifier = (Frechet, KernelDistance, ClassScore, PrecisionRecall, DensityCoverage)
    return [PixelFrechet(), *(metric(seen, num_samples=1_000) for metric in by_classifier)]


@gin.configurable("evaluate", denylist=["workdir"])
class Evaluation:
    """Measures samples from the EMA weights of a run's checkpoints.

    The same figures of real examples of the other split stand beside them: what a perfect model
    would score.

    Args:
      workdir: the run's directory.
      metric: an object of `METRICS`.
      metrics: several; with neither, `default_metrics` of the data.
      seed: of the samples.
      poll_seconds: between two looks for new checkpoints, when following.
      report: whether to write ``<workdir>/report.html``.

    Raises:
      ValueError: a metric does not fit the data.
    """

    def __init__(self, workdir, metric=None, metrics=None, seed=1, poll_seconds=10.0, report=True):
        self._workdir, self._seed = Path(workdir), seed
        self._poll_seconds, self._report = poll_seconds, report
        self.recipe, self._state, self._info, self._distribution = restored(workdir)
        self._chief = self._distribution.is_chief
        self.metrics = list(metrics or []) + ([metric] if metric else [])
        self.metrics = self.metrics or default_metrics(self._info)
        for one in self.metrics:
            one.check(self._info)
        self.references = References(self.recipe.data, self.recipe.seed)
        self.recipe.data.require(self.references.split)
        self._generation = Generation(self._state, self._info.shape, self._distribution)
        self._checkpoints, self._results = Checkpoints(workdir), Results(workdir, self._chief)
        self._real = None

    def run(self, checkpoint="newest"):
        """Evaluates checkpoints that are not evaluated yet; returns (figures, picture) of the last.

        With several, one that cannot be used is left out with a warning.
        """
        return self._each(self._agreed(lambda: chosen(self._checkpoints, checkpoint)))

    def _each(self, paths):
        done = None
        for path in paths:
            try:
                done = self._one(path)
            except (CheckpointError, FloatingPointError) as error:
                if len(paths) == 1:
                    raise
                logging.warning("%s is left out: %s", path.name, error)
        if done is None:
            raise CheckpointError(f"None of {len(paths)} checkpoints could be evaluated.")
        figures = self._results.publish(done)
        if self._report and self._chief:
            write_report(self._workdir, self.recipe, self.references, self._results.all())
        return figures, self._results.place(done["step"])

    def follow(self):
        """Evaluates checkpoints as they appear, until that of the last step."""
        seen, result = set(), None
        while True:
            new = lambda: [p for p in self._checkpoints.paths() if p not in seen]
            for path in self._agreed(new):
                seen.add(path)
                try:
                    result = self._each([path])
                except CheckpointError as error:  # training removed it meanwhile
                    logging.warning("%s is left out: %s", path.name, error)
                except FloatingPointError as error:  # young weights
                    logging.warning("%s: %s", path.name, error)
            if any(step_of(path) >= self.recipe.total_steps for path in seen):
                if result is None:
                    raise CheckpointError(f"No checkpoint of {self._workdir} could be evaluated.")
                return result
            time.sleep(self._poll_seconds)

    def prepare_references(self):
        """Computes or finds the statistics of real data; returns their paths."""
        return [self.references.summary(group)[1] for group in self._groups().values()]

    def _groups(self):
        """Metrics by the identity of their extractor."""
        groups = {}
        for metric in self.metrics:
            groups.setdefault(metric.extractor.identity(), []).append(metric)
        return groups

    def _one(self, path):
        """The result of one checkpoint: found, or measured."""
        key = self._load(path)
        step = self._state.step
        found = self._results.finished(step, key)
        if found:
            print(f"Step {step:,} is evaluated already.")
            return found
        print(f"Evaluating step {step:,}.", flush=True)
        groups = self._groups()
        real = self._of_real_examples(groups)
        place = self._results.place(step)
        directory = place / f"shards_{key[:12]}"
        shards = Shards(directory, self._generation, self._info, self._seed, self._chief)
        summaries = {identity: sample_summary(group) for identity, group in groups.items()}
        extractors = [group[0].extractor for group in groups.values()]
        kept = []
        count = max(metric.num_samples for metric in self.metrics)
        for samples, outputs in shards.outputs(count, extractors):
            for identity, summary in summaries.items():
                summary.add(outputs[identity])
            if sum(map(len, kept)) < _KEPT:
                kept.append(samples[: _KEPT - sum(map(len, kept))])
        figures, files = {}, []
        for identity, group in groups.items():
            reference, file = self.references.summary(group)
            files.append(str(file))
            for metric in group:
                figures |= metric.figures(summaries[identity], reference)
        if self._chief:
            self._write_samples(place, np.concatenate(kept))
        result = {
            "step": step,
            "key": key,
            "figures": rows(figures, real["figures"]),
            "real_split": real["split"],
            "counts": real["counts"],
            "references": files,
        }
        self._distribution.meet()  # the shards are read by all workers, and go now
        self._results.write(result)
        shards.remove()
        for left in place.glob("shards_*"):  # of a run that was interrupted under other bindings
            Shards(left, self._generation, self._info, 0, self._chief).remove()
        return result

    def _load(self, path):
        """Loads a checkpoint, on all workers what the chief has read; returns the result's key.

        Raises:
          CheckpointError: the chief cannot read it.
        """
        measured = [f"{m.name} {m.extractor.identity()}" for m in self.metrics]
        key, problem = "", None
        if self._chief:
            try:
                key = files.text_hash(parsed_config(), files.sha256(path), *measured)
                self._checkpoints.load(self._state, path)
            except CheckpointError as error:
                problem = error
            except OSError as error:  # training removed it meanwhile
                problem = CheckpointError(f"Checkpoint {path} cannot be read: {error}")
        told = np.int32([problem is None, *bytes.fromhex(key or "00" * 32)])
        readable, *key = self._distribution.from_chief([told])[0].tolist()
        if problem is not None:
            raise problem
        if not readable:
            raise CheckpointError(f"{path} cannot be used; the chief says why.")
        self._state.share(self._distribution)
        return bytes(key).hex()

    def _agreed(self, choose):
        """What the chief chooses of the checkpoints, a list of paths, on all workers."""
        paths = choose() if self._chief else []
        count = int(self._distribution.from_chief([np.int64(len(paths))])[0])
        steps = np.full(count, _BEST)
        steps[: len(paths)] = [_BEST if step_of(p) is None else step_of(p) for p in paths]
        steps = self._distribution.from_chief([steps])[0].tolist() if count else []
        place = lambda s: self._checkpoints.best_path if s == _BEST else self._checkpoints.at(s)
        return [place(step) for step in steps]

    def _of_real_examples(self, groups):
        """{"figures", "split", "counts"}: the metrics of real examples of the other split."""
        if self._real is None:
            names = {"train": "training", "test": "held_out"}
            figures, references = {}, self.references
            counts = {f"{names[references.split]}_examples": references.count(self.metrics)}
            if references.has_other:
                other = names[references.other_split]
                counts[f"{other}_examples"] = references.count(self.metrics, references.other_split)
                for group in groups.values():
                    reference, _ = references.summary(group)
                    summary = references.others(group, sample_summary(group))
                    for metric in group:
                        figures |= metric.figures(summary, reference)
            split = names[references.other_split]
            self._real = {"figures": figures, "split": split, "counts": counts}
        return self._real

    def _write_samples(self, place, samples):
        files.write_arrays(place / "samples.npz", {"samples": samples})
        picture = picture_of(samples, self._info, most=64)
        if picture is not None:
            images.write_png(place / "grid.png", picture)
            images.write_png(self._workdir / "samples" / "final_grid.png", picture)
        else:
            files.write_arrays(
                self._workdir / "samples" / "final_samples.npz", {"samples": samples}
            )


def evaluate(workdir, checkpoint="newest", follow=False, stats_only=False):
    """Measures a run; the configuration must be loaded (`config.load_workdir`).

    Writes ``metrics.json`` (of the last checkpoint evaluated), ``metrics.csv`` (of all),
    ``report.html``, TensorBoard scalars at the checkpoints' steps and, under ``evaluation``, one
    folder a checkpoint. A checkpoint that is evaluated already under the same configuration is not
    evaluated again, and one that was interrupted goes on from its last finished shard.

    Args:
      workdir: the run's directory.
      checkpoint: which; see `selection.chosen`.
      follow: evaluate checkpoints as they appear, until training ends.
      stats_only: only compute the statistics of real data.

    Returns:
      (figures, path of the grid or of the array of samples); with `stats_only`
      ({"reference …": path}, the first path).

    Raises:
      ValueError: a metric does not fit the data; the stored statistics are of others.
      CheckpointError: no such checkpoint.
    """
    while follow and not Checkpoints(workdir).paths():
        time.sleep(_PATIENCE_SECONDS)
    evaluation = Evaluation(workdir)
    if stats_only:
        paths = evaluation.prepare_references()
        return {f"reference {i}": str(path) for i, path in enumerate(paths)}, paths[0]
    figures, _ = evaluation.follow() if follow else evaluation.run(checkpoint)
    samples = Path(workdir) / "samples"
    grid = samples / "final_grid.png"
    return figures, grid if grid.is_file() else samples / "final_samples.npz"
