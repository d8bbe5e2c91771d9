"""A metric of samples against held-out data, beside that of as many real examples."""

import numpy as np


def metric_figures(metric, samples, data, seed):
    """The distance of samples to held-out data, and what a perfect model would score.

    Args:
      metric: an object of `METRICS`.
      samples: [N, ...], scaled as the model's.
      data: the `Dataset`.
      seed: of data that are drawn, not read.

    Returns:
      {name: …, "<name>_of_training_data": …} of each of its figures, and {"held_out_examples": …,
      "training_examples": …}
    """
    info, count = data.info(), metric.num_samples
    real = _examples(data, info, "train", count, seed)
    held_out = _examples(data, info, "test", data.size("test") or count, seed)
    reference = metric.statistics([held_out])
    figures = {}
    for batch, suffix in ((info.unscale(samples), ""), (real, "_of_training_data")):
        found = metric.figures(metric.statistics([batch]), reference)
        figures |= {f"{name}{suffix}": figure.value for name, figure in found.items()}
    return figures | {"held_out_examples": len(held_out), "training_examples": len(real)}


def _examples(data, info, split, count, seed):
    """`count` examples evenly spaced over a split (fewer if it has fewer), unscaled."""
    size = data.size(split)
    indices = np.arange(count) if size is None else np.linspace(0, size - 1, min(count, size))
    return np.asarray(info.unscale(data.examples(indices.astype(np.int64), split, seed)))
