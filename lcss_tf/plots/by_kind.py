"""Pictures by the kind of data: the only place that asks for it.

`views` shows samples, alone or beside real examples; `write_trajectory` shows how they came about.
Pictures are uint8 arrays [H, W, 3]; grids of images keep their own number of channels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from lcss_tf.data import DataInfo
from lcss_tf.errors import UsageError
from lcss_tf.plots import figures, images, trajectories
from lcss_tf.plots.figures import DATA, SAMPLES, LogDensity
from lcss_tf.plots.given import Given, against_truth, image_rows
from lcss_tf.typing import Array, Numbers

_MOST_IMAGES = 256
_POINTS_PER_IMAGE = 32  # a scatter plot wants more samples than a grid of images
_TRACES = 4  # signals of each set that are drawn
_MOST_CHANNELS = 4  # of a signal whose spectra are drawn
_MOST_COLUMNS = 6  # of a table that fit into a picture
_MOST_POINTS = 1_500
_MOST_SLICES = 12  # of a volume that are shown
_PLOTTED_SHAPE = (2,)  # of vectors that there are pictures of


def num_samples(info: DataInfo, num_images: int = 64) -> int:
    """How many samples `views` wants: `num_images`, or 32 times as many points."""
    return num_images * (_POINTS_PER_IMAGE if info.kind in ("vector", "table") else 1)


def shows_data(info: DataInfo) -> bool:
    """Whether `views` draws real examples beside samples."""
    return info.kind in ("signal", "volume", "table")


def views(
    samples: Array,
    info: DataInfo,
    data: Array | None = None,
    most: int = _MOST_IMAGES,
    columns: int | None = None,
    log_density: LogDensity | None = None,
    given: Given | None = None,
) -> dict[str, Array]:
    """Pictures by name, the most informative first.

    Args:
      samples: [N, *shape], in the data's own units.
      info: of the data.
      data: real examples to stand beside them, in the same units; None: none.
      most: images in a grid.
      columns: of the grid; None: a square one.
      log_density: the true log p of 2-D vectors, where it is known.
      given: numbers or images that the samples were drawn given; None: none.

    Returns:
      A dict; empty for vectors of more than two dimensions, of which there is no picture, unless
      the truth is known.
    """
    samples = np.asarray(samples)
    first = {} if given is None else _beside_given(samples, info, given)
    return first | _of_samples(samples, info, data, most, columns, log_density)


def _beside_given(samples: Array, info: DataInfo, given: Given) -> dict[str, Array]:
    if info.kind == "image" and np.ndim(given.condition) > 2:  # not numbers [M, K]
        return {"given": image_rows(samples, given)}
    if info.kind in ("table", "vector") and given.truth is not None:
        return {"given": against_truth(samples, given.truth, info.columns)}
    return {}


def _of_samples(
    samples: Array,
    info: DataInfo,
    data: Array | None,
    most: int,
    columns: int | None,
    log_density: LogDensity | None,
) -> dict[str, Array]:
    data = None if data is None else np.asarray(data)
    match info.kind:
        case "image":
            return {"grid": image_grid(samples[:most], columns)}
        case "signal":
            return {
                "waveforms": waveforms(samples, data, info.columns),
                "spectra": spectra(samples, data, info.columns),
            }
        case "volume":
            return {"slices": slices(samples, data)}
        case "table":
            return {"pairs": pairs(samples, data, info.columns)}
    if info.shape != _PLOTTED_SHAPE:
        return {}
    return {"points": figures.density_and_samples(samples, log_density)}


def main_view(
    samples: Array,
    info: DataInfo,
    most: int = _MOST_IMAGES,
    columns: int | None = None,
    log_density: LogDensity | None = None,
    given: Given | None = None,
) -> Array | None:
    """The most informative picture of `views`; None where there is none."""
    pictures = views(samples, info, None, most, columns, log_density, given)
    return next(iter(pictures.values()), None)


def check_trajectory(info: DataInfo) -> None:
    """Raises UsageError if there are no pictures of a trajectory of such data."""
    if info.kind != "image" and info.shape != _PLOTTED_SHAPE:
        raise UsageError(
            f"--trajectory draws images and 2-D vectors; {info.name} has the shape {info.shape}. "
            "Leave it out: the samples themselves are written."
        )


def write_trajectory(
    out: Path,
    trajectory: Array,
    info: DataInfo,
    times: Numbers | None = None,
    log_density: LogDensity | None = None,
) -> list[Path]:
    """Writes ``<out>_trajectory.gif`` and ``<out>_trajectory.png``; returns their paths.

    Args:
      out: a path without suffix.
      trajectory: [F + 1, N, ...], scaled as the model's; see `trajectories`.
      info: of the data, as `check_trajectory` accepts it.
      times: t of each state, or None.
      log_density: of 2-D data, or None.
    """
    if info.kind == "image":
        frames = trajectories.image_frames(trajectory, info)
        picture = trajectories.image_grid(trajectory, info, times)
    else:
        trajectory = info.unscale(trajectory)
        frames = trajectories.particle_frames(trajectory, times, log_density)
        picture = trajectories.particle_grid(trajectory, times, log_density)
    gif, png = (out.with_name(f"{out.name}_trajectory{suffix}") for suffix in (".gif", ".png"))
    images.write_gif(gif, frames)
    images.write_png(png, picture)
    return [gif, png]


def image_grid(samples: Array, columns: int | None = None) -> Array:
    """Images [N, H, W, C] as a grid.

    Numbers that are not bytes are stretched between their 0.1 % and 99.9 % quantiles. Of images
    with other than 1, 3 or 4 channels the first channel is shown. Grey ones may lack the axis.
    """
    if samples.ndim == 3:
        samples = samples[..., None]
    return images.grid(images.visible_channels(images.as_bytes(samples)), columns)


def waveforms(samples: Array, data: Array | None = None, names: Sequence[str] = ()) -> Array:
    """The first signals [N, T, C], one below the other; samples on the left, data on the right."""
    columns = 1 if data is None else 2
    rows = min(_TRACES, len(samples))
    figure, axes = figures.new_figure(rows, columns, sharex=True, sharey=True)
    figure.set_size_inches(5.2 * columns, 1.35 * rows + 0.4)
    axes = axes.reshape(rows, columns)
    sets = [("samples", samples, SAMPLES)]
    sets += [] if data is None else [("data", data, DATA)]
    for k, (title, signals, colour) in enumerate(sets):
        figures.label_axes(axes[0, k], title=title)
        figures.label_axes(axes[-1, k], "time, in samples")
        for axis, signal in zip(axes[:, k], signals[:rows], strict=False):
            for c in range(signal.shape[1]):
                axis.plot(
                    signal[:, c],
                    linewidth=0.9,
                    label=figures.series_label(_name(names, c, "channel")),
                    color=colour,
                    alpha=1 - 0.6 * (c > 0),
                )
    if 1 < samples.shape[2] <= _MOST_CHANNELS:
        axes[0, 0].legend(fontsize=7, frameon=False, loc="upper right", ncols=2)
    return figures.render(figure)


def mean_spectrum(signals: Array) -> tuple[Array, Array]:
    """Frequencies in cycles per sample, and the mean power of signals [N, T, C]: [F] and [F, C].

    Each signal is weighted by Hann's window, whose power is divided out: white noise of variance v
    has the power v at every frequency.
    """
    signals = np.asarray(signals, np.float64)
    window = np.hanning(signals.shape[1])
    power = np.abs(np.fft.rfft(signals * window[:, None], axis=1)) ** 2 / np.sum(window**2)
    return np.fft.rfftfreq(signals.shape[1]), power.mean(axis=0)


def spectra(samples: Array, data: Array | None = None, names: Sequence[str] = ()) -> Array:
    """Mean power spectra of the first channels of signals [N, T, C], in decibels."""
    channels = min(samples.shape[2], _MOST_CHANNELS)
    figure, axes = figures.new_figure(1, channels, sharey=True)
    sets = [] if data is None else [("data", data, DATA, 2.4)]
    for title, signals, colour, width in [*sets, ("samples", samples, SAMPLES, 1.1)]:
        frequency, power = mean_spectrum(signals)
        for c, axis in enumerate(axes):
            decibels = 10 * np.log10(np.maximum(power[:, c], 1e-12))
            axis.plot(frequency, decibels, color=colour, linewidth=width, label=title)
            name = _name(names, c, "channel")
            figures.label_axes(axis, "frequency, in cycles per sample", title=f"spectrum, {name}")
    figures.label_axes(axes[0], y="mean power, dB")
    axes[0].legend(fontsize=8, frameon=False)
    return figures.render(figure)


def slices(volumes: Array, data: Array | None = None, rows: int = 6) -> Array:
    """Volumes or videos [N, D, H, W, C], one a row of slices; data, if any, below the samples.

    Of more than twelve slices twelve are shown, evenly spaced. Numbers that are not bytes are
    stretched between their 1 % and 99 % quantiles.
    """
    sets = [volumes[:rows]] + ([] if data is None else [data[:rows]])
    low, high = np.quantile(np.concatenate(sets), (0.01, 0.99))
    pictures: list[Array] = []
    for part in sets:
        depth = part.shape[1]
        part = part[:, np.linspace(0, depth - 1, min(depth, _MOST_SLICES)).astype(int)]
        part = part if part.dtype == np.uint8 else images.stretched(part, low, high)
        part = images.visible_channels(part)
        picture = images.grid(part.reshape(-1, *part.shape[2:]), columns=part.shape[1])
        name = "data" if pictures else "samples"
        heading = f"{name}: one a row, slices 1 to {depth}"
        pictures.append(images.titled(picture, [heading]))
    return np.concatenate(pictures)


def pairs(samples: Array, data: Array | None = None, columns: Sequence[str] = ()) -> Array:
    """Rows of a table [N, D]: every pair of columns as points, each column as a histogram.

    As many points of samples are drawn as of data, so that neither hides the other. Of more than
    six columns the first six are drawn. The limits are those of the data, where there are some.
    """
    size = min(samples.shape[1], _MOST_COLUMNS)
    samples = np.asarray(samples, np.float64)[:, :size]
    data = None if data is None else np.asarray(data, np.float64)[:, :size]
    frame = samples if data is None else data
    low, high = frame.min(axis=0), frame.max(axis=0)
    margin = np.where(high > low, 0.08 * (high - low), 0.5)
    low, high = low - margin, high + margin
    figure, axes = figures.new_figure(size, size)
    side = max(1.9 * size, 3.8)
    figure.set_size_inches(side, side)
    axes = axes.reshape(size, size)
    sets = [] if data is None else [(data, DATA, "data")]
    sets.append((samples, SAMPLES, "samples"))
    shown = min(_MOST_POINTS, len(samples), len(frame))
    for i in range(size):
        for j in range(size):
            axis = axes[i, j]
            axis.set_xlim(low[j], high[j])
            axis.locator_params(nbins=3)
            axis.tick_params(labelsize=6, labelbottom=i == size - 1, labelleft=j == 0 and i > 0)
            if i == j:
                _histograms(axis, sets, i, np.linspace(low[i], high[i], 25))
            else:
                axis.set_ylim(low[i], high[i])
                for rows, colour, _ in sets:
                    dots = {"s": 4, "c": colour, "alpha": 0.45, "linewidths": 0}
                    axis.scatter(rows[:shown, j], rows[:shown, i], **dots)
            if i == size - 1:
                axis.set_xlabel(_name(columns, j, "column"), fontsize=7, color=figures.INK)
            if j == 0:
                name = _name(columns, i, "column") if size > 1 else "density"
                axis.set_ylabel(name, fontsize=7, color=figures.INK)
    figure.align_ylabels(axes[:, 0])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, frameon=False, ncols=2, loc="outside upper left")
    return figures.render(figure)


def _histograms(
    axis: Axes, sets: Sequence[tuple[Array, str, str]], column: int, bins: Array
) -> None:
    for rows, colour, label in sets:
        values = rows[:, column]
        # A density over all values, those outside the frame included.
        counts, _ = np.histogram(values, bins)
        axis.stairs(counts / (len(values) * np.diff(bins)), bins, color=colour, label=label)
    axis.set_yticks([])


def _name(names: Sequence[str], index: int, what: str) -> str:
    return names[index] if index < len(names) else f"{what} {index}"
