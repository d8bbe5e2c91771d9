"""A comparison over seeds: means with standard errors, and whether the losses differ."""

import math
from pathlib import Path

import numpy as np
import scipy.stats

from lcss_tf.compare.contest import RESULT
from lcss_tf.compare.report import read_results, to_csv, to_markdown
from lcss_tf.files import write_bytes
from lcss_tf.report import figure_text

_TITLES = {"steps": "At equal steps", "seconds": "At equal wall clock"}


def write(workdir, entries):
    """Writes seeds.md and seeds.csv: for every loss and figure the mean over seeds.

    The error is the standard error of the mean; p, two-sided, that of a t-test for the difference
    to the first loss, paired by seed (the seeds share data order, times and noise).

    Args:
      workdir: the comparison's directory.
      entries: {name: (loss, seed)}.

    Returns:
      The two paths.
    """
    by_name = {r["name"]: r for r in read_results(workdir, list(entries), RESULT)}
    blocks, lines = [], []
    for budget, title in _TITLES.items():
        table = _table(by_name, entries, budget)
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
        blocks.append(f"**{title}**, mean ± standard error over {count} seeds\n\n")
        blocks.append(to_markdown(header, text) + "\n\n")
        for key, values in table.items():
            for loss in losses:
                numbers = list(values[loss].values())
                p = paired_p(values[losses[0]], values[loss])
                lines.append([budget, loss, key, len(numbers), *mean_and_error(numbers), p])
    paths = [Path(workdir) / f"seeds.{suffix}" for suffix in ("md", "csv")]
    write_bytes(paths[0], "".join(blocks).encode())
    header = ["budget", "loss", "figure", "seeds", "mean", "standard_error", "p_to_first"]
    write_bytes(paths[1], to_csv(header, lines).encode())
    return paths


def mean_and_error(numbers):
    """(mean, standard error of the mean); NaN for the error of fewer than two."""
    numbers = np.asarray(numbers, float)
    if not len(numbers):
        return float("nan"), float("nan")
    spread = float(numbers.std(ddof=1)) if len(numbers) > 1 else float("nan")
    return float(numbers.mean()), spread / math.sqrt(len(numbers))


def paired_p(first, second):
    """p of no difference between two {seed: value}, paired by seed; NaN below two pairs."""
    common = [s for s in first if s in second]
    gaps = np.array([first[s] - second[s] for s in common])
    if len(gaps) < 2 or not np.isfinite(gaps).all() or np.ptp(gaps) == 0:
        return float("nan")
    return float(scipy.stats.ttest_1samp(gaps, 0.0).pvalue)


def _table(by_name, entries, budget):
    """{figure: {loss: {seed: value}}}."""
    table = {}
    for name, (loss, seed) in entries.items():
        result = by_name.get(name)
        if result is None:
            continue
        figures = {k: v for k, v in result["budgets"][budget].items() if k != "seconds"}
        for key, value in ({"ms/step": result["ms_per_step"]} | figures).items():
            table.setdefault(key, {}).setdefault(loss, {})[seed] = value
    losses = {loss for loss, _ in entries.values()}
    return {key: {loss: v.get(loss, {}) for loss in losses} for key, v in table.items()}


def _mean_text(values):
    return figure_text(*mean_and_error(list(values.values()))) if values else ""


def _p_text(first, second):
    p = paired_p(first, second)
    return f"{p:.2g}" if math.isfinite(p) else "–"
