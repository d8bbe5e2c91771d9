"""Figures in the project's style; pictures of two-dimensional samples, scores, distributions.

Pictures are uint8 RGB arrays [H, W, 3]. Nothing here uses pyplot or keeps state, so any thread may
draw.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text

from lcss_tf.errors import UsageError
from lcss_tf.texts import visible
from lcss_tf.typing import Array

INK = "#33383d"
FAINT = "#6b7278"
SAMPLES = "#b3261e"
DATA = "#4f7fae"
_ARROWS = "#1f2a36"
_BLUES = ("#ffffff", "#dfe8f2", "#b9cfe6", "#94b6d9")
_DENSITY = LinearSegmentedColormap.from_list("density", _BLUES)
# Okabe and Ito's colours, which colour-blind people can tell apart, and a marker for each.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_MARKERS = "osD^vP*X"
EXTENT = 2.6  # half the side of a picture of 2-D data of about unit size
_FITS = 99.5  # percent of the samples, on either side of each axis, that a frame holds at least
_RESOLUTION = 200  # points along one side at which the density is evaluated
_MAX_POINTS = 5_000  # more would only hide one another
_INCHES = 4.6
_DPI = 130
_LONGEST = 120  # characters of a text in a picture

LogDensity = Callable[[Array], Any]  # points float32 [M, 2] -> log p [M], in nats


def new_figure(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Array]:
    """A figure of plots in this project's style: (figure, axes [rows·columns]).

    Args:
      rows, columns: of plots.
      **options: of ``Figure.subplots``, such as ``sharey``.
    """
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), dpi=_DPI, layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns, **options))
    for one in axes:
        _dress(one)
    return figure, axes


def render(figure: Figure) -> Array:
    """A figure as uint8 [H, W, 3]; its texts are literal, see `literal_text`."""
    literal_text(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def literal_text(figure: Figure) -> None:
    """Makes every text but numbers at ticks literal: ``$`` is a dollar, not mathematics.

    Titles, labels and legends hold the names of other people's columns and runs, and matplotlib
    fails on a name that is no valid formula.
    """
    ticks = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in axis.get_ticklabels(which="both")
    }
    for text in figure.findobj(Text):
        if id(text) not in ticks:
            text.set_parse_math(False)
            text.set_text(_shown(text.get_text()))


def _shown(text: str) -> str:
    """The text as a picture has room for it."""
    text = visible(text, "\n")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Puts names at 0, 1, 2, … of the vertical axis, as literal text."""
    axes.set_yticks(range(len(names)), labels=[_shown(name) for name in names])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)


def series_label(name: str) -> str:
    """A curve's name for its legend: matplotlib leaves out names that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def series_style(index: int) -> dict[str, Any]:
    """Colour, marker and line of a plot's curve number `index`: options of ``plot``."""
    lap = index // len(COLOURS)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": _MARKERS[(index + lap) % len(_MARKERS)],
        "linestyle": ("-", "--", ":")[lap % 3],
        "markersize": 4.5,
        "linewidth": 1.2,
    }


def label_axes(
    axes: Axes, x: str | None = None, y: str | None = None, title: str | None = None
) -> None:
    """Sets labels and title in this project's style."""
    if x is not None:
        axes.set_xlabel(x, color=INK, fontsize=9)
    if y is not None:
        axes.set_ylabel(y, color=INK, fontsize=9)
    if title is not None:
        axes.set_title(title, loc="left", color=INK, fontsize=9.5)


class Frame(NamedTuple):
    """The square that a picture of 2-D data shows: its centre, and half its side."""

    x: float
    y: float
    half: float


def frame_of(samples: Array) -> Frame:
    """[−2.6, 2.6]² where samples [N, 2] fill and fit it; else a square round nearly all of them."""
    finite = samples[np.isfinite(samples).all(axis=1)]
    if not len(finite):
        return Frame(0.0, 0.0, EXTENT)
    low, high = np.percentile(finite, [100 - _FITS, _FITS], axis=0)
    reach = max(np.abs(low).max(), np.abs(high).max())
    if EXTENT / 3 < reach <= EXTENT:
        return Frame(0.0, 0.0, EXTENT)
    half = 0.6 * float((high - low).max()) or max(1.0, float(reach))
    x, y = (low + high) / 2
    return Frame(float(x), float(y), half)


def grid_points(extent: float = EXTENT, resolution: int = 24) -> Array:
    """The centres of resolution² equal cells of [−extent, extent]²: float32 [resolution², 2].

    x changes fastest.
    """
    ticks = (np.arange(resolution) + 0.5) / resolution * 2.0 * extent - extent
    x, y = np.meshgrid(ticks, ticks)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def density_and_samples(
    samples: Array,
    log_density: LogDensity | None = None,
    extent: float | None = None,
    title: str | None = None,
    compact: bool = False,
) -> Array:
    """Two-dimensional samples as points over the true density.

    Args:
      samples: [N, 2]; the first 5,000 are drawn. Those outside the frame, or not finite, are
        counted in the title.
      log_density: log p of points, in nats; None draws no density.
      extent: the picture shows [−extent, extent]²; None: the square that `frame_of` chooses.
      title: a line above the picture.
      compact: whether the picture is of half the size, without labels and counts.

    Returns:
      uint8 [H, W, 3].

    Raises:
      UsageError: the samples are not [N, 2].
    """
    samples = _pairs(samples, "samples")
    frame = frame_of(samples) if extent is None else Frame(0.0, 0.0, extent)
    inside = np.all(np.abs(samples - frame[:2]) <= frame.half, axis=1)  # False for NaN as well
    figure, axes = _square(frame, title)
    draw_density(axes, log_density, frame)
    shown = samples[inside][:_MAX_POINTS]
    # Fewer points are drawn larger, so that 200 are as visible as 5,000.
    size = float(np.clip(6_000 / max(len(shown), 1), 1.5, 12.0))
    if compact:
        figure.set_size_inches(0.5 * _INCHES, 0.5 * _INCHES)
        axes.set(xlabel=None, ylabel=None)
        size = max(1.0, 0.25 * size)
    else:
        note(axes, f"{len(samples):,} samples, {np.sum(~inside):,} outside")
    axes.scatter(shown[:, 0], shown[:, 1], s=size, c=SAMPLES, alpha=0.7, linewidths=0)
    return render(figure)


def score_field(
    points: Array,
    scores: Array,
    log_density: LogDensity | None = None,
    extent: float = EXTENT,
    title: str | None = None,
) -> Array:
    """The score as arrows over the true density.

    The length of an arrow grows with the logarithm of the score's norm: far from the data the
    score is many times larger than near them, and both should be visible.

    Args:
      points: [N, 2], such as `grid_points` gives.
      scores: [N, 2], at these points; those that are not finite are left out and counted.
      log_density, extent, title: as in `density_and_samples`.

    Returns:
      uint8 [H, W, 3].

    Raises:
      UsageError: points or scores are not [N, 2], or not equally many.
    """
    points, scores = _pairs(points, "points"), _pairs(scores, "scores")
    if len(points) != len(scores):
        raise UsageError(f"Each point needs one score; got {len(points)} and {len(scores)}.")
    finite = np.isfinite(scores).all(axis=1)
    frame = Frame(0.0, 0.0, extent)
    figure, axes = _square(frame, title)
    draw_density(axes, log_density, frame)
    norm = np.linalg.norm(scores[finite], axis=1, keepdims=True)
    cell = 2.0 * extent / max(np.sqrt(len(points)), 1.0)
    length = np.log1p(norm) / max(np.log1p(norm).max(initial=0.0), 1e-12) * cell * 0.95
    arrows = scores[finite] / np.maximum(norm, 1e-12) * length
    axes.quiver(
        *points[finite].T, *arrows.T, color=_ARROWS, angles="xy", scale_units="xy", scale=1.0,
        width=0.0032, headwidth=4.0, headlength=4.5, headaxislength=4.0, pivot="mid",
    )  # fmt: skip
    lost = f", {np.sum(~finite):,} not finite" if not finite.all() else ""
    note(axes, f"longest |s| = {norm.max(initial=0.0):.3g}, log lengths{lost}")
    return render(figure)


def distributions(
    quantiles: Mapping[str, tuple[Array, Array]], names: tuple[str, str], title: str
) -> Array:
    """Two distributions on a line: their densities, and their quantiles against each other.

    Args:
      quantiles: {"pooled": (first, second)} and, under any other name, further pairs, which are
        drawn among the quantiles only; arrays [L] at the same levels, rising.
      names: of the first and the second distribution.
      title: a line above the quantiles.

    Returns:
      uint8 [H, W, 3].
    """
    figure, (densities, pairs) = new_figure(1, 2)
    first, second = quantiles["pooled"]
    # Bins of equal mass are as smooth in the tails as in the middle.
    filled: dict[str, Any] = {"fill": True, "color": _BLUES[2]}
    outlined: dict[str, Any] = {"color": SAMPLES, "linewidth": 1.3}
    for values, name, style in ((second, names[1], filled), (first, names[0], outlined)):
        edges = np.interp(np.linspace(0, 1, 41), np.linspace(0, 1, len(values)), values)
        densities.stairs(1 / np.maximum(40 * np.diff(edges), 1e-12), edges, label=name, **style)
    label_axes(densities, "x", title="density of all coordinates")
    densities.set_ylim(0.0, 1.3 * densities.get_ylim()[1])  # room for the legend
    every = np.concatenate([np.ravel(pair) for pair in quantiles.values()])
    ends = [every.min(), every.max()]
    pairs.plot(ends, ends, color=FAINT, linewidth=0.8)
    styles = ({"color": SAMPLES, "marker": "o"}, {"color": COLOURS[0], "marker": "x"})
    for (name, (first, second)), style in zip(quantiles.items(), styles, strict=False):
        label = "all coordinates" if name == "pooled" else f"worst {name}"
        pairs.plot(second, first, linestyle="", markersize=2.5, label=label, **style)
    label_axes(pairs, f"quantiles of {names[1]}", f"quantiles of {names[0]}", title)
    for axes in (densities, pairs):
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    return render(figure)


def note(axes: Axes, text: str) -> None:
    """A small text above the plot, at the right."""
    axes.set_title(text, loc="right", color=FAINT, fontsize=7.5)


def _pairs(values: Array, what: str) -> Array:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] != 2:
        raise UsageError(f"A picture of 2-D data takes {what} [N, 2]; got {values.shape}.")
    return values


def _square(frame: Frame, title: str | None) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    x, y, half = frame
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
    axes.set_xlabel("x₁", color=INK)
    axes.set_ylabel("x₂", color=INK)
    if title:
        axes.set_title(title, loc="left", color=INK, fontsize=10.5)
    axes.locator_params(nbins=7, integer=half > 2)
    _dress(axes)
    return figure, axes


def draw_density(axes: Axes, log_density: LogDensity | None, frame: Frame) -> None:
    """The density as an image under what is drawn later; nothing where it is None."""
    if log_density is None:
        return
    x, y, half = frame
    points = grid_points(half, _RESOLUTION) + np.array([x, y], np.float32)
    density = np.exp(np.asarray(log_density(points), np.float64)).reshape(_RESOLUTION, _RESOLUTION)
    sides = (x - half, x + half, y - half, y + half)
    axes.imshow(
        density, origin="lower", extent=sides, cmap=_DENSITY, vmin=0.0, interpolation="nearest"
    )


def _dress(axes: Axes) -> None:
    axes.tick_params(colors=INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set(color="#b8bec4", linewidth=0.8)
