"""A cheap metric while training, at a rhythm; the best checkpoint by it is kept."""

import json
import math

import gin
from absl import logging

from lcss_tf.experiment.reference import References
from lcss_tf.experiment.results import rows
from lcss_tf.files import write_bytes
from lcss_tf.metrics import PixelFrechet, SlicedWasserstein, sample_summary

_DEFAULT = {"image": PixelFrechet}  # of all other kinds: SlicedWasserstein


@gin.configurable("watch", denylist=["recipe", "generation", "checkpoints", "summaries"])
class Watch:
    """An action: measures a few samples of the EMA weights, and keeps the best state so far.

    The samples come from one seed every time, so that the curve shows the weights and not the
    draw. The best checkpoint, ``checkpoints/best.npz``, is kept whatever `checkpoints.keep` is;
    what it scored is in ``best.json`` beside it, and outlives a restart. Off unless
    ``watch.every`` is bound.

    Args:
      recipe: the `Recipe`.
      generation: a `Generation`.
      checkpoints: `Checkpoints`.
      summaries: `Summaries`.
      every: steps between measurements; 0: never.
      metric: an object of `METRICS` with few samples, which its name shows; by default the pixel
        Fréchet distance, or for vectors the sliced Wasserstein distance. Less is better, unless
        `more_is_better`.
      more_is_better: of a metric such as `ClassScore`.
      seed: of the samples.
    """

    def __init__(
        self,
        recipe,
        generation,
        checkpoints,
        summaries,
        every=0,
        metric=None,
        more_is_better=False,
        seed=2,
    ):
        self.every = every
        self._generation, self._checkpoints, self._summaries = generation, checkpoints, summaries
        self._info, self._seed = recipe.data.info(), seed
        self._sign = -1.0 if more_is_better else 1.0
        self._reference = None
        if not every:
            return
        self._metric = metric or _DEFAULT.get(self._info.kind, SlicedWasserstein)()
        self._metric.check(self._info)
        self._references = References(recipe.data, recipe.seed)
        recipe.data.require(self._references.split)

    def save(self, state):
        """Measures, logs ``watch/<name>``, and keeps the state if it is the best."""
        metric = self._metric
        if self._reference is None:
            self._reference, _ = self._references.summary([metric], progress=False)
        try:
            samples = self._generation(metric.num_samples, self._seed, progress=False)
        except FloatingPointError as error:  # young weights: training goes on
            logging.warning("Nothing is watched at step %d: %s", state.step, error)
            return
        summary = sample_summary([metric]).add(metric.extractor(self._info.unscale(samples)))
        figures = metric.figures(summary, self._reference)
        measured = rows(figures, {})
        values = {f"watch/{name}": row["value"] for name, row in measured.items()}
        self._summaries.scalars({k: v for k, v in values.items() if v is not None}, state.step)
        self._keep_if_best(state, *next(iter(measured.items())))

    def best(self):
        """{"metric", "value", "error", "step"} of the best so far; None before the first."""
        try:
            best = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return None
        return best if self._checkpoints.best_path.is_file() else None

    @property
    def _record(self):
        return self._checkpoints.best_path.with_suffix(".json")

    def _keep_if_best(self, state, name, row):
        best = self.best()
        # What another metric measured says nothing about this one.
        before = best["value"] if best and best["metric"] == name else self._sign * math.inf
        if row["value"] is None or self._sign * row["value"] >= self._sign * before:
            return
        self._checkpoints.directory.mkdir(parents=True, exist_ok=True)
        self._checkpoints.write(self._checkpoints.best_path, state)
        record = {"metric": name, "step": state.step, "value": row["value"], "error": row["error"]}
        write_bytes(self._record, json.dumps(record, indent=2).encode())
