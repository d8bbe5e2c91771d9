"""The gin root `quality`: samplers against network evaluations, by a metric of their samples."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import gin
import numpy as np
from absl import logging

from lcss_tf import images, plots
from lcss_tf.config import parsed_config
from lcss_tf.errors import UsageError
from lcss_tf.experiment.evaluation import DEFAULT_METRICS
from lcss_tf.experiment.exact_state import ExactState
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.measuring import metric_figures
from lcss_tf.experiment.recipe import restored
from lcss_tf.files import write_bytes
from lcss_tf.training.distribution import Distribution

_SEED = 30_001  # of the samples: the same x_T for every sampler
_REAL = "real examples"


@gin.configurable("quality")
@dataclass
class Quality:
    """What is measured, and on what: a run's checkpoint, or data whose score is known.

    Args:
      samplers: by the names of the table, what makes a sampler of `num_steps`: in gin
        ``{"DDIM": @samplers.DDIM}``, without brackets.
      budgets: network evaluations of a sample; each sampler takes as many steps as fit.
      adaptive: by name, what makes a sampler of `rtol` and `atol` that chooses its steps itself.
      tolerances: both of them at once, of each of the adaptive; its evaluations are measured.
      references: samplers that are run as they are bound, by name:
        ``@reference/samplers.EulerMaruyama()``. Lines across the plot.
      metric: an object of `METRICS`; by default as in `evaluate`.
      repeats: sets of samples over which the metric is averaged.
      sde, data: an affine SDE and data with a closed-form score; None: the run's checkpoint.

    Raises:
      ValueError: nothing to measure, or one of sde and data alone.
    """

    samplers: dict = gin.REQUIRED
    budgets: tuple = (5, 10, 20, 40, 80, 160)
    adaptive: dict = None
    tolerances: tuple = (1e-1, 1e-2, 1e-3, 1e-5)
    references: dict = None
    metric: object = None
    repeats: int = 1
    sde: object = None
    data: object = None

    def __post_init__(self):
        self.references = self.references or {}
        self.adaptive = self.adaptive or {}
        if self.repeats < 1 or not self.budgets or min(self.budgets) < 1:
            raise UsageError(
                "quality expects repeats >= 1 and budgets of at least one evaluation; got "
                f"repeats={self.repeats}, budgets={self.budgets}."
            )
        if (self.sde is None) != (self.data is None):
            raise UsageError(
                "quality.sde and quality.data go together (an exact score), or both are left out "
                "(a run's checkpoint)."
            )

    def within(self, name, budget):
        """The sampler of that name with the most steps that the budget allows, or None."""
        make = self.samplers[name]
        first = make(num_steps=1).evaluations()
        if first is None:
            raise UsageError(
                f"{name} chooses its evaluations by itself and keeps to no budget: list it among "
                "quality.adaptive."
            )
        per_step = make(num_steps=2).evaluations() - first
        return make(num_steps=1 + (budget - first) // per_step) if budget >= first else None


def quality(workdir):
    """Measures, and writes ``quality.json``, ``quality.md`` and ``quality.png``.

    Ended early, the same command goes on: what was measured under the same configuration stays.

    Args:
      workdir: the run's, or, with an exact score, where to write. They lie in its
        folder ``quality``.

    Returns:
      Their paths, the table first.
    """
    plan, directory = Quality(), Path(workdir) / "quality"
    if plan.sde is None:
        recipe, state, info, distribution = restored(workdir)
        data, seed = recipe.data, recipe.seed
    else:
        data, seed, distribution = plan.data, 0, Distribution()
        state, info = ExactState(data, plan.sde), data.info()
    metric = plan.metric or DEFAULT_METRICS[info.kind]()
    metric.check(info)
    data.require("test")
    measure = _Measure(state, info, data, metric, seed, plan.repeats, distribution)
    result = {"metric": metric.name, "real": None, "rows": [], "refused": {}}
    result["configuration"] = [_fingerprint(), getattr(state, "step", 0)]
    result["repeats"] = plan.repeats
    paths = [directory / f"quality.{suffix}" for suffix in ("md", "json", "png")]
    directory.mkdir(parents=True, exist_ok=True)
    before = _finished(paths[1], result["configuration"])
    for name, sampler, given in _cases(plan, state.model.sde, result["refused"]):
        key = {"sampler": name, "budget": None, "tolerance": None} | given
        row = before.get(tuple(key.values()))
        known = row is not None
        if not known:
            row = measure(sampler) | key
        result["rows"].append(row)
        result["real"] = result["real"] or row["real"]
        print(f"{name:<32}{_count(row):>8} evaluations   {_text(row)}", flush=True)
        if not known:
            write_bytes(paths[1], json.dumps(result, indent=1).encode())
    write_bytes(paths[1], json.dumps(result, indent=1).encode())
    write_bytes(paths[0], table(result).encode())
    images.write_png(paths[2], picture(result))
    return paths


def _fingerprint():
    return zlib.crc32(parsed_config().encode())


def _finished(path, configuration):
    """Rows of an earlier run under this configuration, by (sampler, budget, tolerance)."""
    if not path.is_file():
        return {}
    result = json.loads(path.read_text())
    if result["configuration"] != configuration:
        return {}
    # Of an earlier version, rows without a tolerance.
    key = lambda row: (row["sampler"], row["budget"], row.get("tolerance"))
    return {key(row): row for row in result["rows"]}


def _cases(plan, sde, refused):
    """(name, sampler, {"budget" or "tolerance": …}) of all that the SDE allows.

    Why not, by name, goes to `refused`.
    """
    for name, sampler in plan.references.items():
        sampler.check(sde)
        yield name, sampler, {}
    for name in plan.samplers:
        for budget in plan.budgets:
            sampler = plan.within(name, budget)
            if sampler is None:
                continue
            try:
                sampler.check(sde)
            except ValueError as error:  # VP's discrete processes need many steps, say
                refused[name] = str(error)
                continue
            yield name, sampler, {"budget": budget}
    for name, make in plan.adaptive.items():
        for tolerance in plan.tolerances:
            yield name, make(rtol=tolerance, atol=tolerance), {"tolerance": tolerance}


class _Measure:
    """sampler -> {"steps", "evaluations", "distance", "deviation", "real"}; None where it fails.

    Distance and its deviation over the repeats, and the distance of real examples. Steps of a
    sampler that chooses them are None, and its evaluations the mean over batches and repeats.
    """

    def __init__(self, state, info, data, metric, seed, repeats, distribution):
        self._state, self._info, self._distribution = state, info, distribution
        self._data, self._metric, self._seed, self._repeats = data, metric, seed, repeats

    def __call__(self, sampler):
        metric = self._metric
        generation = Generation(self._state, self._info.shape, self._distribution, sampler)
        known = sampler.evaluations()
        distances, real, evaluations = [], [], []
        for k in range(self._repeats):
            try:
                samples = generation(metric.num_samples, _SEED + k, progress=False)
            except FloatingPointError as error:
                logging.warning("%s", error)
                real.clear()
                break
            evaluations.append(generation.evaluations)
            # Data that are drawn, not read, are drawn anew for every repeat.
            figures = metric_figures(metric, samples, self._data, self._seed + k)
            distances.append(figures[metric.name])
            real.append(figures[f"{metric.name}_of_training_data"])
        return {
            "steps": None if known is None else sampler.num_steps,
            "evaluations": float(np.mean(evaluations)) if known is None and real else known,
            "distance": float(np.mean(distances)) if real else None,
            "deviation": float(np.std(distances)) if real else None,
            "real": float(np.mean(real)) if real else None,
        }


def table(result):
    """Markdown: samplers by budget, and the references."""
    rows = result["rows"]
    budgets = sorted({row["budget"] for row in rows if row["budget"]})
    lines = [["sampler", *[f"{budget:,}" for budget in budgets]]]
    for name in dict.fromkeys(row["sampler"] for row in rows if row["budget"]):
        at = {row["budget"]: row for row in rows if row["sampler"] == name}
        lines.append([name, *[_text(at.get(budget)) for budget in budgets]])
    blocks = [_markdown(lines)] if budgets else []
    lines = [["without a budget", "evaluations", result["metric"]]]
    for row in rows:
        if row["budget"] is None:
            tolerance = row["tolerance"] and f", tolerance {row['tolerance']:g}"
            lines.append([row["sampler"] + (tolerance or ""), _count(row), _text(row)])
    if result["real"] is not None:
        lines.append([_REAL, "", _text({"distance": result["real"]})])
    return "\n\n".join([*blocks, _markdown(lines), *_spread(result)]) + "\n"


def picture(result):
    """The same as a plot, uint8 [H, W, 3]."""
    rows, curves, levels = result["rows"], {}, {}
    for row in rows:
        if row["budget"] is None and row["distance"] is None:
            continue
        if row["budget"] is None and row["tolerance"] is None:
            levels[row["sampler"]] = row["distance"]
            continue
        places, distances = curves.setdefault(row["sampler"], ([], []))
        places.append(row["evaluations"])
        distances.append(np.nan if row["distance"] is None else row["distance"])
    if result["real"] is not None:
        levels[_REAL] = result["real"]
    return plots.against_evaluations(curves, levels, result["metric"])


def _spread(result):
    """A line on how far one set's distance lies from the mean, or none."""
    n = result.get("repeats", 1)
    good = [row for row in result["rows"] if row["distance"]]
    if n < 2 or not good:
        return []
    shares = [row["deviation"] / row["distance"] for row in good]
    share = float(np.median(shares)) * np.sqrt(n / (n - 1))
    return [f"Means over {n} sets of samples; one set's standard deviation is {share:.1%} of it."]


def _count(row):
    return "unknown" if row["evaluations"] is None else f"{row['evaluations']:,.0f}"


def _text(row):
    if row is None:
        return ""
    return "not finite" if row["distance"] is None else f"{row['distance']:.3g}"


def _markdown(lines):
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
