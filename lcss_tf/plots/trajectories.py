"""Trajectories of sampling as pictures: frames for a GIF, and a grid of a few states.

A trajectory is a float array [F + 1, N, ...]: F states of N examples from x_T on, scaled as the
model's, and the samples.
"""

from collections.abc import Iterator

import numpy as np

from lcss_tf.data import DataInfo
from lcss_tf.plots import figures, images
from lcss_tf.plots.figures import LogDensity
from lcss_tf.typing import Array, Numbers

_FITS = 99.0  # per cent of a state's values that are shown unclipped
_PARTICLES = 2_000


def to_images(trajectory: Array, info: DataInfo) -> Array:
    """The trajectory in the data's own units, uint8 [F + 1, N, H, W, C].

    A state that ranges further than the data, such as noise of VE's standard deviation, is shrunk
    about the middle of the data's range until 99 % of it fits. The samples are shown as they are.
    Samples that are not bytes are stretched between their 0.1 % and 99.9 % quantiles.
    """
    trajectory = np.asarray(trajectory, np.float32)
    is_bytes = np.asarray(info.unscale(trajectory[-1])).dtype == np.uint8
    if is_bytes:
        low, high = info.scaling.low, info.scaling.high
    else:
        low, high = np.quantile(trajectory[-1], (0.001, 0.999))
    middle, half = (low + high) / 2, max((high - low) / 2, 1e-12)
    centred = trajectory - middle
    reach = np.percentile(np.abs(centred.reshape(len(centred), -1)), _FITS, axis=1) / half
    shrink = np.maximum(reach, 1.0)
    shrink[-1] = 1.0
    shown = centred / shrink.reshape(-1, *[1] * (centred.ndim - 1)) + middle
    shown = info.unscale(shown) if is_bytes else images.stretched(shown, low, high)
    return images.visible_channels(shown)


def image_frames(trajectory: Array, info: DataInfo, most: int = 16) -> list[Array]:
    """A grid of the first samples for each state: uint8 [H, W, C] each."""
    return [images.grid(frame) for frame in to_images(trajectory[:, :most], info)]


def image_grid(
    trajectory: Array,
    info: DataInfo,
    times: Numbers | None = None,
    most: int = 8,
    columns: int = 9,
) -> Array:
    """The first samples, one a row, from noise on the left to the sample on the right.

    Args:
      trajectory: [F + 1, N, ...], see the module.
      info: of the data.
      times: t of each state, [F + 1], which stands above it; or None.
      most: samples that are shown.
      columns: states that are shown, close together where the images change fast.
    """
    states = to_images(trajectory[:, :most], info)
    places = _telling(states, columns)
    by_sample = np.moveaxis(states[places], 0, 1)
    picture = images.grid(by_sample.reshape(-1, *by_sample.shape[2:]), columns=len(places))
    if times is None:
        return picture
    return images.titled(picture, [f"t = {np.asarray(times)[k]:.2g}" for k in places])


def particle_frames(
    trajectory: Array,
    times: Numbers | None = None,
    log_density: LogDensity | None = None,
) -> list[Array]:
    """2-D samples over the density for each state: uint8 [H, W, 3] each.

    The frame is as wide as the samples need, so it closes in on the data.

    Args:
      trajectory: [F + 1, N, 2], in the data's own units.
      times: t of each state, [F + 1], or None.
      log_density: of the data, as in `figures.density_and_samples`; or None.
    """
    return [
        figures.density_and_samples(points, log_density, title=title)
        for points, title in _particles(trajectory, times)
    ]


def particle_grid(
    trajectory: Array,
    times: Numbers | None = None,
    log_density: LogDensity | None = None,
    columns: int = 6,
) -> Array:
    """A few of `particle_frames` side by side, of half the size."""
    places = _telling(np.asarray(trajectory), columns)
    kept = None if times is None else np.asarray(times)[places]
    pictures = [
        figures.density_and_samples(points, log_density, title=title, compact=True)
        for points, title in _particles(trajectory[places], kept)
    ]
    return np.concatenate(pictures, axis=1)


def _particles(trajectory: Array, times: Numbers | None) -> Iterator[tuple[Array, str | None]]:
    for i, points in enumerate(np.asarray(trajectory)[:, :_PARTICLES]):
        yield points, None if times is None else f"t = {times[i]:.3f}"


def _telling(states: Array, columns: int) -> Array:
    """The first of F + 1 states, the last, and those between that are equally different.

    The distance between two states is the root mean square of their difference.
    """
    flat = states.reshape(len(states), -1).astype(np.float64)
    moved = np.sqrt(np.mean(np.diff(flat, axis=0) ** 2, axis=1))
    way = np.concatenate([[0.0], np.cumsum(np.nan_to_num(moved))])
    wanted = np.linspace(0.0, way[-1], min(columns, len(states)))
    inner = np.searchsorted(way, wanted[1:-1]).tolist()
    places = sorted({0, *inner, len(states) - 1})
    while len(places) < len(wanted):  # one step made most of the way
        gap = max(range(1, len(places)), key=lambda k: places[k] - places[k - 1])
        places.insert(gap, (places[gap - 1] + places[gap]) // 2)
    return np.asarray(places)
