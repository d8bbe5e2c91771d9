"""The root `evaluate`: a run's samples against held-out data, and a grid to look at."""

import json
from pathlib import Path

import gin
import numpy as np

from lcss_tf import images
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.measuring import metric_figures
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.sampling import picture_of
from lcss_tf.metrics import PixelFrechet, SlicedWasserstein
from lcss_tf.training.checkpoints import write_bytes_whole

_DEFAULT_METRICS = {"image": PixelFrechet}  # of all other kinds: SlicedWasserstein


@gin.configurable("evaluate", denylist=["workdir"])
def evaluate(workdir, metric=None, seed=1):
    """Samples from the EMA weights and measures their distance to held-out data.

    The same distance from as many real training examples stands beside it: what a
    perfect model would score.

    Args:
      workdir: the run's directory.
      metric: an object of `METRICS`; by default the pixel-space Fréchet distance for images, the
        sliced Wasserstein distance for all other kinds.
      seed: of the samples.

    Returns:
      A dict of the figures, also in ``<workdir>/metrics.json``, and the path of the grid, or of
      an array of the samples where there is no picture of such data.

    Raises:
      ValueError: the metric does not fit the data.
    """
    workdir = Path(workdir)
    recipe, state, info, distribution = restored(workdir)
    metric = metric or _DEFAULT_METRICS.get(info.kind, SlicedWasserstein)()
    metric.check(info)
    data = recipe.data
    data.require("test")
    scaled = Generation(state, info.shape, distribution)(metric.num_samples, seed)
    figures = {"step": state.step} | metric_figures(metric, scaled, data, recipe.seed)
    write_bytes_whole(workdir / "metrics.json", json.dumps(figures, indent=2).encode())
    return figures, _write_samples(workdir / "samples", info.unscale(scaled[:64]), info)


def _write_samples(directory, samples, info):
    picture = picture_of(samples, info)
    if picture is None:
        directory.mkdir(parents=True, exist_ok=True)
        np.savez(directory / "final_samples.npz", samples=samples)
        return directory / "final_samples.npz"
    images.write_png(directory / "final_grid.png", picture)
    return directory / "final_grid.png"
