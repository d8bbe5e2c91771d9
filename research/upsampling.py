"""From 14 to 28 pixels on Fashion-MNIST: a model told the small picture beside one that is not.

    python research/upsampling.py --conditional=runs/lcss_fashion_upsample \\
        --free=runs/lcss_fashion_small

The first is trained on pairs, for this task alone. The second is the unconditional model of any
task: here the operator says what is known, the mean of each 2×2 block. Both draw 4 samples of each
held-out picture by 200 steps of Euler–Maruyama. Printed are, in grey levels of 255:

- error, one: the root mean square distance of a sample to the truth. error, mean of 4: that of the
  samples' mean. Samples of the true posterior, of variance v, have √(2 v) and √(1.25 v), so the
  ratio of the two is √1.6 = 1.26. It is less if the samples of a picture are too alike.
- blocks: that of the means over blocks to those that are given.
- Fréchet: distance of a sample of each picture to the test split by the Fashion classifier.

Beside them the pictures enlarged by Pillow. ± is a standard error over the pictures.
"""

import argparse
import time

import numpy as np
import tensorflow as tf
from PIL import Image

import lcss_tf as lcss
from lcss_tf.data import FashionMNIST, LowResolution
from lcss_tf.inference import given_of
from lcss_tf.metrics import MetricSuite, References, default_metrics
from lcss_tf.typing import Array

FACTOR, DRAWS = 2, 4
POOLING = lcss.control.AveragePooling(FACTOR)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--conditional", required=True, help="run of lcss_fashion_upsample.gin")
    parser.add_argument("--free", required=True, help="run of lcss_fashion_small.gin, or the like")
    parser.add_argument("--count", type=int, default=250, help="held-out pictures")
    parser.add_argument("--steps", type=int, default=200, help="of Euler–Maruyama")
    options = parser.parse_args()
    sampler = lcss.samplers.EulerMaruyama(num_steps=options.steps)
    told, free = (lcss.ScoreModel.load(run) for run in (options.conditional, options.free))
    given = given_of(told.network, LowResolution(FashionMNIST(), FACTOR), options.count)
    if given is None:
        parser.error(f"The model of {options.conditional} takes no picture as its condition.")
    small, truth = pooled(given.condition), np.asarray(given.truth, np.float64)
    found = {
        "pixels repeated": enlarged(small, Image.Resampling.NEAREST),
        "bicubic (Pillow)": enlarged(small, Image.Resampling.BICUBIC),
    }
    start = time.perf_counter()
    condition = np.tile(given.condition, (DRAWS, 1, 1, 1))
    drawn = told.sample(len(condition), sampler=sampler, batch_size=100, condition=condition)
    found["told the small picture"] = np.moveaxis(drawn.reshape(DRAWS, *truth.shape), 0, 1)
    between = time.perf_counter()
    task = free.posterior(small, POOLING, sampler=sampler, batch_size=100)
    found["unconditional, by the operator"] = task.sample(DRAWS)
    seconds = ["", "", between - start, time.perf_counter() - between]
    data = FashionMNIST()
    metric = default_metrics(data.info(), data, options.count)[1]  # the classifier's Fréchet
    suite = MetricSuite([metric], References(data, store=False))
    print("| | error, one | error, mean of 4 | ratio | blocks | Fréchet | minutes |")
    print("|---|---|---|---|---|---|---|")
    for (name, x), took in zip(found.items(), seconds, strict=True):
        distance = suite.measure([x[:, 0]])[metric.name]
        minutes = f"{took / 60:.1f}" if took else ""
        print(f"| {name} | {errors(x, truth, small)} | {shown(*distance)} | {minutes} |")
    print(f"| real training images | | | | | {shown(*suite.real_values[metric.name])} | |")


def pooled(images: Array) -> Array:
    """Means over blocks of pictures [N, 28, 28, 1], float32 [N, 14, 14, 1]."""
    return np.asarray(POOLING.apply(tf.constant(images, tf.float32)))


def enlarged(small: Array, resample: Image.Resampling) -> Array:
    """Small pictures [N, 14, 14, 1] at 28 pixels, one of each: uint8 [N, 1, 28, 28, 1]."""
    size = FACTOR * small.shape[2], FACTOR * small.shape[1]
    large = [np.asarray(Image.fromarray(x[..., 0]).resize(size, resample)) for x in small]
    return np.rint(np.clip(large, 0, 255)).astype(np.uint8)[:, None, ..., None]


def errors(x: Array, truth: Array, small: Array) -> str:
    """The cells of errors: samples x [N, n, 28, 28, 1] of the pictures `truth` [N, 28, 28, 1]."""
    one, mean = rms(x[:, 0] - truth), rms(x.mean(axis=1) - truth)
    of_several = [shown(*mean), f"{one[0] / mean[0]:.2f}"] if x.shape[1] > 1 else ["", ""]
    return " | ".join([shown(*one), *of_several, shown(*rms(pooled(x[:, 0]) - small))])


def rms(difference: Array) -> tuple[float, float]:
    """(root mean square, its standard error over the pictures)."""
    squares = np.square(difference).reshape(len(difference), -1).mean(axis=1)
    root = float(np.sqrt(squares.mean()))
    return root, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * root))


def shown(value: float, error: float) -> str:
    """A value and its error."""
    return f"{value:.2f} ± {error:.2f}"


if __name__ == "__main__":
    main()
