"""Samples beside what they were drawn given, and beside what is true.

A histogram or a grid of samples says nothing of whether they follow their conditions. These
pictures do: the condition, the example that has it and the samples in a row; or samples against the
true values, with the share of these that the samples' intervals hold.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from lcss_tf.plots import figures, images
from lcss_tf.plots.figures import DATA, SAMPLES
from lcss_tf.typing import Array

_GAP_PX = 10  # between what is given and what is drawn
_MOST_ROWS = 60  # conditions in a picture
_MOST_DRAWN = 8  # samples of one condition in a picture of images
_MOST_COLUMNS = 6  # of a table that fit into a picture
_COLUMNS_IN_ROW = 3
_MOST_BARS = 150  # true values of a column that are drawn; all are counted
_LEAST_DRAWN = 4  # samples of one condition that make an interval
_TAIL = 0.1  # the share of samples below an interval, and above it


class Given(NamedTuple):
    """What samples were drawn given: sample i has the condition i mod M.

    condition: [M, ...] in its own units. truth: the examples that have these conditions, [M, ...]
    in the units of the samples; None where they are not known.
    """

    condition: Array
    truth: Array | None = None


class Coverage(NamedTuple):
    """How often intervals hold the truth: the share found, its standard error, the share due."""

    found: float
    error: float
    due: float


def by_condition(samples: Array, count: int) -> Array:
    """Samples [N, ...], the i-th of condition i mod `count`, as [conditions, drawn, ...].

    What does not fill a round of conditions is left out, unless there is no full one.
    """
    drawn = max(1, len(samples) // count)
    rows = min(count, len(samples))
    return np.moveaxis(samples[: drawn * rows].reshape(drawn, rows, *samples.shape[1:]), 0, 1)


def coverage(samples: Array, truth: Array) -> tuple[Array, Array, Coverage]:
    """Intervals of samples [M, n, D], and how often they hold the truth [M, D].

    An interval reaches from the k-th smallest to the k-th largest of n samples, k a tenth of n + 1
    or 1. If a true value comes from the distribution of its n samples, all n + 1 are exchangeable,
    and the interval holds it with the probability (n + 1 − 2k)/(n + 1), whatever that distribution
    (Hamill 2001, on rank histograms). Values that are equal count as held.

    Returns:
      (low [M, D], high [M, D], the coverage over all M values of all D columns; its error takes the
      rows for independent).
    """
    ordered, n = np.sort(samples, axis=1), samples.shape[1]
    k = max(1, round(_TAIL * (n + 1)))
    low, high = ordered[:, k - 1], ordered[:, n - k]
    held = ((low <= truth) & (truth <= high)).mean(axis=1)
    error = float(np.std(held, ddof=1) / math.sqrt(len(held))) if len(held) > 1 else math.nan
    return low, high, Coverage(float(held.mean()), error, (n + 1 - 2 * k) / (n + 1))


def against_truth(samples: Array, truth: Array, names: Sequence[str] = ()) -> Array:
    """Samples [N, D] of tables or vectors against the true values [M, D], a plot for each column.

    From four samples of each condition on, a bar is an interval as in `coverage`, with the median;
    of fewer every sample is a point. Where the model is right the line lies amid them, and the
    bars hold as many of the true values as the title says is right. Of more than six columns the
    first six are drawn.
    """
    samples, truth = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (samples, truth))
    drawn = by_condition(samples, len(truth))
    truth = truth[: len(drawn)]
    size = min(truth.shape[1], _MOST_COLUMNS)
    wide = min(size, _COLUMNS_IN_ROW)
    figure, axes = figures.new_figure(math.ceil(size / wide), wide)
    shown = np.unique(np.linspace(0, len(truth) - 1, _MOST_BARS).round().astype(int))
    for axis in axes[size:]:
        axis.set_visible(False)
    for d, axis in enumerate(axes[:size]):
        true, own = truth[:, d], drawn[:, :, d]
        title = None
        if drawn.shape[1] >= _LEAST_DRAWN:
            low, high, held = coverage(own[..., None], true[:, None])
            title = f"bar: the middle of {own.shape[1]} samples; dot: their median"
            if len(truth) > 1:
                title = (
                    f"{100 * held.found:.0f} ± {100 * held.error:.0f} % of the true values lie "
                    f"within the bars; {100 * held.due:.0f} % is right\n{title}"
                )
            axis.vlines(true[shown], low[shown, 0], high[shown, 0], color=SAMPLES, alpha=0.35)
            median = np.median(own, axis=1)
            axis.plot(true[shown], median[shown], "o", color=SAMPLES, markersize=3)
        else:
            flat = np.repeat(true, own.shape[1]), own.reshape(-1)
            axis.plot(*flat, "o", color=SAMPLES, markersize=3, alpha=0.6, markeredgewidth=0)
        _diagonal(axis, true)
        name = names[d] if d < len(names) else f"column {d}"
        figures.label_axes(axis, f"{name}, true", f"{name}, samples", title)
    return figures.render(figure)


def _diagonal(axis: Axes, true: Array) -> None:
    ends = [float(true.min()), float(true.max())]
    axis.plot(ends, ends, color=DATA, linewidth=1.2)


def beside(given: Mapping[str, Array], drawn: Array, title: str) -> Array:
    """Two grids of images side by side with a row for each condition: what is given, and drawn.

    Args:
      given: uint8 images [M, H, W, C] by their heading; none leaves the first grid out.
      drawn: uint8 [M, n, H, W, C].
      title: above what is drawn.
    """
    right = _grid([images.rgb(drawn[:, i]) for i in range(drawn.shape[1])])
    right = images.titled(right, [title])
    if not given:
        return right
    left = images.titled(_grid([images.rgb(column) for column in given.values()]), list(given))
    return np.concatenate([left, _white(left, _GAP_PX), right], axis=1)


def image_rows(samples: Array, given: Given) -> Array:
    """Images given images: condition, truth where it is known, and samples, in rows.

    Of many conditions the rows stand in several blocks. Numbers that are not bytes are stretched
    between their 0.1 % and 99.9 % quantiles: samples by those of the truth, if it is known.
    """
    drawn = by_condition(samples, len(given.condition))[:_MOST_ROWS, :_MOST_DRAWN]
    rows = len(drawn)
    known = {"given": given.condition[:rows]}
    if given.truth is not None:
        known["truth"] = given.truth[:rows]
    columns = {name: images.as_bytes(x) for name, x in known.items()}
    drawn = images.as_bytes(drawn, known.get("truth"))
    width = len(columns) + drawn.shape[1]
    blocks = max(1, round(math.sqrt(rows / width)))
    length = math.ceil(rows / blocks)
    title = "sample" if drawn.shape[1] == 1 else "samples"
    parts = [
        beside({n: x[k : k + length] for n, x in columns.items()}, drawn[k : k + length], title)
        for k in range(0, rows, length)
    ]
    joined: list[Array] = []
    for part in parts:
        joined += [_white(parts[0], 2 * _GAP_PX)] if joined else []
        short = len(parts[0]) - len(part)
        joined.append(np.pad(part, ((0, short), (0, 0), (0, 0)), constant_values=255))
    return np.concatenate(joined, axis=1)


def _white(picture: Array, width_px: int) -> Array:
    return np.full((len(picture), width_px, 3), 255, np.uint8)


def _grid(columns: list[Array]) -> Array:
    cells = np.stack(columns, axis=1)
    return images.grid(cells.reshape(-1, *cells.shape[2:]), columns=cells.shape[1])
