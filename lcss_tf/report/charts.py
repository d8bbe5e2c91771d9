"""The curves of reports, as uint8 pictures."""

import numpy as np

from lcss_tf.plots import INK, figure_with_axes, render

# Okabe and Ito's colours: told apart by colour-blind people too; and a marker for each.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_MARKERS = "osD^vP*X"


def loss_by_time(curves):
    """The loss of each t-bucket over steps, and at the end over t.

    Args:
      curves: {"0.1-0.2": (steps, values)}, by rising t.
    """
    figure, (over_steps, over_time) = figure_with_axes(1, 2)
    edges = [tuple(map(float, name.rsplit("-", 1))) for name in curves]
    last, shades = [], np.linspace(0.15, 0.95, len(curves))
    for (name, (steps, values)), shade in zip(curves.items(), shades, strict=True):
        colour = (0.05 + 0.75 * shade, 0.25 + 0.2 * shade, 0.75 - 0.65 * shade)
        over_steps.plot(steps, _smooth(values), color=colour, linewidth=1.1, label=f"t {name}")
        last.append(np.mean(values[-max(1, len(values) // 10) :]))
    over_steps.set(xlabel="step", title="over steps, smoothed")
    _scaled(over_steps, [v for _, v in curves.values()])
    over_steps.legend(fontsize=6, frameon=False, ncols=2)
    middles = [0.5 * (low + high) for low, high in edges]
    over_time.plot(middles, last, color=COLOURS[0], marker="o", markersize=4.5)
    over_time.set(xlabel="t", title="mean over the last tenth of training")
    _scaled(over_time, [np.array(last)])
    return _finished(figure, (over_steps, over_time))


def over_steps(series, title):
    """Figures with errors over steps: {label: (steps, values, errors)}."""
    figure, (axis,) = figure_with_axes(1, 1)
    _draw(axis, series)
    axis.set(xlabel="step", title=title)
    return _finished(figure, (axis,))


def over_steps_and_seconds(series, title):
    """{label: (steps, seconds, values, errors)}: two plots side by side."""
    figure, axes = figure_with_axes(1, 2, sharey=True)
    _draw(axes[0], {k: (s, v, e) for k, (s, _, v, e) in series.items()})
    _draw(axes[1], {k: (t, v, e) for k, (_, t, v, e) in series.items()})
    axes[0].set(xlabel="steps", title=title)
    axes[1].set(xlabel="training seconds")
    values = [np.asarray(v, float) for _, _, v, _ in series.values()]
    _scaled(axes[0], values)
    return _finished(figure, axes, len(series))


def distances(groups):
    """Laws of nearest-neighbour distances: {label: distances [N]}."""
    figure, (axis,) = figure_with_axes(1, 1)
    every = np.concatenate(list(groups.values()))
    edges = np.linspace(0.0, every.max() * 1.02 or 1.0, 28)
    for i, (label, values) in enumerate(groups.items()):
        heights, _ = np.histogram(values, edges, density=True)
        axis.stairs(heights, edges, label=label, color=COLOURS[i], linewidth=1.4)
        axis.axvline(np.median(values), color=COLOURS[i], linewidth=0.8, linestyle=":")
    axis.set(xlabel="distance to the nearest training example", title="density; dotted: medians")
    axis.set_xlim(left=0.0)
    axis.set_ylim(0.0, 1.4 * axis.get_ylim()[1])  # room for the legend
    return _finished(figure, (axis,), len(groups))


def _draw(axis, series):
    for i, (label, (x, values, errors)) in enumerate(series.items()):
        style = {"color": COLOURS[i % len(COLOURS)], "linewidth": 1.2, "label": label}
        if len(x) < 40:
            style |= {"marker": _MARKERS[i % len(_MARKERS)], "markersize": 4.5}
        if errors is None or not np.isfinite(errors).any():
            axis.plot(x, values, **style)
        else:
            axis.errorbar(x, values, yerr=np.nan_to_num(errors), capsize=2, **style)


def _scaled(axis, values):
    """Logarithmic where all is positive and spans more than a factor of five."""
    every = np.concatenate([np.ravel(v) for v in values]) if values else np.zeros(1)
    every = every[np.isfinite(every)]
    if every.size and every.min() > 0 and every.max() > 5 * every.min():
        axis.set_yscale("log")


def _smooth(values, width=25):
    width = min(width, max(1, len(values) // 8))
    if width < 2:
        return values
    padded = np.concatenate([np.full(width - 1, values[0]), values])
    return np.convolve(padded, np.full(width, 1.0 / width), "valid")


def _finished(figure, axes, labels=0):
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.title.set(color=INK, fontsize=9)
        axis.xaxis.label.set(color=INK, fontsize=9)
    if labels:
        axes[-1].legend(fontsize=7, frameon=False)
    return render(figure)
