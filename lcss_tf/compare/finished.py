"""Finished runs side by side, in one HTML file: ``bin/compare.py --report runs/a runs/b``."""

import itertools
import math
from pathlib import Path

import numpy as np
import scipy.stats

from lcss_tf import images
from lcss_tf.config import binding_table
from lcss_tf.errors import UsageError
from lcss_tf.experiment.results import Results
from lcss_tf.report import History, charts, data_uri, write_html

_CURVES = ("loss/total", "watch/", "evaluate/", "speed/steps_per_second")


def report_finished(workdirs, out=None):
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
        raise UsageError("--report needs runs: python bin/compare.py --report runs/a runs/b")
    for path in paths:
        if not (path / "config.gin").is_file():
            raise FileNotFoundError(f"{path} holds no run (config.gin is missing).")
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
    out = Path(out) if out else paths[0].parent / "comparison.html"
    return write_html(out, "comparison.html", **context)


def _names(paths):
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise UsageError(f"Every run is compared once; got {', '.join(names)}.")
    return names


def _run(path):
    history, results = History(path), Results(path).all()
    step = max((history.curve(tag)[0].max() for tag in history.tags("loss/")), default=0.0)
    return {
        "history": history,
        "results": results,
        "step": int(step),
        "seconds": float(history.seconds([step])[0]),
    }


def _metrics(results, names):
    """[{"name", "rows": a row or None for each run}], metrics in the order of their first run."""
    every = dict.fromkeys(name for r in results.values() for name in r["figures"])
    return [
        {"name": m, "rows": [results[n]["figures"].get(m) if n in results else None for n in names]}
        for m in every
    ]


def _differences(results):
    """Every metric of every pair: the difference with its error, and p of there being none.

    The errors are those of the samples: p says whether these weights differ, not whether their
    losses do. For that, compare over seeds: `compare.seeds`.
    """
    rows = []
    for a, b in itertools.combinations(results, 2):
        shared = [m for m in results[a]["figures"] if m in results[b]["figures"]]
        for metric in shared:
            one, two = (results[n]["figures"][metric] for n in (a, b))
            gap, error, p = z_test(one, two)
            rows.append({"a": a, "b": b, "metric": metric, "value": gap, "error": error, "p": p})
    return rows


def z_test(one, two):
    """(a − b, its standard error, two-sided p) of two rows with value and error; None unknown."""
    if one["value"] is None or two["value"] is None:
        return None, None, None
    gap = one["value"] - two["value"]
    if one["error"] is None or two["error"] is None:
        return gap, None, None
    error = math.hypot(one["error"], two["error"])
    if error == 0:
        return gap, error, 1.0 if gap == 0 else 0.0
    return gap, error, float(2.0 * scipy.stats.norm.sf(abs(gap) / error))


def _curves(runs):
    """[(title, picture)]: what training logged, and what evaluations measured."""
    pictures = []
    tags = dict.fromkeys(
        tag for run in runs.values() for p in _CURVES for tag in run["history"].tags(p)
    )
    for tag in tags:
        series = {}
        for name, run in runs.items():
            steps, values = run["history"].curve(tag)
            if len(steps):
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


def _grid(path):
    grids = [path / "samples" / "final_grid.png", *sorted((path / "samples").glob("*.png"))[::-1]]
    found = next((grid for grid in grids if grid.is_file()), None)
    return data_uri(images.read_png(found)) if found else None


def _settings(paths):
    """[(key, value of each run)] where the configurations differ."""
    tables = [binding_table((path / "config.gin").read_text()) for path in paths]
    keys = sorted(set().union(*tables))
    rows = [(key, [table.get(key, "–") for table in tables]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
