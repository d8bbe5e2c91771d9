"""A film of sampling, written as a GIF and as a strip."""

from lcss_tf import films, images
from lcss_tf.errors import UsageError

FRAMES = 32  # beside the samples
_PLOTTED = (2,)  # the shape of vectors that there are pictures of


def check_trajectory(info):
    """Raises ValueError if there is no picture of such data."""
    if info.kind != "image" and info.shape != _PLOTTED:
        raise UsageError(
            f"--trajectory draws images and 2-D vectors; {info.name} has the shape {info.shape}. "
            "Leave it out: the samples themselves are written."
        )


def write_trajectory(out, film, info, times=None, log_density=None):
    """Writes ``<out>_trajectory.gif`` and ``<out>_trajectory.png``; returns the paths.

    Args:
      out: a `Path` without suffix.
      film: [F + 1, N, ...], scaled; see `lcss_tf.films`.
      info: the `DataInfo`.
      times: of the frames, or None.
      log_density: of 2-D data, or None.
    """
    if info.kind == "image":
        frames, strip = films.image_frames(film, info), films.image_strip(film, info)
    else:
        film = info.unscale(film)
        frames = films.particle_frames(film, times, log_density)
        strip = films.particle_strip(film, times, log_density)
    gif, png = (out.with_name(f"{out.name}_trajectory{suffix}") for suffix in (".gif", ".png"))
    images.write_gif(gif, frames)
    images.write_png(png, strip)
    return [gif, png]
