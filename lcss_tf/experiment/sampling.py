"""The root `sample`: a run's newest EMA weights to a grid and an array."""

from pathlib import Path

import numpy as np

from lcss_tf import images
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.views import views


def sample(workdir, num_samples=64, out=None, seed=0, label=None):
    """Samples from a run; the configuration must be loaded (`config.load_workdir`).

    Writes ``<out>.npz`` with the array ``samples`` in the data's own units (uint8 for
    images), and ``<out>.png``: a grid of images, a scatter plot of 2-D vectors, waveforms, slices
    of volumes, or the pairs of a table's columns.

    Args:
      workdir: the run's directory.
      num_samples: how many.
      out: path without, or with, a suffix; by default ``<workdir>/samples/seed_<seed>``.
      seed: of the samples.
      label: their class, of a network with classes; None: all classes in turn.

    Returns:
      The paths written.
    """
    out = Path(out) if out else Path(workdir) / "samples" / f"seed_{seed}"
    out = out.with_suffix("") if out.suffix in (".png", ".npz") else out
    out.parent.mkdir(parents=True, exist_ok=True)
    _, state, info, distribution = restored(workdir)
    generation = Generation(state, info.shape, distribution)
    samples = info.unscale(generation(num_samples, seed, label=label))
    written = [out.with_name(out.name + ".npz")]
    np.savez(written[0], samples=samples, step=state.step, seed=seed)
    picture = picture_of(samples, info)
    if picture is not None:
        written.append(out.with_name(out.name + ".png"))
        images.write_png(written[1], picture)
    return written


def picture_of(samples, info, most=256):
    """The picture that says most of such samples (of `most` images); None where there is none."""
    return next(iter(views(samples, info, most=most).values()), None)
