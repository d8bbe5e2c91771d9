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
def evaluate(workdir, num_samples=512, seed=1, metric=None):
    """Samples from the EMA weights and measures their distance to held-out data.

    The same distance from as many real training examples stands beside it: what a
    perfect model would score.

    Args:
      workdir: the run's directory.
      num_samples: samples, and real training examples (fewer where there are fewer).
      seed: of the samples.
      metric: an object of `METRICS`; the pixel-space Fréchet distance by default.

    Returns:
      A dict of the figures, also in ``<workdir>/metrics.json``, and the grid's path.
    """
    workdir, metric = Path(workdir), metric or PixelFrechet()
    recipe, state, info, distribution = restored(workdir)
    data = recipe.data
    data.require("test")
    size = data.size("train")
    count = num_samples if size is None else min(num_samples, size)
    samples = info.unscale(Generation(state, info.shape, distribution)(count, seed))
    real = info.unscale(_examples(data, "train", count, recipe.seed))
    held_out = info.unscale(_examples(data, "test", data.size("test") or count, recipe.seed))
    name = metric.name(count)
    figures = {
        "step": state.step,
        name: metric(samples, held_out),
        f"{name}_of_training_data": metric(real, held_out),
        "held_out_examples": len(held_out),
    }
    write_bytes_whole(workdir / "metrics.json", json.dumps(figures, indent=2).encode())
    picture = picture_of(samples[:64], info)
    grid = workdir / "samples" / "final_grid.png"
    if picture is not None:
        images.write_png(grid, picture)
    return figures, grid


def _examples(data, split, count, seed):
    """`count` examples evenly spaced over a split."""
    size = data.size(split)
    step = 1 if size is None else size // count
    return np.asarray(data.examples(np.arange(count) * step, split, seed))
