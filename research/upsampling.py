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
from PIL import Image

import lcss_tf as lcss
from lcss_tf.data import FashionMNIST, LowResolution
from lcss_tf.inference import given_of
from lcss_tf.metrics import MetricValue, default_metrics, measure
from lcss_tf.typing import Array

SIDE, FACTOR, DRAWS = 28, 2, 4


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--conditional", required=True, help="run of lcss_fashion_upsample.gin")
    parser.add_argument("--free", required=True, help="run of lcss_fashion_small.gin, or the like")
    parser.add_argument("--count", type=int, default=250, help="held-out pictures")
    parser.add_argument("--steps", type=int, default=200, help="of Euler–Maruyama")
    options = parser.parse_args()
    sampler = lcss.samplers.EulerMaruyama(num_steps=options.steps)
    conditional, free = (lcss.ScoreModel.load(run) for run in (options.conditional, options.free))
    given = given_of(conditional.network, LowResolution(FashionMNIST(), FACTOR), options.count)
    assert given is not None, "the conditional run takes no picture"
    small, truth = blocks(given.condition), np.asarray(given.truth, np.float64)
    found = {
        f"{name} (Pillow)": enlarged(small, resample)[:, None]
        for name, resample in (
            ("nearest", Image.Resampling.NEAREST),
            ("bicubic", Image.Resampling.BICUBIC),
        )
    }
    start = time.perf_counter()
    told = np.tile(given.condition, (DRAWS, 1, 1, 1))
    drawn = conditional.sample(len(told), sampler=sampler, batch_size=100, condition=told)
    found["conditional model"] = np.moveaxis(drawn.reshape(DRAWS, *truth.shape), 0, 1)
    seconds = {"conditional model": time.perf_counter() - start}
    start = time.perf_counter()
    task = free.posterior(
        small, lcss.control.AveragePooling(FACTOR), sampler=sampler, batch_size=100
    )
    found["free model, PseudoinverseGuidance"] = task.sample(DRAWS)
    seconds["free model, PseudoinverseGuidance"] = time.perf_counter() - start
    print("| | error, one | error, mean of 4 | ratio | blocks | Fréchet | minutes |")
    print("|---|---|---|---|---|---|---|")
    for name, x in found.items():
        print(line(name, x, truth, small, seconds.get(name)), flush=True)
    _, real = frechet(found["conditional model"][:, 0])
    print(f"| real training images | | | | | {real.value:.2f} | |")


def blocks(images: Array) -> Array:
    """Means over blocks, [..., 28, 28, 1] -> [..., 14, 14, 1]."""
    images = np.asarray(images, np.float64)
    size = SIDE // FACTOR
    cut = images.reshape(*images.shape[:-3], size, FACTOR, size, FACTOR, 1)
    return cut.mean(axis=(-4, -2))


def enlarged(small: Array, resample: Image.Resampling) -> Array:
    """Small pictures [N, 14, 14, 1] at 28 pixels, uint8."""
    large = [
        np.asarray(Image.fromarray(np.float32(x[..., 0])).resize((SIDE, SIDE), resample))
        for x in small
    ]
    return np.rint(np.clip(large, 0, 255)).astype(np.uint8)[..., None]


def line(name: str, x: Array, truth: Array, small: Array, seconds: float | None) -> str:
    """A row of the table: samples x [N, n, 28, 28, 1] of the pictures `truth` [N, 28, 28, 1]."""
    one, mean = rms(x[:, 0] - truth), rms(x.mean(axis=1) - truth)
    known = rms(blocks(x[:, 0]) - small)
    distance, _ = frechet(x[:, 0])
    cells = [name, shown(*one)]
    cells += [shown(*mean), f"{one[0] / mean[0]:.2f}"] if x.shape[1] > 1 else ["", ""]
    cells += [shown(*known), shown(distance.value, distance.error)]
    cells.append("" if seconds is None else f"{seconds / 60:.1f}")
    return "| " + " | ".join(cells) + " |"


def frechet(x: Array) -> tuple[MetricValue, MetricValue]:
    """The classifier's Fréchet distance of samples, and of as many training images."""
    data = FashionMNIST()
    metric = default_metrics(data.info(), data, len(x))[1]
    of_samples, of_real = measure(x, data, [metric])
    return next(iter(of_samples.values())), next(iter(of_real.values()))


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
