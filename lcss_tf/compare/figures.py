"""The plots of a comparison, as uint8 pictures."""

import numpy as np

from lcss_tf.plots import INK, figure_with_axes, render
from lcss_tf.plots import series_style as _style

_NAMES = {"score_error": "relative squared score error", "epsilon_mse": "held-out ε-MSE"}


def comparison(results):
    """Pictures by name: errors by time at both budgets, the error on the way, the cost."""
    pictures = {"cost": _cost(results)}
    kind = _kind(results)
    if kind:
        pictures["errors"] = _errors(results, kind)
        pictures["curves"] = _curves(results, kind)
    return pictures


def diagnosis(results):
    """Gradient variance, and bias with its standard error, by time."""
    kinds = [k for k in ("variance", "bias") if any(k in r["figures"] for r in results)]
    figure, axes = figure_with_axes(1, len(kinds))
    titles = {"variance": "variance of the gradient, per example", "bias": "bias of the gradient"}
    for axis, kind in zip(axes, kinds, strict=True):
        for i, result in enumerate(results):
            values = result["figures"].get(kind)
            if values is None:
                continue
            middle = [0.5 * (low + high) for low, high in result["buckets"]]
            errors = result["figures"].get(f"{kind}_error")
            axis.errorbar(middle, values, yerr=errors, capsize=2, label=result["name"], **_style(i))
        axis.set(xlabel="t", title=titles[kind], yscale="log")
        axis.grid(alpha=0.25)
    axes[0].legend(fontsize=7, frameon=False)
    return render(figure)


def _kind(results):
    for result in results:
        for key in result["budgets"]["steps"]:
            if key.split("@")[0] in _NAMES:
                return key.split("@")[0]
    return None


def _errors(results, kind):
    figure, axes = figure_with_axes(1, 2, sharey=True)
    titles = {"steps": "at equal steps", "seconds": "at equal wall clock"}
    for axis, (budget, title) in zip(axes, titles.items(), strict=True):
        for i, result in enumerate(results):
            at = result["budgets"][budget]
            points = [
                (float(k.split("@")[1]), v) for k, v in at.items() if k.startswith(kind + "@")
            ]
            if points:
                axis.plot(*zip(*sorted(points), strict=True), label=result["name"], **_style(i))
        axis.set(xlabel="t", title=title, yscale="log")
        axis.grid(alpha=0.25, which="both")
    axes[0].set_ylabel(_NAMES[kind], color=INK)
    axes[1].legend(fontsize=7, frameon=False)
    return render(figure)


def _curves(results, kind):
    figure, axes = figure_with_axes(1, 2, sharey=True)
    for i, result in enumerate(results):
        curve = [point for point in result["curve"] if f"{kind}_mean" in point]
        for axis, x in zip(axes, ("step", "seconds"), strict=True):
            axis.plot(
                [point[x] for point in curve],
                [point[f"{kind}_mean"] for point in curve],
                label=result["name"],
                **_style(i),
            )
    for axis, label in zip(axes, ("steps", "training seconds"), strict=True):
        axis.set(xlabel=label, yscale="log")
        axis.grid(alpha=0.25, which="both")
    axes[0].set_ylabel(f"{_NAMES[kind]}, mean over t", color=INK)
    axes[1].legend(fontsize=7, frameon=False)
    return render(figure)


def _cost(results):
    figure, axes = figure_with_axes(1, 2, sharey=True)
    names = [result["name"] for result in results]
    for axis, key, label in zip(
        axes, ("ms_per_step", "peak_mib"), ("ms a step", "peak memory, MiB"), strict=True
    ):
        values = np.array([result[key] for result in results], float)
        bars = axis.barh(names, values, color=[_style(i)["color"] for i in range(len(names))])
        axis.bar_label(bars, fmt="%.3g", padding=3, fontsize=8, color=INK)
        axis.set_xlim(0, 1.18 * max(np.nanmax(values, initial=0.0), 1e-9))
        axis.set_xlabel(label, color=INK)
    axes[0].invert_yaxis()
    return render(figure)
