"""Pictures of signals, volumes and tables: of samples alone, or beside data.

As in `plots`, all functions return uint8 RGB arrays [H, W, 3] and keep no state.
"""

import numpy as np

from lcss_tf import images, plots

_SAMPLES, _DATA = "#b3261e", "#4f7fae"
_TRACES = 4  # signals of each kind that are drawn
_MOST_COLUMNS = 6  # of a table that fit into a picture
_MOST_POINTS = 1_500
_MOST_SLICES = 12  # of a volume that are shown


def waveforms(samples, data=None, names=()):
    """Signals [N, T, C] one under the other, samples on the left and data on the right."""
    columns = 1 if data is None else 2
    rows = min(_TRACES, len(samples))
    figure, axes = plots.figure_with_axes(rows, columns, sharex=True, sharey=True)
    figure.set_size_inches(5.2 * columns, 1.35 * rows)
    axes = axes.reshape(rows, columns)
    sets = [("samples", samples, _SAMPLES)]
    sets += [] if data is None else [("data", data, _DATA)]
    for k, (title, signals, colour) in enumerate(sets):
        axes[0, k].set_title(title, loc="left", color=plots.INK, fontsize=9)
        axes[-1, k].set_xlabel("time, in samples", color=plots.INK, fontsize=9)
        for axis, signal in zip(axes[:, k], np.asarray(signals)[:rows], strict=False):
            for c in range(signal.shape[1]):
                label = names[c] if c < len(names) else f"channel {c}"
                axis.plot(
                    signal[:, c], linewidth=0.9, label=label, color=colour, alpha=1 - 0.6 * (c > 0)
                )
    if samples.shape[2] > 1:
        axes[0, 0].legend(fontsize=7, frameon=False, loc="upper right")
    return plots.render(figure)


def mean_spectrum(signals):
    """Frequencies in cycles a sample, and the mean power of signals [N, T, C]: [F] and [F, C].

    Each signal is weighted by Hann's window, whose power is taken out: white noise of variance v
    gives v at every frequency.
    """
    signals = np.asarray(signals, np.float64)
    window = np.hanning(signals.shape[1])
    power = np.abs(np.fft.rfft(signals * window[:, None], axis=1)) ** 2 / np.sum(window**2)
    return np.fft.rfftfreq(signals.shape[1]), power.mean(axis=0)


def spectra(samples, data=None, names=()):
    """Mean power spectra of signals [N, T, C], in decibels: samples over data."""
    channels = samples.shape[2]
    figure, axes = plots.figure_with_axes(1, channels, sharey=True)
    sets = [] if data is None else [("data", data, _DATA, 2.4)]
    for title, signals, colour, width in [*sets, ("samples", samples, _SAMPLES, 1.1)]:
        frequency, power = mean_spectrum(signals)
        for c, axis in enumerate(axes):
            decibels = 10 * np.log10(np.maximum(power[:, c], 1e-12))
            axis.plot(frequency, decibels, color=colour, linewidth=width, label=title)
            name = names[c] if c < len(names) else f"channel {c}"
            axis.set_title(f"mean spectrum, {name}", loc="left", color=plots.INK, fontsize=9)
            axis.set_xlabel("frequency, in cycles a sample", color=plots.INK, fontsize=9)
    axes[0].set_ylabel("power, dB", color=plots.INK, fontsize=9)
    axes[0].legend(fontsize=8, frameon=False)
    return plots.render(figure)


def slices(volumes, data=None, rows=6):
    """Volumes or videos [N, D, H, W, C] as rows of their slices; data, if any, below samples.

    Of more than twelve slices twelve are shown, evenly spaced. Numbers that are not bytes are
    stretched between their 1 % and 99 % quantiles.
    """
    sets = [np.asarray(volumes)[:rows]] + ([] if data is None else [np.asarray(data)[:rows]])
    low, high = np.quantile(np.concatenate(sets), (0.01, 0.99))
    pictures = []
    for part in sets:
        depth = part.shape[1]
        part = part[:, np.linspace(0, depth - 1, min(depth, _MOST_SLICES)).astype(int)]
        if part.dtype != np.uint8:
            part = np.clip((part - low) / max(high - low, 1e-12), 0, 1)
            part = np.rint(255 * part).astype(np.uint8)
        if part.shape[-1] not in (1, 3, 4):
            part = part[..., :1]
        pictures.append(images.grid(part.reshape(-1, *part.shape[2:]), columns=part.shape[1]))
    if len(pictures) == 1:
        return pictures[0]
    gap = np.full((12, *pictures[0].shape[1:]), 255, np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1]])


def pairs(samples, data=None, columns=()):
    """Rows of a table [N, D]: every pair of columns as points, each column as a histogram.

    As many points of samples are drawn as of data, so that neither hides the other. Of more than
    six columns the first six are drawn. Limits are those of the data, where there are some.
    """
    size = min(samples.shape[1], _MOST_COLUMNS)
    samples = np.asarray(samples, np.float64)[:, :size]
    data = None if data is None else np.asarray(data, np.float64)[:, :size]
    frame = samples if data is None else data
    low, high = frame.min(axis=0), frame.max(axis=0)
    low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
    figure, axes = plots.figure_with_axes(size, size)
    figure.set_size_inches(1.9 * size, 1.9 * size)
    axes = axes.reshape(size, size)
    sets = [] if data is None else [(data, _DATA, "data")]
    shown = min(_MOST_POINTS, len(samples), len(frame))
    for i in range(size):
        for j in range(size):
            axis = axes[i, j]
            axis.set_xlim(low[j], high[j])
            axis.locator_params(nbins=3)
            axis.tick_params(labelsize=6, labelbottom=i == size - 1, labelleft=j == 0 and i > 0)
            for rows, colour, label in [*sets, (samples, _SAMPLES, "samples")]:
                if i == j:
                    bins = np.linspace(low[i], high[i], 25)
                    axis.hist(
                        rows[:, i], bins, density=True, histtype="step", color=colour, label=label
                    )
                    axis.set_yticks([])
                else:
                    axis.set_ylim(low[i], high[i])
                    dots = {"s": 4, "c": colour, "alpha": 0.45, "linewidths": 0}
                    axis.scatter(rows[:shown, j], rows[:shown, i], **dots)
            name = lambda k: columns[k] if k < len(columns) else f"column {k}"
            if i == size - 1:
                axis.set_xlabel(name(j), fontsize=7, color=plots.INK)
            if j == 0:
                axis.set_ylabel(name(i), fontsize=7, color=plots.INK)
    axes[0, 0].legend(fontsize=6, frameon=False)
    return plots.render(figure)
