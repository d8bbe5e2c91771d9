"""Samplers against their number of function evaluations (NFE), by a metric of their samples."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gin
import numpy as np

from lcss_tf import files, forms, plots
from lcss_tf.commands import _gin, _runs
from lcss_tf.commands._results import error_text
from lcss_tf.commands.flags.quality import FLAGS
from lcss_tf.display import say, tolerated, warn
from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.inference import Sampling, conditions_of
from lcss_tf.metrics import Metric, default_metrics, measure
from lcss_tf.metrics.base import standard_error
from lcss_tf.plots import charts
from lcss_tf.score import Score
from lcss_tf.training.workdir import only_process

_SEED = 30_001  # of the samples: the same x_T for every sampler
_REAL = "real examples"
_NUMBER = forms.Nullable(forms.NUMBER)
_ROW = {
    "sampler": forms.TEXT,
    **dict.fromkeys(("budget", "tolerance", "steps", "nfe", "distance", "real"), _NUMBER),
    "error": forms.Optional(_NUMBER),
    "distances": forms.Optional([forms.NUMBER]),
}
_FORM = {
    "metric": forms.TEXT,
    "real": _NUMBER,
    "rows": [_ROW],
    "configuration": [forms.INTEGER],
    "repeats": forms.Optional(forms.COUNT),
}


def main(_: Sequence[str]) -> None:
    """The command."""
    workdir, gin_file = FLAGS.workdir, FLAGS.gin_file
    if workdir is not None and _runs.is_run(workdir):
        found = _gin.find_config(gin_file).resolve()
        _runs.load_configuration(workdir, [f"include '{found}'", *FLAGS.gin_bindings])
    else:
        _gin.load(gin_file, FLAGS.gin_bindings)
        workdir = workdir or _runs.default_workdir(gin_file)
    directory = Path(workdir) / "quality"
    files.check_writable(directory, folder=True)
    with only_process(directory):
        paths = nfe_sweep(workdir)
    say(f"\n{files.read_text(paths[0])}")
    say("\n  ".join(["Written:", *map(str, paths)]))


@gin.configurable
@dataclass
class NFESweep:
    """Samplers against NFE: on a run's checkpoint, or on data whose score is known.

    Args:
      samplers: by the names of the table, what makes a sampler of `num_steps`: in gin
        ``{"DDIM": @samplers.DDIM}``, without brackets.
      budgets: NFE of a sample; each sampler takes as many steps as fit.
      adaptive: by name, what makes a sampler of `rtol` and `atol` that chooses its steps itself.
      tolerances: both of them at once, of each of the adaptive; its NFE is measured.
      references: samplers that are run as they are bound, by name:
        ``@reference/samplers.EulerMaruyama()``. Lines across the plot.
      metric: an object of `METRICS`; by default the main one of `default_metrics`.
      repeats: sets of samples over which the metric is averaged. From two on, each value has its
        standard error over the sets, and differences to the first sampler are paired by set.
      sde, data: an affine SDE and data with a closed-form score; None: the run's checkpoint.

    Raises:
      UsageError: nothing to measure, or one of sde and data alone.
    """

    samplers: dict = gin.REQUIRED
    budgets: tuple[int, ...] = (5, 10, 20, 40, 80, 160)
    adaptive: Any = None
    tolerances: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-5)
    references: Any = None
    metric: Metric | None = None
    repeats: int = 1
    sde: Any = None
    data: Any = None

    def __post_init__(self) -> None:
        self.references = self.references or {}
        self.adaptive = self.adaptive or {}
        if self.repeats < 1 or not self.budgets or min(self.budgets) < 1:
            raise UsageError(
                "NFESweep expects repeats >= 1 and budgets of at least one evaluation; got "
                f"repeats={self.repeats}, budgets={self.budgets}."
            )
        if (self.sde is None) != (self.data is None):
            raise UsageError(
                "NFESweep.sde and NFESweep.data go together (an exact score), or both are left out "
                "(a run's checkpoint)."
            )

    def within(self, name: str, budget: int) -> Any:
        """The sampler of that name with the most steps that the budget allows, or None."""
        make = self.samplers[name]
        first = make(num_steps=1).nfe()
        if first is None:
            raise UsageError(
                f"{name} chooses its evaluations by itself and keeps to no budget: list it among "
                "NFESweep.adaptive."
            )
        per_step = make(num_steps=2).nfe() - first
        return make(num_steps=1 + (budget - first) // per_step) if budget >= first else None


def nfe_sweep(workdir: str | Path) -> list[Path]:
    """Measures, and writes ``quality.md``, ``quality.json`` and ``quality.png``.

    Run the same command again to resume: what was measured under the same configuration stays.

    Args:
      workdir: the run's, or, with an exact score, where to write. They lie in its
        folder ``quality``.

    Returns:
      Their paths, the table first.
    """
    plan, directory = NFESweep(), Path(workdir) / "quality"
    files.check_writable(directory, folder=True)
    state: Any
    if plan.sde is None:
        model, arguments = _runs.load_model(workdir), _gin.fit()
        state, info, step = model.state, model.info, model.step
        data, seed = _runs.data_for(model, arguments["data"]), arguments["seed"]
    else:
        data, seed, step = plan.data, 0, 0
        info = data.info()
        state = ExactState(data, plan.sde, _gin.Distribution())
    metric = plan.metric or default_metrics(info)[0]
    measured = _Measure(state, info, data, metric, seed, plan.repeats)
    result: dict[str, Any] = {"metric": metric.name, "real": None, "rows": [], "refused": {}}
    result["configuration"] = [zlib.crc32(_runs.parsed_config().encode()), step]
    result["repeats"] = plan.repeats
    paths = [directory / f"quality.{suffix}" for suffix in ("md", "json", "png")]
    before = _finished(paths[1], result["configuration"])
    for name, sampler, given in _cases(plan, state.sde, result["refused"]):
        key = {"sampler": name, "budget": None, "tolerance": None} | given
        row = before.get(tuple(key.values()))
        known = row is not None
        if row is None:
            row = measured(sampler) | key
        result["rows"].append(row)
        result["real"] = result["real"] or row["real"]
        say(f"{name:<32}{_count(row):>8} NFE   {_text(row)}")
        if not known:
            files.write_json(paths[1], result)
    files.write_json(paths[1], result)
    files.write_text(paths[0], table(result))
    drawn = tolerated(f"The picture {paths[2]}", lambda: plots.write_png(paths[2], picture(result)))
    return paths if drawn else paths[:2]


def read_result(path: Path) -> dict | None:
    """What ``quality.json`` holds; None where there is none.

    Raises:
      UsageError: it is damaged; names it.
    """
    return files.read_json(path, _FORM, "Remove it, and it is measured again.")


def _finished(path: Path, configuration: list) -> dict:
    """Rows of an earlier run under this configuration, by (sampler, budget, tolerance)."""
    result = read_result(path)
    if result is None or result["configuration"] != configuration:
        return {}
    key = lambda row: (row["sampler"], row["budget"], row["tolerance"])
    return {key(row): row for row in result["rows"]}


def _cases(plan: NFESweep, sde: Any, refused: dict) -> Iterator[tuple[str, Any, dict]]:
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
    """sampler -> {"steps", "nfe", "distance", "error", "distances", "real"}.

    distance, distances: the mean over the sets, and each; None and [] where it fails.
    error: the standard error of the mean, over sets, or over the samples of the only set.
    real: the distance of real examples.
    Steps of a sampler that chooses them are None, and its NFE the mean over batches and sets.
    """

    def __init__(
        self, state: Any, info: Any, data: Any, metric: Any, seed: int, repeats: int
    ) -> None:
        self._state, self._info, self._data = state, info, data
        self._metric, self._seed, self._repeats = metric, seed, repeats

    def __call__(self, sampler: Any) -> dict[str, Any]:
        name = self._metric.name
        draw = Sampling(self._state, **(_gin.sample() | {"sampler": sampler}))
        known = sampler.nfe()
        distances: list[float] = []
        errors: list[float] = []
        real: list[float] = []
        nfe: list[float] = []
        count = self._metric.num_samples
        given = conditions_of(self._state.average, self._data, count)
        for k in range(self._repeats):
            try:
                drawn = draw(count, _SEED + k, given, progress=False)
            except NotFiniteError as error:
                warn("%s", error)
                distances.clear()
                break
            nfe.append(drawn.nfe)
            # Data that are drawn, not read, are drawn anew for every repeat.
            samples = self._info.unscale(drawn.x)
            found, of_real = measure(samples, self._data, [self._metric], self._seed + k)
            distances.append(float(found[name].value))
            errors.append(float(found[name].standard_error))
            real.append(of_real[name].value)
        row = {
            "steps": None if known is None else sampler.num_steps,
            "nfe": known,
            "distances": distances,
            **dict.fromkeys(("distance", "error", "real")),
        }
        if not distances:
            return row
        uncertainty = standard_error(distances) if len(distances) > 1 else errors[0]
        return row | {
            "nfe": float(np.mean(nfe)) if known is None else known,
            "distance": float(np.mean(distances)),
            "error": uncertainty if np.isfinite(uncertainty) else None,
            "real": float(np.mean(real)),
        }


class ExactState:
    """The exact score of known data, where a trained state stands: samplers alone are measured.

    Args:
      data: has `score(x, alpha_t, sigma_t)`, ∇log p_t in the graph; a `Mixture`, say.
      sde: an affine SDE.
      distribution: a `Distribution`.

    Raises:
      UsageError: there is no such closed form.
    """

    average = None

    def __init__(self, data: Any, sde: Any, distribution: Any) -> None:
        if not sde.has_marginal or not hasattr(data, "score"):
            raise UsageError(
                "An exact score takes data with score(x, alpha_t, sigma_t), such as "
                f"GaussianMixture, on an affine SDE; got {type(data).__name__} on "
                f"{type(sde).__name__}."
            )

        def score(network: Any, sde: Any, x: Any, t: Any) -> Any:
            del network
            return data.score(x, *sde.marginal(t))

        self.score, self.sde = Score(sde, score), sde
        self.shape, self.distribution = tuple(data.shape), distribution


def table(result: dict) -> str:
    """Markdown: samplers by budget, and the references."""
    rows = result["rows"]
    budgets = sorted({row["budget"] for row in rows if row["budget"]})
    lines = []
    for name in dict.fromkeys(row["sampler"] for row in rows if row["budget"]):
        at = {row["budget"]: row for row in rows if row["sampler"] == name}
        lines.append([name, *[_text(at.get(budget)) for budget in budgets]])
    header = ["sampler, by NFE", *[f"{budget:,}" for budget in budgets]]
    blocks = [files.markdown_table(header, lines)] if budgets else []
    lines = []
    for row in rows:
        if row["budget"] is None:
            tolerance = row["tolerance"] and f", tolerance {row['tolerance']:g}"
            lines.append([row["sampler"] + (tolerance or ""), _count(row), _text(row)])
    if result["real"] is not None:
        lines.append([_REAL, "", _text({"distance": result["real"]})])
    blocks.append(files.markdown_table(["without a budget", "NFE", result["metric"]], lines))
    return "\n\n".join([*blocks, *_differences(rows, budgets), *_spread(rows)]) + "\n"


def picture(result: dict) -> np.ndarray:
    """The same as a plot, uint8 [H, W, 3]."""
    rows, levels = result["rows"], {}
    curves: dict[str, tuple[list, list]] = {}
    for row in rows:
        if row["budget"] is None and row["distance"] is None:
            continue
        if row["budget"] is None and row["tolerance"] is None:
            levels[row["sampler"]] = row["distance"]
            continue
        places, distances = curves.setdefault(row["sampler"], ([], []))
        places.append(row["nfe"])
        distances.append(np.nan if row["distance"] is None else row["distance"])
    if result["real"] is not None:
        levels[_REAL] = result["real"]
    return charts.nfe_sweep(curves, levels, result["metric"])


def _differences(rows: Sequence[dict], budgets: Sequence[int]) -> list[str]:
    """What each sampler has less or more than the first one, over the same sets; or nothing."""
    sets = {
        (row["sampler"], row["budget"]): row.get("distances") or [] for row in rows if row["budget"]
    }
    first, *others = dict.fromkeys(name for name, _ in sets) or [""]

    def text(name: str, budget: int) -> str:
        one, two = sets.get((name, budget), []), sets.get((first, budget), [])
        if len(one) != len(two) or len(one) < 2:
            return ""
        gaps = np.subtract(one, two)
        return _text({"distance": gaps.mean(), "error": standard_error(gaps)})

    lines = [[name, *[text(name, budget) for budget in budgets]] for name in others]
    if not any(cell for _, *cells in lines for cell in cells):
        return []
    header = [f"less {first}, paired by set", *[f"{budget:,}" for budget in budgets]]
    return [files.markdown_table(header, lines)]


def _spread(rows: Sequence[dict]) -> list[str]:
    """A line on how far one set's distance lies from the mean, or none."""
    sets = [found for row in rows if len(found := row.get("distances") or []) > 1]
    if not sets:
        return []
    share = float(np.median([np.std(found, ddof=1) / np.mean(found) for found in sets]))
    count = len(sets[0])
    return [
        f"Means over {count} sets of samples; one set's standard deviation is {share:.1%} of it."
    ]


def _count(row: dict) -> str:
    return "unknown" if row["nfe"] is None else f"{row['nfe']:,.0f}"


def _text(row: dict | None) -> str:
    if row is None:
        return ""
    if row["distance"] is None:
        return "not finite"
    return f"{row['distance']:.3g}{error_text(row.get('error'))}"
