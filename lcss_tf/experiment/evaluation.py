"""The root `evaluate`: a run's samples against held-out data, and a grid to look at."""

import json
from pathlib import Path

import gin
import numpy as np

from lcss_tf import images
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.sampling import picture_of
from lcss_tf.metrics import PixelFrechet
from lcss_tf.training.checkpoints import write_bytes_whole


@gin.configurable("evaluate", denylist=["workdir"])
def evaluate(workdir, metric=None, seed=1):
    """Samples from the EMA weights and measures their distance to held-out data.

    The same distance from as many real training examples stands beside it: what a
    perfect model would score.

    Args:
      workdir: the run's directory.
      metric: an object of `METRICS`; the pixel-space Fréchet distance by default.
      seed: of the samples.

    Returns:
      A dict of the figures, also in ``<workdir>/metrics.json``, and the grid's path.

    Raises:
      ValueError: the metric does not fit the data.
    """
    workdir, metric = Path(workdir), metric or PixelFrechet()
    recipe, state, info, distribution = restored(workdir)
    metric.check(info)
    data = recipe.data
    data.require("test")
    count = metric.num_samples
    samples = info.unscale(Generation(state, info.shape, distribution)(count, seed))
    real = _examples(data, info, "train", count, recipe.seed)
    held_out = _examples(data, info, "test", data.size("test") or count, recipe.seed)
    reference = metric.statistics([held_out])
    figures = {
        "step": state.step,
        metric.name: metric.distance(metric.statistics([samples]), reference),
        f"{metric.name}_of_training_data": metric.distance(metric.statistics([real]), reference),
        "held_out_examples": len(held_out),
        "training_examples": len(real),
    }
    write_bytes_whole(workdir / "metrics.json", json.dumps(figures, indent=2).encode())
    grid = workdir / "samples" / "final_grid.png"
    images.write_png(grid, picture_of(samples[:64], info))
    return figures, grid


def _examples(data, info, split, count, seed):
    """`count` examples evenly spaced over a split (fewer if it has fewer), unscaled."""
    size = data.size(split)
    indices = np.arange(count) if size is None else np.linspace(0, size - 1, min(count, size))
    return np.asarray(info.unscale(data.examples(indices.astype(np.int64), split, seed)))
