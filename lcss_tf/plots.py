"""Pictures of two-dimensional data, samples and scores over a density, and of figures.

All functions return uint8 RGB arrays [H, W, 3] and keep no state: they use matplotlib's figures
without pyplot, so any thread may call them.
"""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

from lcss_tf.errors import UsageError

_BLUES = ("#ffffff", "#dfe8f2", "#b9cfe6", "#94b6d9")
_DENSITY = LinearSegmentedColormap.from_list("density", _BLUES)
INK = "#33383d"
_FAINT = "#6b7278"
_SAMPLES = "#b3261e"
_ARROWS = "#1f2a36"
# Okabe and Ito's colours: told apart by colour-blind people too; and a marker for each.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_MARKERS = "osD^vP*X"
_RESOLUTION = 200  # points along one side at which the density is evaluated
_MAX_POINTS = 5_000  # more would only hide one another
_INCHES = 4.6
_DPI = 130


def grid_points(extent=2.6, resolution=24):
    """The centres of resolution² equal cells of [−extent, extent]²: float32 [resolution², 2].

    Rows run from low to high y, and in a row x rises.
    """
    ticks = (np.arange(resolution) + 0.5) / resolution * 2.0 * extent - extent
    x, y = np.meshgrid(ticks, ticks)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def density_and_samples(samples, log_density=None, extent=2.6, title=None):
    """Samples as points over the true density.

    Args:
      samples: [N, 2]; of more than 5,000 the first are drawn. Those beyond the
        frame, or not finite, are counted above the frame.
      log_density: maps points float32 [M, 2] to log p [M], in nats; None draws no density.
      extent: the picture shows [−extent, extent]².
      title: a line above the picture.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: the samples are not [N, 2].
    """
    samples = _pairs(samples, "samples")
    inside = np.all(np.abs(samples) <= extent, axis=1)  # False for NaN as well
    figure, axes = _axes(extent, title)
    _draw_density(axes, log_density, extent)
    shown = samples[inside][:_MAX_POINTS]
    # Fewer points are drawn larger, so that both 200 and 5,000 fill the eye alike.
    size = float(np.clip(6_000 / max(len(shown), 1), 1.5, 12.0))
    axes.scatter(shown[:, 0], shown[:, 1], s=size, c=_SAMPLES, alpha=0.7, linewidths=0)
    _note(axes, f"{len(samples):,} samples, {np.sum(~inside):,} outside")
    return render(figure)


def score_field(points, scores, log_density=None, extent=2.6, title=None):
    """The score as arrows over the true density.

    The arrows' lengths grow with the logarithm of the score's: far from the data a
    score is many times larger than near them, and both are to be seen.

    Args:
      points: [N, 2], such as `grid_points` gives.
      scores: [N, 2], at these points; arrows that are not finite are left out and counted.
      log_density, extent, title: as in `density_and_samples`.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: points or scores are not [N, 2], or not equally many.
    """
    points, scores = _pairs(points, "points"), _pairs(scores, "scores")
    if len(points) != len(scores):
        raise UsageError(f"Each point needs one score; got {len(points)} and {len(scores)}.")
    finite = np.isfinite(scores).all(axis=1)
    figure, axes = _axes(extent, title)
    _draw_density(axes, log_density, extent)
    norm = np.linalg.norm(scores[finite], axis=1, keepdims=True)
    spacing = 2.0 * extent / max(np.sqrt(len(points)), 1.0)
    length = np.log1p(norm) / max(np.log1p(norm).max(initial=0.0), 1e-12) * spacing * 0.95
    arrows = scores[finite] / np.maximum(norm, 1e-12) * length
    axes.quiver(
        *points[finite].T, *arrows.T, color=_ARROWS, angles="xy", scale_units="xy", scale=1.0,
        width=0.0032, headwidth=4.0, headlength=4.5, headaxislength=4.0, pivot="mid",
    )  # fmt: skip
    lost = f", {np.sum(~finite):,} not finite" if not finite.all() else ""
    longest = norm.max(initial=0.0)
    _note(axes, f"longest |s| = {longest:.3g}, log lengths{lost}")
    return render(figure)


def laws(quantiles, names, title):
    """Two laws on a line side by side: their densities, and their quantiles against each other.

    Args:
      quantiles: {"pooled": (first, second)}, and under any other name further pairs, which
        appear among the quantiles only; arrays [L] at the same levels, rising.
      names: of the first and the second law.
      title: a line above the picture.

    Returns:
      uint8 [H, W, 3].
    """
    figure, (densities, pairs) = figure_with_axes(1, 2)
    first, second = quantiles["pooled"]
    # Bins of equal mass: as smooth in the tails as in the middle.
    for values, name, style in (
        (second, names[1], {"fill": True, "color": _BLUES[2]}),
        (first, names[0], {"color": _SAMPLES, "linewidth": 1.3}),
    ):
        edges = np.interp(np.linspace(0, 1, 41), np.linspace(0, 1, len(values)), values)
        densities.stairs(1 / np.maximum(40 * np.diff(edges), 1e-12), edges, label=name, **style)
    densities.set_title("density of all coordinates", loc="left", color=INK, fontsize=9)
    densities.set_xlabel("$x$", color=INK, fontsize=9)
    densities.set_ylim(bottom=0.0)
    every = np.concatenate([np.ravel(pair) for pair in quantiles.values()])
    ends = [every.min(), every.max()]
    pairs.plot(ends, ends, color=_FAINT, linewidth=0.8)
    styles = ({"color": _SAMPLES, "marker": "o"}, {"color": "#0072b2", "marker": "x"})
    for (name, (first, second)), style in zip(quantiles.items(), styles, strict=False):
        label = "all coordinates" if name == "pooled" else f"worst {name}"
        pairs.plot(second, first, linestyle="", markersize=2.5, label=label, **style)
    pairs.set_title(title, loc="left", color=INK, fontsize=9)
    pairs.set_xlabel(f"quantiles of {names[1]}", color=INK, fontsize=9)
    pairs.set_ylabel(f"quantiles of {names[0]}", color=INK, fontsize=9)
    for axes in (densities, pairs):
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    return render(figure)


def against_evaluations(curves, levels, metric):
    """A distance against network evaluations, both axes logarithmic.

    The picture ends at 15 times the least distance: what lies above is counted above the frame.

    Args:
      curves: {name: (evaluations, distances)}, sequences of one length; what is not finite is left
        out.
      levels: {name: distance}, drawn as dashed lines across.
      metric: the name of the distance.

    Returns:
      uint8 [H, W, 3].
    """
    figure = Figure(figsize=(7.6, 4.6), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    _dress(axes)
    for i, (name, (evaluations, distances)) in enumerate(curves.items()):
        axes.plot(evaluations, distances, label=name, **series_style(i))
    for i, (name, level) in enumerate(levels.items()):
        style = ("--", ":", "-.")[i % 3]
        axes.axhline(level, color=_FAINT, linewidth=1.0, linestyle=style, label=name, zorder=1)
    axes.set(xscale="log", yscale="log")
    places = _ticks([x for evaluations, _ in curves.values() for x in evaluations])
    values = np.concatenate([*[d for _, d in curves.values()], list(levels.values())])
    values = values[np.isfinite(values)]
    if len(values):
        low, high = 0.9 * values.min(), min(1.1 * values.max(), 15.0 * values.min())
        axes.set_ylim(low, high)
        if np.sum(values > high):
            _note(axes, f"{np.sum(values > high)} above the frame")
        ticks = [k * 10.0**n for n in range(-9, 9) for k in (1, 1.5, 2, 3, 5, 7)]
        axes.set_yticks([tick for tick in ticks if low <= tick <= high])
    axes.set_xticks(places)
    axes.set_xlabel("network evaluations per sample", color=INK, fontsize=9)
    axes.set_ylabel(metric.replace("_", " "), color=INK, fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25)
    if curves or levels:
        axes.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return render(figure)


def _ticks(places):
    """Whole numbers, the greatest among them, at which several curves have points."""
    places = [round(x) for x in places]
    kept = sorted({x for x in places if places.count(x) > 1 or x == max(places)})
    # Budgets lie close to one another where samplers spend one evaluation less than another.
    return [x for i, x in enumerate(kept) if i + 1 == len(kept) or kept[i + 1] > 1.15 * x]


def series_style(i):
    """Colour and marker of the i-th curve of a plot: options of `plot`."""
    lap = i // len(_COLOURS)
    return {
        "color": _COLOURS[i % len(_COLOURS)],
        "marker": _MARKERS[(i + lap) % len(_MARKERS)],
        "linestyle": ("-", "--", ":")[lap % 3],
        "markersize": 4.5,
        "linewidth": 1.2,
    }


def _pairs(values, what):
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] != 2:
        raise UsageError(f"A picture of 2-D data takes {what} [N, 2]; got {values.shape}.")
    return values


def _axes(extent, title):
    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axes.set_xlabel("$x_1$", color=INK)
    axes.set_ylabel("$x_2$", color=INK)
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=10.5)
    axes.locator_params(nbins=7, integer=True)
    _dress(axes)
    return figure, axes


def _draw_density(axes, log_density, extent):
    if log_density is None:
        return
    points = grid_points(extent, _RESOLUTION)
    density = np.exp(np.asarray(log_density(points), np.float64)).reshape(_RESOLUTION, _RESOLUTION)
    frame = (-extent, extent, -extent, extent)
    axes.imshow(
        density, origin="lower", extent=frame, cmap=_DENSITY, vmin=0.0, interpolation="nearest"
    )


def figure_with_axes(rows, columns, **options):
    """A figure of plots in this project's style: (figure, array of axes [rows·columns])."""
    size = (4.6 * columns, 3.6 * rows)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns, **options))
    for axis in axes:
        _dress(axis)
    return figure, axes


def _dress(axes):
    axes.tick_params(colors=INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set(color="#b8bec4", linewidth=0.8)


def _note(axes, text):
    axes.set_title(text, loc="right", color=_FAINT, fontsize=7.5)


def render(figure):
    """A figure as uint8 [H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
