"""Films of sampling: frames for a GIF, and a strip, from the states on the way.

A film is a float array [F + 1, N, ...] of scaled states, from x_T to the samples, as
`Generation.film` holds it.
"""

import numpy as np

from lcss_tf import images, plots

_FITS = 99.0  # per cent of a frame's values that are shown unclipped
_EXTENT = 2.6  # of a picture of 2-D data, half a side
_PARTICLES = 2_000


def visible(film, info):
    """The film in the data's own units, uint8 [F + 1, N, H, W, C].

    A frame of wider range than the data, such as noise of VE's deviation, is shrunk about the
    middle of their range until 99 % of it fits. The samples are shown as they are.
    """
    scaling = info.scaling
    middle, half = (scaling.low + scaling.high) / 2, (scaling.high - scaling.low) / 2
    film = np.asarray(film, np.float32) - middle
    reach = np.percentile(np.abs(film.reshape(len(film), -1)), _FITS, axis=1) / half
    shrink = np.maximum(reach, 1.0)
    shrink[-1] = 1.0
    return info.unscale(film / shrink.reshape(-1, *[1] * (film.ndim - 1)) + middle)


def image_frames(film, info, most=16):
    """The frames as grids of the first samples: a list of uint8 [H, W, C]."""
    return [images.grid(frame) for frame in visible(film[:, :most], info)]


def image_strip(film, info, most=8, columns=9):
    """The first samples, one a row, from noise on the left to the sample on the right."""
    frames = visible(film[:, :most], info)[_spread(len(film), columns)]
    rows = np.moveaxis(frames, 0, 1)
    return images.grid(rows.reshape(-1, *rows.shape[2:]), columns=len(frames))


def particle_frames(film, times=None, log_density=None):
    """2-D samples over the density as they move: a list of uint8 [H, W, 3].

    The frame is as wide as the samples need it, so that it closes in on the data.

    Args:
      film: [F + 1, N, 2].
      times: t of the frames [F + 1], or None.
      log_density: of the data, as in `plots.density_and_samples`; or None.
    """
    return [
        plots.density_and_samples(points, log_density, extent, title)
        for points, extent, title in _particles(film, times)
    ]


def particle_strip(film, times=None, log_density=None, columns=6):
    """The same frames side by side, fewer of them."""
    places = _spread(len(film), columns)
    kept = None if times is None else np.asarray(times)[places]
    frames = particle_frames(film[places], kept, log_density)
    return np.concatenate([_halved(frame) for frame in frames], axis=1)


def _halved(frame):
    """A picture of half the size, by means of four pixels: thin lines stay."""
    height, width = (n // 2 * 2 for n in frame.shape[:2])
    blocks = frame[:height, :width].reshape(height // 2, 2, width // 2, 2, -1)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)


def _particles(film, times):
    for i, points in enumerate(np.asarray(film)[:, :_PARTICLES]):
        reach = np.percentile(np.abs(points[np.isfinite(points)]), _FITS)
        title = None if times is None else f"t = {times[i]:.3f}"
        yield points, max(_EXTENT, 1.05 * float(reach)), title


def _spread(count, columns):
    """`columns` places from 0 to count − 1, or all of them."""
    return np.unique(np.round(np.linspace(0, count - 1, min(columns, count))).astype(int))
