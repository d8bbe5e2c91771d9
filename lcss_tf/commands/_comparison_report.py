"""What a comparison writes: tables, plots, TensorBoard hparams; finished runs side by side."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from lcss_tf import files, plots
from lcss_tf.commands._comparison import (
    DIAGNOSIS,
    FIGURES_FORM,
    RESULT,
    entry_workdir,
    read_result,
)
from lcss_tf.commands._gin import binding_table
from lcss_tf.commands._places import called
from lcss_tf.commands._results import Results
from lcss_tf.display import tolerated
from lcss_tf.errors import UsageError
from lcss_tf.metrics.base import standard_error
from lcss_tf.plots import History, charts
from lcss_tf.reports import data_uri, value_text, write_html
from lcss_tf.training.summaries import Summaries

_COST = ("ms/step", "× first", "peak MiB", "steps", "seconds")
_CURVES = ("loss/total", "watch/", "evaluate/", "speed/steps_per_second")


def write_tables(workdir: str | Path, names: Sequence[str]) -> list[Path]:
    """Writes table.md, table.csv, plots and hparams from the runs' results.

    Args:
      workdir: the comparison's directory.
      names: of the runs, in the tables' order; those without a result are left out.

    Returns:
      The paths, the Markdown table first.
    """
    workdir = Path(workdir)
    results = read_results(workdir, names, RESULT)
    blocks, rows = [], []
    for budget in charts.budgets(results):
        header, lines = _table(results, budget)
        title = charts.BUDGETS[budget].capitalize()
        blocks.append(f"**{title}**\n\n{files.markdown_table(header, lines)}")
        rows += [[budget, *line] for line in lines]
    paths = [workdir / "table.md", workdir / "table.csv"]
    files.write_text(paths[0], "\n\n".join(blocks) + "\n")
    files.write_text(paths[1], files.csv_table(["budget", *header], rows))
    pictures = tolerated("The charts", charts.comparison, results) or {}
    for name, picture in pictures.items():
        path = workdir / f"{name}.png"
        if tolerated(f"The picture {path}", plots.write_png, path, picture):
            paths.append(path)
    tolerated("What TensorBoard shows", _tensorboard, workdir, results, pictures)
    return paths


def write_diagnosis(workdir: str | Path, names: Sequence[str]) -> list[Path]:
    """Writes diagnosis.md, diagnosis.csv, diagnosis_steps.csv and diagnosis.png; their paths.

    By time the variance and the bias of the gradient; of a step with the loss's own times and
    weights the figures of `StepDiagnostics`.
    """
    workdir = Path(workdir)
    results = read_results(workdir, names, DIAGNOSIS)
    buckets = results[0]["buckets"]
    header = ["loss", "figure", *[f"t {low:.2f}–{high:.2f}" for low, high in buckets]]
    lines = [[r["name"], figure, *v] for r in results for figure, v in r["figures"].items()]
    texts = [
        [result["name"], figure, *values]
        for result in results
        for figure, values in _texts(result["figures"]).items()
    ]
    figures = list(dict.fromkeys(figure for result in results for figure in result["step"]))
    steps = [[r["name"], *(r["step"].get(figure) for figure in figures)] for r in results]
    step_texts = [_texts({k: [v] for k, v in r["step"].items()}) for r in results]
    shown = list(dict.fromkeys(figure for one in step_texts for figure in one))
    step_lines = [
        [result["name"], *(one.get(figure, [""])[0] for figure in shown)]
        for result, one in zip(results, step_texts, strict=True)
    ]
    by_time = files.markdown_table(header, texts)
    by_step = files.markdown_table(["loss", *shown], step_lines)
    suffixes = (".md", ".csv", "_steps.csv", ".png")
    paths = [workdir / f"diagnosis{suffix}" for suffix in suffixes]
    files.write_text(paths[0], f"{by_time}\n\n**The gradient of a step**\n\n{by_step}\n")
    files.write_text(paths[1], files.csv_table(header, lines))
    files.write_text(paths[2], files.csv_table(["loss", *figures], steps))
    draw = lambda: plots.write_png(paths[3], charts.gradient_diagnosis(results))
    return paths if tolerated(f"The picture {paths[3]}", draw) else paths[:3]


def _texts(figures: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
    """{figure: its values as texts}, with ± where ``<figure>_error`` is among the figures."""
    return {
        name: [value_text(*pair) for pair in zip(values, errors, strict=True)]
        for name, values in figures.items()
        if not name.endswith("_error")
        for errors in [figures.get(f"{name}_error", [None] * len(values))]
    }


def read_results(
    workdir: str | Path, names: Sequence[str], file: str, form: Any = None
) -> list[dict]:
    """The JSON files of runs, those that are there; see `read_result`."""
    results = [result for name in names if (result := read_result(workdir, name, file, form))]
    if not results:
        raise FileNotFoundError(f"{workdir} holds no {file} of {names}: run the comparison first.")
    return results


def _table(results: Sequence[dict], budget: str) -> tuple[list[str], list[list]]:
    """Header and lines: cost, then every figure that any run has."""
    keys: list[str] = []
    results = [result for result in results if budget in result["budgets"]]
    for result in results:
        keys += [k for k in result["budgets"][budget] if k not in keys and k not in _COST]
    keys = [k for k in keys if k != "step"]
    first = results[0]["ms_per_step"]
    lines = []
    for result in results:
        at = result["budgets"][budget]
        cost = [
            result["ms_per_step"],
            result["ms_per_step"] / first if first else float("nan"),
            result["peak_mib"],
            at["step"],
            at["seconds"],
        ]
        lines.append([result["name"], *cost, *[at.get(key) for key in keys]])
    return ["loss", *_COST, *keys], lines


def _tensorboard(workdir: Path, results: Sequence[dict], pictures: Mapping) -> None:
    """One trial a run, with the figures at both budgets and the curve; plots at the root."""
    for result in results:
        summaries = Summaries(entry_workdir(workdir, result["name"]))
        summaries.hparams({key: result[key] for key in ("name", "loss", "sde", "batch_size")})
        for budget, at in result["budgets"].items():
            values = {f"compare_at_equal_{budget}/{k}": v for k, v in at.items() if k != "step"}
            values["cost/ms_per_step"] = result["ms_per_step"]
            values["cost/peak_mib"] = result["peak_mib"]
            summaries.scalars(values, at["step"])
        for point in result["curve"]:
            means = {f"curve/{k}": v for k, v in point.items() if k.endswith("_mean")}
            summaries.scalars(means, point["step"])
        for path in sorted(entry_workdir(workdir, result["name"]).glob("equal_*.png")):
            step = result["budgets"][path.stem.split("_")[1]]["step"]
            summaries.image(f"samples/{path.stem}", plots.read_png(path), step)
        summaries.close()
    summaries = Summaries(workdir)
    for name, picture in pictures.items():
        summaries.image(f"compare/{name}", np.asarray(picture), 0)
    summaries.close()


def write_seeds(workdir: str | Path, entries: Mapping[str, tuple[str, int | None]]) -> list[Path]:
    """Writes seeds.md and seeds.csv: for every loss and figure the mean over seeds.

    The error is the standard error of the mean; p, two-sided, that of a t-test for the difference
    to the first loss, paired by seed (the seeds share data order, times and noise).

    Args:
      workdir: the comparison's directory.
      entries: {name: (loss, seed)}.

    Returns:
      The two paths.
    """
    results = read_results(workdir, list(entries), RESULT, FIGURES_FORM)
    by_name = {result["name"]: result for result in results}
    blocks: list[str] = []
    lines: list[list] = []
    for budget, title in charts.BUDGETS.items():
        table = _seed_table(by_name, entries, budget)
        if not table:
            continue
        losses = list(dict.fromkeys(loss for loss, _ in entries.values()))
        header = ["figure", *losses, *[f"p: {loss}" for loss in losses[1:]]]
        text = [
            [key, *[_mean_text(values[loss]) for loss in losses]]
            + [_p_text(values[losses[0]], values[loss]) for loss in losses[1:]]
            for key, values in table.items()
        ]
        count = max(len(v) for values in table.values() for v in values.values())
        blocks.append(f"**{title.capitalize()}**, mean ± standard error over {count} seeds\n\n")
        blocks.append(files.markdown_table(header, text) + "\n\n")
        for key, values in table.items():
            for loss in losses:
                numbers = list(values[loss].values())
                p = paired_p(values[losses[0]], values[loss])
                lines.append([budget, loss, key, len(numbers), *mean_and_error(numbers), p])
    paths = [Path(workdir) / f"seeds.{suffix}" for suffix in ("md", "csv")]
    files.write_text(paths[0], "".join(blocks))
    header = ["budget", "loss", "figure", "seeds", "mean", "standard_error", "p_to_first"]
    files.write_text(paths[1], files.csv_table(header, lines))
    return paths


def mean_and_error(numbers: Sequence[float]) -> tuple[float, float]:
    """(mean, standard error of the mean); NaN for the error of fewer than two."""
    mean = float(np.mean(numbers)) if len(numbers) else float("nan")
    return mean, standard_error(numbers)


def paired_p(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """p of no difference between two {seed: value}, paired by seed; NaN below two pairs."""
    common = [s for s in first if s in second]
    gaps = np.array([first[s] - second[s] for s in common])
    if len(gaps) < 2 or not np.isfinite(gaps).all() or np.ptp(gaps) == 0:
        return float("nan")
    return float(scipy.stats.ttest_1samp(gaps, 0.0).pvalue)


def _seed_table(by_name: Mapping, entries: Mapping, budget: str) -> dict[str, dict]:
    """{figure: {loss: {seed: value}}}."""
    table: dict[str, dict] = {}
    for name, (loss, seed) in entries.items():
        result = by_name.get(name)
        if result is None or budget not in result["budgets"]:
            continue
        figures = {k: v for k, v in result["budgets"][budget].items() if k != "seconds"}
        for key, value in ({"ms/step": result["ms_per_step"]} | figures).items():
            table.setdefault(key, {}).setdefault(loss, {})[seed] = value
    losses = {loss for loss, _ in entries.values()}
    return {key: {loss: v.get(loss, {}) for loss in losses} for key, v in table.items()}


def _mean_text(values: Mapping[int, float]) -> str:
    return value_text(*mean_and_error(list(values.values()))) if values else ""


def _p_text(first: Mapping, second: Mapping) -> str:
    p = paired_p(first, second)
    return f"{p:.2g}" if math.isfinite(p) else "–"


def report_finished(workdirs: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Writes the comparison of finished runs; returns the path of the HTML file.

    Curves over steps and over training seconds, samples, every metric with its error, which
    differences are more than noise, and what differs in the configurations.

    Args:
      workdirs: of the runs, at least one.
      out: the file; by default ``comparison.html`` beside the first run.

    Raises:
      FileNotFoundError: a workdir holds no run.
      ValueError: no run, or two of one name.
    """
    paths = [Path(workdir) for workdir in workdirs]
    if not paths:
        raise UsageError(f"--report needs runs: {called('compare')} --report runs/a runs/b")
    for path in paths:
        if not (path / "config.gin").is_file():
            raise FileNotFoundError(f"{path} holds no run (config.gin is missing).")
    out = Path(out) if out else paths[0].parent / "comparison.html"
    files.check_writable(out)
    names = _names(paths)
    runs = [_run(path) for path in paths]
    results = {
        name: run["results"][-1] for name, run in zip(names, runs, strict=True) if run["results"]
    }
    context = {
        "title": "Comparison of " + ", ".join(names),
        "names": names,
        "runs": [
            {"name": name, "workdir": str(path), "step": run["step"], "seconds": run["seconds"]}
            for name, path, run in zip(names, paths, runs, strict=True)
        ],
        "metrics": _metrics(results, names),
        "differences": _differences(results),
        "curves": _curves(dict(zip(names, runs, strict=True))),
        "grids": [
            {"name": name, "uri": _grid(path)} for name, path in zip(names, paths, strict=True)
        ],
        "settings": _settings(paths),
        "unevaluated": [name for name in names if name not in results],
    }
    return write_html(out, "comparison.html", **context)


def _names(paths: Sequence[Path]) -> list[str]:
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise UsageError(f"Every run is compared once; got {', '.join(names)}.")
    return names


def _run(path: Path) -> dict[str, Any]:
    history, results = History.from_workdir(path), Results(path).all()
    step = max((history.steps(name).max() for name in history.names("loss/")), default=0)
    return {
        "history": history,
        "results": results,
        "step": int(step),
        "seconds": float(history.seconds([step])[0]),
    }


def _metrics(results: Mapping, names: Sequence[str]) -> list[dict]:
    """[{"name", "rows": a row or None for each run}], metrics in the order of their first run."""
    every = dict.fromkeys(name for r in results.values() for name in r["figures"])
    return [
        {"name": m, "rows": [results[n]["figures"].get(m) if n in results else None for n in names]}
        for m in every
    ]


def _differences(results: Mapping) -> list[dict]:
    """Every metric of every pair: the difference with its error, and p of there being none.

    The errors are those of the samples: p says whether these weights differ, not whether their
    losses do. For that, compare over seeds: `Comparison.seeds`.
    """
    rows = []
    for a, b in itertools.combinations(results, 2):
        shared = [m for m in results[a]["figures"] if m in results[b]["figures"]]
        for metric in shared:
            one, two = (results[n]["figures"][metric] for n in (a, b))
            gap, error, p = z_test(one, two)
            rows.append({"a": a, "b": b, "metric": metric, "value": gap, "error": error, "p": p})
    return rows


def z_test(one: Mapping, two: Mapping) -> tuple:
    """(a − b, its standard error, two-sided p) of two rows with value and error; None unknown."""
    if one["value"] is None or two["value"] is None:
        return None, None, None
    gap = one["value"] - two["value"]
    errors = [row.get("standard_error", row["error"]) for row in (one, two)]
    if None in errors:
        return gap, None, None
    error = math.hypot(*errors)
    if error == 0:
        return gap, error, 1.0 if gap == 0 else 0.0
    return gap, error, float(2.0 * scipy.stats.norm.sf(abs(gap) / error))


def _curves(runs: Mapping) -> list[tuple[str, str | None]]:
    """[(title, picture)]: what training logged, and what evaluations measured."""
    pictures = []
    tags = dict.fromkeys(
        name for run in runs.values() for prefix in _CURVES for name in run["history"].names(prefix)
    )
    for tag in tags:
        series: dict[str, tuple] = {}
        for name, run in runs.items():
            if tag in run["history"].names():
                steps, values = run["history"].curve(tag)
                series[name] = (steps, run["history"].seconds(steps), values, None)
        pictures.append((tag, data_uri(charts.over_steps_and_seconds(series, tag))))
    measured = dict.fromkeys(
        m for run in runs.values() for r in run["results"] for m in r["figures"]
    )
    for metric in measured:
        series = {}
        for name, run in runs.items():
            shown = [r for r in run["results"] if metric in r["figures"]]
            if not shown:
                continue
            steps = np.array([r["step"] for r in shown], float)
            rows = [r["figures"][metric] for r in shown]
            values, errors = (np.array([w[k] for w in rows], float) for k in ("value", "error"))
            series[name] = (steps, run["history"].seconds(steps), values, errors)
        if max(len(s[0]) for s in series.values()) > 1:  # one checkpoint is in the table
            pictures.append((metric, data_uri(charts.over_steps_and_seconds(series, metric))))
    return pictures


def _grid(path: Path) -> str | None:
    grids = [path / "samples" / "final_grid.png", *sorted((path / "samples").glob("*.png"))[::-1]]
    found = next((grid for grid in grids if grid.is_file()), None)
    return data_uri(plots.read_png(found)) if found else None


def _settings(paths: Sequence[Path]) -> list[tuple]:
    """[(key, value of each run)] where the configurations differ."""
    tables = [binding_table(files.read_text(path / "config.gin")) for path in paths]
    keys = sorted(set().union(*tables))
    rows = [(key, [table.get(key, "–") for table in tables]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
