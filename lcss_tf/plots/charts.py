"""Charts of curves and numbers: over steps, seconds, time and NFE. Pictures are uint8 [H, W, 3]."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

from lcss_tf.plots.figures import (
    COLOURS,
    FAINT,
    INK,
    label_axes,
    literal_text,
    name_ticks,
    new_figure,
    note,
    render,
    series_label,
    series_style,
)
from lcss_tf.typing import Array, Numbers

_SCORE_ERRORS = {
    "score_error": "relative squared score error",
    "epsilon_mse": "held-out ε-MSE",
}
BUDGETS = {"steps": "at equal steps", "seconds": "at equal wall clock"}  # of a comparison
_MARKED = 40  # fewer points than this get markers
_FRAME = 15.0  # the largest value of a chart over NFE, in units of the least


# Curves of training


def loss_by_time(curves: Mapping[str, tuple[Array, Array]]) -> Array:
    """The loss of each t-bucket over training steps, and at the end over t.

    Args:
      curves: {"0.1-0.2": (steps, values)}, by rising t.
    """
    figure, (over_steps, over_time) = new_figure(1, 2)
    edges = [tuple(map(float, name.rsplit("-", 1))) for name in curves]
    last, shades = [], np.linspace(0.15, 0.95, len(curves))
    for (name, (steps, values)), shade in zip(curves.items(), shades, strict=True):
        colour = (0.05 + 0.75 * shade, 0.25 + 0.2 * shade, 0.75 - 0.65 * shade)
        over_steps.plot(steps, smoothed(values), color=colour, linewidth=1.1, label=f"t {name}")
        last.append(np.mean(values[-max(1, len(values) // 10) :]))
    label_axes(over_steps, "steps", title="loss over steps, smoothed")
    log_if_wide(over_steps, [values for _, values in curves.values()])
    over_steps.legend(fontsize=7, frameon=False, ncols=2)
    middles = [0.5 * (low + high) for low, high in edges]
    over_time.plot(middles, last, color=COLOURS[0], marker="o", markersize=4.5)
    label_axes(over_time, "t", title="loss over t, mean of the last tenth of training")
    log_if_wide(over_time, [np.array(last)])
    return _finished(figure, (over_steps, over_time))


def over_steps(series: Mapping[str, tuple[Array, Array, Array | None]], title: str) -> Array:
    """Values with errors over training steps: {label: (steps, values, errors)}."""
    figure, (axes,) = new_figure()
    _draw(axes, series)
    label_axes(axes, "steps", title=title)
    log_if_wide(axes, [values for _, values, _ in series.values()])
    return _finished(figure, (axes,), len(series) > 1)


def over_steps_and_seconds(
    series: Mapping[str, tuple[Array, Array, Array, Array | None]], title: str
) -> Array:
    """Values over training steps and over seconds: {label: (steps, seconds, values, errors)}."""
    figure, axes = new_figure(1, 2, sharey=True)
    _draw(axes[0], {k: (s, v, e) for k, (s, _, v, e) in series.items()})
    _draw(axes[1], {k: (t, v, e) for k, (_, t, v, e) in series.items()})
    label_axes(axes[0], "steps", title=title)
    label_axes(axes[1], "training seconds")
    log_if_wide(axes[0], [values for _, _, values, _ in series.values()])
    return _finished(figure, axes, bool(series))


def smoothed(values: Array, width: int = 25) -> Array:
    """The mean of the last `width` values, or of the last eighth of what was so far; [N] -> [N].

    The window grows with the curve, so that a steep beginning is not drawn too late.
    """
    values = np.asarray(values, np.float64)
    ends = np.arange(1, len(values) + 1)
    widths = np.minimum(width, 1 + (ends - 1) // 8)
    return np.array([values[end - w : end].mean() for end, w in zip(ends, widths, strict=True)])


def log_if_wide(axes: Axes, curves: Iterable[Array]) -> None:
    """Makes the vertical axis logarithmic if all is positive and spans more than a factor of 5."""
    every = np.concatenate([np.zeros(0), *(np.ravel(np.asarray(v, float)) for v in curves)])
    every = every[np.isfinite(every)]
    if every.size and every.min() > 0 and every.max() > 5 * every.min():
        axes.set_yscale("log")


def _draw(axes: Axes, series: Mapping[str, tuple[Array, Array, Array | None]]) -> None:
    for i, (label, (x, values, errors)) in enumerate(series.items()):
        style = series_style(i) | {"label": series_label(label)}
        if len(x) >= _MARKED:
            style["marker"] = ""
        if errors is None or not np.isfinite(errors).any():
            axes.plot(x, values, **style)
        else:
            axes.errorbar(x, values, yerr=np.nan_to_num(errors), capsize=2, **style)


# Evaluations


def nfe_sweep(
    curves: Mapping[str, tuple[Numbers, Numbers]],
    levels: Mapping[str, float],
    metric: str,
) -> Array:
    """A metric against the number of function evaluations (NFE), both axes logarithmic.

    The frame ends at 15 times the least value; what lies above is counted in the title.

    Args:
      curves: {name: (NFE, values)}, of one length each; values that are not finite are left out.
      levels: {name: value}, drawn as horizontal lines.
      metric: the name of the metric.
    """
    figure, (axes,) = new_figure()
    figure.set_size_inches(5.2, 4.6)
    for i, (name, (nfe, values)) in enumerate(curves.items()):
        axes.plot(nfe, values, label=series_label(name), **series_style(i))
    for i, (name, level) in enumerate(levels.items()):
        style = ("--", ":", "-.")[i % 3]
        axes.axhline(
            level, color=FAINT, linewidth=1.0, linestyle=style, label=series_label(name), zorder=1
        )
    axes.set(xscale="log", yscale="log")
    every = np.concatenate([*[v for _, v in curves.values()], list(levels.values())])
    every = every[np.isfinite(every) & (every > 0)]
    if len(every):
        low, high = 0.9 * every.min(), min(1.1 * every.max(), _FRAME * every.min())
        axes.set_ylim(low, high)
        if np.sum(every > high):
            note(axes, f"{np.sum(every > high)} above the frame")
        ticks = [k * 10.0**n for n in range(-9, 9) for k in (1, 1.5, 2, 3, 5, 7)]
        axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.set_xticks(_nfe_ticks([x for nfe, _ in curves.values() for x in nfe]))
    label_axes(axes, "NFE per sample", metric.replace("_", " "))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())
    return _finished(figure, (axes,), bool(curves or levels))


def _nfe_ticks(counts: Sequence[float]) -> list[int]:
    """Whole numbers, the greatest among them, at which several curves have points."""
    places = [round(x) for x in counts]
    kept = sorted({x for x in places if places.count(x) > 1 or x == max(places)})
    # Budgets lie close to one another where one sampler spends an evaluation less than another.
    return [x for i, x in enumerate(kept) if i + 1 == len(kept) or kept[i + 1] > 1.15 * x]


def neighbour_distances(groups: Mapping[str, Array]) -> Array:
    """Histograms of distances to the nearest training example: {label: distances [N]}."""
    figure, (axes,) = new_figure()
    every = np.concatenate(list(groups.values()))
    edges = np.linspace(0.0, every.max() * 1.02 or 1.0, 28)
    for i, (label, values) in enumerate(groups.items()):
        heights, _ = np.histogram(values, edges, density=True)
        axes.stairs(heights, edges, label=label, color=COLOURS[i], linewidth=1.4)
        axes.axvline(np.median(values), color=COLOURS[i], linewidth=0.8, linestyle=":")
    title = "density; dotted: medians"
    label_axes(axes, "distance to the nearest training example", title=title)
    axes.set_xlim(left=0.0)
    axes.set_ylim(0.0, 1.4 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize=7.5, frameon=False)
    return _finished(figure, (axes,))


# Comparisons of losses


def comparison(results: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Pictures by name of a comparison's results.

    ``cost``: milliseconds per step and peak memory. ``errors``: score errors over t at equal steps
    and at equal time. ``curves``: the mean error over training.

    Args:
      results: of each run, as ``result.json`` holds them.
    """
    pictures = {"cost": _cost(results)}
    kind = _error_kind(results)
    if kind:
        pictures["errors"] = _errors(results, kind)
        pictures["curves"] = _curves(results, kind)
    return pictures


def gradient_diagnosis(results: Sequence[Mapping[str, Any]]) -> Array:
    """The variance of the gradient over t, and its bias with the standard error."""
    kinds = [k for k in ("variance", "bias") if any(k in r["figures"] for r in results)]
    figure, axes = new_figure(1, len(kinds))
    titles = {"variance": "variance of the gradient, per example", "bias": "bias of the gradient"}
    for one, kind in zip(axes, kinds, strict=True):
        for i, result in enumerate(results):
            values = result["figures"].get(kind)
            if values is None:
                continue
            middle = [0.5 * (low + high) for low, high in result["buckets"]]
            errors = result["figures"].get(f"{kind}_error")
            style = series_style(i) | {"label": series_label(result["name"])}
            one.errorbar(middle, values, yerr=errors, capsize=2, **style)
        one.set_yscale("log")
        label_axes(one, "t", title=titles[kind])
    return _finished(figure, axes, bool(results))


def budgets(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """By which budgets any run of a comparison was measured: "steps", "seconds"."""
    return [name for name in BUDGETS if any(name in result["budgets"] for result in results)]


def _error_kind(results: Sequence[Mapping[str, Any]]) -> str | None:
    for result in results:
        for key in result["budgets"]["steps"]:
            if key.split("@")[0] in _SCORE_ERRORS:
                return key.split("@")[0]
    return None


def _errors(results: Sequence[Mapping[str, Any]], kind: str) -> Array:
    measured = budgets(results)
    figure, axes = new_figure(1, len(measured), sharey=True)
    for one, budget in zip(axes, measured, strict=True):
        for i, result in enumerate(results):
            at = result["budgets"].get(budget, {}).items()
            points = [(float(k.split("@")[1]), v) for k, v in at if k.startswith(kind + "@")]
            if points:
                one.plot(
                    *zip(*sorted(points), strict=True),
                    label=series_label(result["name"]),
                    **series_style(i),
                )
        one.set_yscale("log")
        label_axes(one, "t", title=BUDGETS[budget])
    label_axes(axes[0], y=_SCORE_ERRORS[kind])
    return _finished(figure, axes, bool(results))


def _curves(results: Sequence[Mapping[str, Any]], kind: str) -> Array:
    figure, axes = new_figure(1, 2, sharey=True)
    for i, result in enumerate(results):
        curve = [point for point in result["curve"] if f"{kind}_mean" in point]
        values = [point[f"{kind}_mean"] for point in curve]
        for one, x in zip(axes, ("step", "seconds"), strict=True):
            one.plot(
                [point[x] for point in curve],
                values,
                label=series_label(result["name"]),
                **series_style(i),
            )
    for one, label in zip(axes, ("steps", "training seconds"), strict=True):
        one.set_yscale("log")
        label_axes(one, label)
    label_axes(axes[0], y=f"{_SCORE_ERRORS[kind]}, mean over t")
    return _finished(figure, axes, bool(results))


def _cost(results: Sequence[Mapping[str, Any]]) -> Array:
    figure, axes = new_figure(1, 2, sharey=True)
    figure.set_size_inches(9.2, 1.1 + 0.4 * len(results))
    names = [result["name"] for result in results]
    labels = {"ms_per_step": "milliseconds per step", "peak_mib": "peak memory, MiB"}
    for one, (key, label) in zip(axes, labels.items(), strict=True):
        values = np.array([result[key] for result in results], float)
        colours = [series_style(i)["color"] for i in range(len(names))]
        bars = one.barh(range(len(names)), values, height=0.6, color=colours)
        one.bar_label(bars, fmt="%.3g", padding=3, fontsize=8, color=INK)
        one.set_xlim(0, 1.18 * max(np.nanmax(values, initial=0.0), 1e-9))
        label_axes(one, label)
    name_ticks(axes[0], names)
    axes[0].invert_yaxis()
    return render(figure)


def _finished(figure: Figure, axes: Sequence[Axes] | Array, legend: bool = False) -> Array:
    """The picture, with grids and, beside the plots, a legend of several curves."""
    for one in axes:
        one.grid(alpha=0.25)
    handles, labels = axes[-1].get_legend_handles_labels()
    if legend and len(handles) > 1:
        beside = figure.legend(
            handles, labels, fontsize=7.5, frameon=False, loc="outside right upper"
        )
        literal_text(figure)
        # The legend gets a place of its own: the plots stay as wide as they are.
        extent = beside.get_window_extent(FigureCanvasAgg(figure).get_renderer())
        width, height = figure.get_size_inches()
        figure.set_size_inches(width + extent.width / figure.dpi, height)
    return render(figure)
