"""Tables (Markdown, CSV), plots (PNG) and TensorBoard hparams of a comparison."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np

from lcss_tf import images
from lcss_tf.compare import figures
from lcss_tf.compare.contest import RESULT, entry_workdir
from lcss_tf.compare.diagnosis import DIAGNOSIS
from lcss_tf.files import write_bytes
from lcss_tf.training.summaries import Summaries

_TITLES = {"steps": "At equal steps", "seconds": "At equal wall clock"}
_COST = ("ms/step", "× first", "peak MiB", "steps", "seconds")


def write(workdir, names):
    """Writes table.md, table.csv, plots and hparams from the entries' results.

    Args:
      workdir: the comparison's directory.
      names: of the losses, in the tables' order; those without a result are left out.

    Returns:
      The paths, the Markdown table first.
    """
    workdir = Path(workdir)
    results = read_results(workdir, names, RESULT)
    blocks, rows = [], []
    for budget, title in _TITLES.items():
        header, lines = _table(results, budget)
        blocks.append(f"**{title}**\n\n{to_markdown(header, lines)}")
        rows += [[budget, *line] for line in lines]
    paths = [workdir / "table.md", workdir / "table.csv"]
    write_bytes(paths[0], ("\n\n".join(blocks) + "\n").encode())
    write_bytes(paths[1], to_csv(["budget", *header], rows).encode())
    pictures = figures.comparison(results)
    for name, picture in pictures.items():
        paths.append(workdir / f"{name}.png")
        images.write_png(paths[-1], picture)
    _tensorboard(workdir, results, pictures)
    return paths


def write_diagnosis(workdir, names):
    """Writes diagnosis.md, diagnosis.csv and diagnosis.png; returns their paths."""
    workdir = Path(workdir)
    results = read_results(workdir, names, DIAGNOSIS)
    buckets = results[0]["buckets"]
    header = ["loss", "figure", *[f"t {low:.2f}–{high:.2f}" for low, high in buckets]]
    lines = []
    for result in results:
        for figure, values in result["figures"].items():
            lines.append([result["name"], figure, *values])
    paths = [workdir / f"diagnosis.{suffix}" for suffix in ("md", "csv", "png")]
    write_bytes(paths[0], (to_markdown(header, lines) + "\n").encode())
    write_bytes(paths[1], to_csv(header, lines).encode())
    images.write_png(paths[2], figures.diagnosis(results))
    return paths


def read_results(workdir, names, file):
    """The JSON files of entries, those that are there."""
    paths = [entry_workdir(workdir, name) / file for name in names]
    results = [json.loads(path.read_text()) for path in paths if path.is_file()]
    if not results:
        raise FileNotFoundError(f"{workdir} holds no {file} of {names}: run the comparison first.")
    return results


def _table(results, budget):
    """Header and lines: cost, then every figure that any entry has."""
    keys = []
    for result in results:
        keys += [k for k in result["budgets"][budget] if k not in keys and k not in _COST]
    keys = [k for k in keys if k != "step"]
    first = results[0]["ms_per_step"]
    lines = []
    for result in results:
        at = result["budgets"][budget]
        cost = [
            result["ms_per_step"],
            result["ms_per_step"] / first,
            result["peak_mib"],
            at["step"],
            at["seconds"],
        ]
        lines.append([result["name"], *cost, *[at.get(key) for key in keys]])
    return ["loss", *_COST, *keys], lines


def to_markdown(header, lines):
    rows = [header, ["---"] * len(header), *[[_text(value) for value in line] for line in lines]]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _text(value):
    """A figure with three digits that count; an empty cell for None."""
    if value is None:
        return ""
    try:
        number = float(value)
    except ValueError:
        return str(value)
    if not math.isfinite(number):
        return str(number)
    if number == int(number) and abs(number) >= 1000:
        return f"{int(number):,}"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def to_csv(header, lines):
    """A table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def _tensorboard(workdir, results, pictures):
    """One trial an entry, with the figures at both budgets and the curve; plots at the root."""
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
            summaries.image(f"samples/{path.stem}", images.read_png(path), step)
        summaries.close()
    summaries = Summaries(workdir)
    for name, picture in pictures.items():
        summaries.image(f"compare/{name}", np.asarray(picture), 0)
    summaries.close()
