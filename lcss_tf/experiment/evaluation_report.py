"""The report of a run, ``report.html``: figures, pictures, neighbours, loss by t, configuration."""

import json
from pathlib import Path

import gin
import numpy as np

from lcss_tf import files, images
from lcss_tf.experiment.neighbours import find_neighbours
from lcss_tf.experiment.sampling import picture_of
from lcss_tf.report import History, charts, data_uri, write_html

_REAL = 64  # images in a grid
_POINTS = 1_024  # vectors in a scatter plot
_LOSS = "loss_by_t/"


def write_report(workdir, recipe, references, results):
    """Writes ``<workdir>/report.html`` of the evaluations so far; returns its path.

    Args:
      workdir: the run's directory.
      recipe: the `Recipe`.
      references: `References`.
      results: of `Results.all`, at least one; the last is the one shown.
    """
    workdir = Path(workdir)
    result, info = results[-1], recipe.data.info()
    place = workdir / "evaluation" / f"step_{result['step']:09d}"
    samples = (files.read_arrays(place / "samples.npz") or {}).get("samples")
    shown = "test" if references.split == "test" or references.has_other else "train"
    most = _REAL if info.kind == "image" else _POINTS
    real = references.examples(min(most, recipe.data.size(shown) or most), shown)
    context = {
        "title": f"{workdir.name}: evaluation",
        "name": workdir.name,
        "summary": _summary(recipe),
        "step": result["step"],
        "figures": result["figures"],
        "real_split": result["real_split"],
        "counts": result["counts"],
        "history": _history(results),
        "samples": data_uri(None if samples is None else picture_of(samples, info, _REAL)),
        "real": data_uri(picture_of(real, info, _REAL)),
        "neighbours": _neighbours(samples, recipe, references, info),
        "loss_by_t": _loss_by_t(workdir),
        "quality": _quality(workdir / "quality"),
        "likelihood": _likelihood(workdir / "likelihood.json"),
        "evaluation": gin.operative_config_str(),
        "configuration": _text(workdir / "operative_config.gin"),
        "versions": _versions(workdir),
    }
    return write_html(workdir / "report.html", "evaluation.html", **context)


def _summary(recipe):
    parts = {
        "data": recipe.data.name,
        "SDE": type(recipe.sde).__name__,
        "loss": type(recipe.loss).__name__,
        "network": type(recipe.network).__name__,
        "batch": recipe.batch_size,
        "steps": f"{recipe.total_steps:,}",
    }
    return ", ".join(f"{key} {value}" for key, value in parts.items())


def _history(results):
    """The first metric over steps, where there are several."""
    name = next(iter(results[-1]["figures"]))
    shown = [r for r in results if name in r["figures"]]
    if len(shown) < 2:
        return None
    rows = [r["figures"][name] for r in shown]
    values, errors = (np.array([row[key] for row in rows], float) for key in ("value", "error"))
    series = {name: (np.array([r["step"] for r in shown]), values, errors)}
    return data_uri(charts.over_steps(series, name))


def _neighbours(samples, recipe, references, info):
    if samples is None or not references.has_other:
        return None
    found = find_neighbours(samples, recipe.data, references)
    if found is None:
        return None
    groups = {
        "samples": found.samples,
        "training examples, to another one": found.training,
        "held-out examples": found.held_out,
    }
    picture = None
    if info.kind == "image":
        flat = found.pictured.reshape(-1, *found.pictured.shape[2:])
        picture = images.grid(flat, columns=found.pictured.shape[1])
    return {
        "share": found.share_nearer(),
        "count": len(found.samples),
        "rows": [(name, float(np.median(d)), float(d.min())) for name, d in groups.items()],
        "picture": data_uri(picture),
        "chart": data_uri(charts.distances(groups)),
    }


def _loss_by_t(workdir):
    """From what training logged; None where nothing was."""
    history = History(workdir)
    tags = sorted(history.tags(_LOSS), key=lambda tag: float(tag.removeprefix(_LOSS).split("-")[0]))
    if not tags:
        return None
    curves = {tag.removeprefix(_LOSS): history.curve(tag) for tag in tags}
    return data_uri(charts.loss_by_time(curves))


def _quality(directory):
    """What ``bin/quality.py`` measured, if it has run: ``quality.json`` and its picture."""
    try:
        result = json.loads((directory / "quality.json").read_text())
        picture = images.read_png(directory / "quality.png")
    except (OSError, ValueError):
        return None
    rows = [
        {key: row.get(key) for key in ("sampler", "evaluations", "distance", "deviation")}
        for row in result["rows"]
    ]
    return {"metric": result["metric"], "rows": rows, "picture": data_uri(picture)}


def _likelihood(path):
    """The figures of ``bin/evaluate.py --likelihood``, if it has run."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    content = content.get("figures", content)
    return {key: value for key, value in content.items() if np.ndim(value) == 0} or None


def _versions(workdir):
    run = json.loads(_text(workdir / "run.json") or "{}")
    flat = {key: run[key] for key in ("lcss_tf", "python") if key in run}
    return flat | run.get("versions", {})


def _text(path):
    return path.read_text() if path.is_file() else ""
