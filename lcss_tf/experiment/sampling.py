"""The root `sample`: a run's newest EMA weights to a grid and an array."""

import functools
import tempfile
from pathlib import Path

import numpy as np

from lcss_tf import images
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.trajectory import FRAMES, check_trajectory, write_trajectory
from lcss_tf.experiment.views import views


def sample(workdir, num_samples=64, out=None, seed=0, label=None, trajectory=False):
    """Samples from a run; the configuration must be loaded (`config.load_workdir`).

    Writes ``<out>.npz`` with the array ``samples`` in the data's own units (uint8 for
    images), and ``<out>.png``: a grid of images, a scatter plot of 2-D vectors, waveforms, slices
    of volumes, or the pairs of a table's columns. Where the classes come in turn, each has a
    column.

    Args:
      workdir: the run's directory.
      num_samples: how many.
      out: path without, or with, a suffix; by default ``<workdir>/samples/seed_<seed>``.
      seed: of the samples.
      label: their class, of a network with classes; None: all classes in turn.
      trajectory: also write a GIF and a film strip of the way from noise to them.

    Returns:
      The paths written.
    """
    recipe, state, info, distribution = restored(workdir)
    out = output_path(out, workdir, f"seed_{seed}", distribution)
    if trajectory:
        check_trajectory(info)
    generation = Generation(state, info.shape, distribution)
    frames = min(FRAMES, generation.sampler.num_steps) if trajectory else 0
    samples = info.unscale(generation(num_samples, seed, label=label, frames=frames))
    written = [out.with_name(out.name + ".npz")]
    np.savez(written[0], samples=samples, step=state.step, seed=seed)
    turns = recipe.num_classes if label is None else None
    picture = picture_of(samples, info, columns=turns)
    if picture is not None:
        written.append(out.with_name(out.name + ".png"))
        images.write_png(written[1], picture)
    if trajectory:
        times = generation.sampler.frame_times(state.model.sde, frames)
        log_density = getattr(recipe.data, "log_density", None)
        written += write_trajectory(out, generation.film, info, times, log_density)
    return written


def output_path(out, workdir, name, distribution):
    """The path, without a suffix, of what is written: `out`, or ``<workdir>/samples/<name>``.

    Of several workers the chief alone writes there, the others to a folder that ends with them.
    """
    if not distribution.is_chief:
        return Path(_discarded().name) / name
    out = Path(out) if out else Path(workdir) / "samples" / name
    out = out.with_suffix("") if out.suffix in (".png", ".npz", ".gif") else out
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


@functools.cache
def _discarded():
    return tempfile.TemporaryDirectory()


def picture_of(samples, info, most=256, columns=None):
    """The picture that says most of such samples (of `most` images); None where there is none."""
    return next(iter(views(samples, info, most=most, columns=columns).values()), None)
