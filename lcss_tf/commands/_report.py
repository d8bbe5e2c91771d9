"""The report of a run, ``report.html``: figures, pictures, neighbours, loss by t, configuration."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np

from lcss_tf import files, plots
from lcss_tf.commands import _likelihood as _likelihood_file
from lcss_tf.commands import _runs, quality
from lcss_tf.data import DataInfo
from lcss_tf.display import duration, warn
from lcss_tf.errors import UsageError
from lcss_tf.losses import LCSSLoss
from lcss_tf.metrics import MetricSuite, find_neighbours
from lcss_tf.model import ScoreModel
from lcss_tf.plots import History, charts
from lcss_tf.reports import data_uri, write_html
from lcss_tf.typing import Array

_REAL = 64  # images in a grid
_POINTS = 1_024  # vectors in a scatter plot
_KEPT = 1_024  # samples that are pictured, and whose neighbours are sought
_CLASSES = 20  # whose names are listed
_LOSS = "loss_by_t/"


def write_report(
    workdir: Path,
    model: ScoreModel,
    arguments: dict[str, Any],
    suite: MetricSuite,
    results: Sequence[dict],
    given: plots.Given | None = None,
) -> Path:
    """Writes ``<workdir>/report.html`` of the evaluations so far; returns its path.

    Args:
      workdir: the run's directory.
      model: the model.
      arguments: of its `fit`.
      suite: the metrics, with the real data.
      results: of `Results.all`, at least one; the last is the one shown.
      given: numbers or images that the samples were drawn given; None: none.
    """
    result, info = results[-1], model.info
    place = workdir / "evaluation" / f"step_{result['step']:09d}"
    samples = (files.read_arrays(place / "samples.npz") or {}).get("samples")
    context = _measured(result, suite, samples, info, given) | {
        "title": f"{workdir.name}: evaluation",
        "name": workdir.name,
        "summary": "",
        "trained": trained(model, arguments, History.from_workdir(workdir)),
        "step": result["step"],
        "history": _history(results),
        "loss_by_t": _loss_by_t(workdir),
        "quality": _or_without(lambda: _quality(workdir / "quality"), None),
        "likelihood": _or_without(lambda: _likelihood(workdir / "likelihood.json"), None),
        "configuration": _or_without(lambda: _text(workdir / "operative_config.gin"), ""),
        "versions": _or_without(lambda: _versions(_record(workdir)), {}),
    }
    return write_html(workdir / "report.html", "evaluation.html", **context)


def write_samples_report(
    path: Path,
    name: str,
    summary: str,
    suite: MetricSuite,
    result: Mapping[str, Any],
    samples: Array,
    info: DataInfo,
) -> Path:
    """Writes the report of samples that belong to no run; returns its path.

    Args:
      path: of the report.
      name, summary: of the samples.
      suite: the metrics, with the real data.
      result: {"figures", "real_split", "counts", "facts"}.
      samples: [N, ...] in the data's own units.
      info: of the real data.
    """
    context = _measured(result, suite, samples, info) | {
        "title": f"{name}: evaluation",
        "name": name,
        "summary": summary,
        "trained": {},
        "step": None,
        "history": None,
        "loss_by_t": None,
        "quality": None,
        "likelihood": None,
        "configuration": "",
        "versions": _versions(_runs.provenance()),
    }
    return write_html(path, "evaluation.html", **context)


def _measured(
    result: Mapping[str, Any],
    suite: MetricSuite,
    samples: Array | None,
    info: DataInfo,
    given: plots.Given | None = None,
) -> dict[str, Any]:
    """What every report shows: figures, samples beside real examples, neighbours."""
    references = suite.references
    shown = "test" if references.split == "test" or references.has_other_split else "train"
    most = _REAL if info.kind == "image" else _POINTS
    real = references.examples(min(most, references.data.size(shown) or most), shown)
    density = getattr(references.data, "log_density", None)
    draw = lambda x, beside: plots.main_view(x, info, _REAL, log_density=density, given=beside)
    view = lambda x, beside=None: data_uri(None if x is None else draw(x, beside))
    return {
        "figures": result["figures"],
        "real_split": result["real_split"],
        "counts": result["counts"],
        "facts": result.get("facts", {}),
        "words": suite.in_words(),
        "given": given is not None,
        "samples": view(None if samples is None else samples[:_KEPT], given),
        "real": view(real),
        "neighbours": _neighbours(None if samples is None else samples[:_KEPT], references, info),
        "evaluation": gin.operative_config_str(),
    }


def _or_without(read: Callable[[], Any], nothing: Any) -> Any:
    """read(), or nothing where a file is damaged: what was measured is reported without it."""
    try:
        return read()
    except (UsageError, OSError) as error:
        warn("The report is written without a part: %s", error)
        return nothing


def trained(model: ScoreModel, arguments: dict[str, Any], history: History) -> dict[str, str]:
    """What was trained, for people: texts by name.

    Args:
      model: the model, at the step that is reported.
      arguments: of its `fit`.
      history: of its training.
    """
    step, batch = model.step, arguments["batch_size"]
    facts = {
        "data": arguments["data"].name,
        "SDE": type(model.sde).__name__,
        "network": f"{type(model.network).__name__}, {model.state.num_parameters():,} parameters",
        "loss": type(arguments["loss"] or LCSSLoss()).__name__,
        "trained": f"{step:,} steps of {batch:,} examples",
    }
    seconds = float(history.seconds([step])[0])
    if np.isfinite(seconds) and seconds > 0:
        facts["training time"] = f"{duration(seconds)}, {step * batch / seconds:,.0f} examples/s"
    classes = model.info.classes
    if classes:
        named = ", ".join(model.info.class_title(k) for k in range(min(len(classes), _CLASSES)))
        facts["classes"] = f"{named}{' …' if len(classes) > _CLASSES else ''}"
    return facts


def _verdict(share: float, count: int) -> str:
    """What the share of samples near the training set means."""
    error = (0.05 * 0.95 / max(count, 1)) ** 0.5
    if share > 0.5:
        return "Most samples repeat training examples."
    if share > 0.05 + 3 * error:
        return "Samples lie nearer to the training set than held-out examples do: it overfits."
    if share < 0.05 - 3 * error:
        return (
            "No sign of memorisation. Samples keep further from the training examples than "
            "held-out ones do, as samples of a model that has not learnt all details do."
        )
    return "No sign of memorisation: samples are as far from the training set as held-out examples."


def _history(results: Sequence[dict]) -> str | None:
    """The first metric over steps, where there are several."""
    name = next(iter(results[-1]["figures"]), "")
    shown = [r for r in results if name in r["figures"]]
    if len(shown) < 2:
        return None
    rows = [r["figures"][name] for r in shown]
    values, errors = (np.array([row[key] for row in rows], float) for key in ("value", "error"))
    series = {name: (np.array([r["step"] for r in shown]), values, errors)}
    return data_uri(charts.over_steps(series, name))


def _neighbours(samples: Any, references: Any, info: Any) -> dict | None:
    if samples is None or not references.has_other_split:
        return None
    found = find_neighbours(samples, references)
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
        picture = plots.grid(flat, columns=found.pictured.shape[1])
    return {
        "share": found.share_memorised(),
        "verdict": _verdict(found.share_memorised(), len(found.samples)),
        "count": len(found.samples),
        "rows": [(name, float(np.median(d)), float(d.min())) for name, d in groups.items()],
        "picture": data_uri(picture),
        "chart": data_uri(charts.neighbour_distances(groups)),
    }


def _loss_by_t(workdir: Path) -> str | None:
    """From what training logged; None where nothing was."""
    history = History.from_workdir(workdir)
    tags = sorted(
        history.names(_LOSS), key=lambda tag: float(tag.removeprefix(_LOSS).split("-")[0])
    )
    if not tags:
        return None
    curves = {tag.removeprefix(_LOSS): history.curve(tag) for tag in tags}
    return data_uri(charts.loss_by_time(curves))


def _quality(directory: Path) -> dict | None:
    """What ``lcss quality`` measured, if it has run: ``quality.json`` and its picture."""
    result = quality.read_result(directory / "quality.json")
    if result is None or not (directory / "quality.png").is_file():
        return None
    keys = ("sampler", "nfe", "distance", "error")
    rows = [{key: row.get(key) for key in keys} for row in result["rows"]]
    picture = plots.read_png(directory / "quality.png")
    return {"metric": result["metric"], "rows": rows, "picture": data_uri(picture)}


def _likelihood(path: Path) -> dict | None:
    """The figures of ``lcss evaluate --likelihood``, if it has run."""
    return (_likelihood_file.read_result(path) or {}).get("figures") or None


def _record(workdir: Path) -> dict:
    return _runs.recorded(workdir) if (workdir / "run.json").is_file() else {}


def _versions(run: Mapping[str, Any]) -> dict:
    flat = {key: run[key] for key in ("lcss_tf", "python") if key in run}
    return flat | (run.get("versions") or {})


def _text(path: Path) -> str:
    return files.read_text(path) if path.is_file() else ""
