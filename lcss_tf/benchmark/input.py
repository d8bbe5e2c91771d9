"""How fast input is: the pipeline beside the bare decoder, and an experiment's own data."""

import concurrent.futures
import json
import os
import time
from pathlib import Path

import gin
import numpy as np
import tensorflow as tf

from lcss_tf import images
from lcss_tf.data import ImageFolder, index_batches
from lcss_tf.data.handing import MOST
from lcss_tf.errors import UsageError
from lcss_tf.experiment.batches import training_batches
from lcss_tf.experiment.recipe import devices_and_recipe
from lcss_tf.files import write_bytes

_READ_AHEAD = 16  # batches, more than the pipeline holds
_EPOCHS = 3  # that are timed
_SECONDS, _ROUNDS = 4.0, 5  # of an experiment's own input


@gin.configurable("input_benchmark")
class InputBenchmark:
    """Times the pipeline over PNG files made for it, and the bare decoding of the same files.

    The pipeline runs without and with random mirroring.

    Args:
      resolution: of the images.
      count: of them; they are smooth pictures with some noise, which compress as photographs do.
      batch_size: of the pipeline.
      rounds: in turn; medians are reported.
    """

    def __init__(self, resolution=1024, count=64, batch_size=8, rounds=5):
        if min(resolution, batch_size, rounds) < 1 or count < 2:
            raise UsageError(
                "input_benchmark expects resolution, batch_size and rounds of at least 1 and "
                f"count >= 2; got {resolution}, {batch_size}, {rounds} and {count}."
            )
        self._resolution, self._count = resolution, count
        self._batch_size, self._rounds = batch_size, rounds

    def measure(self, folder):
        """Makes the images in `folder` and returns the figures as a dict."""
        write_pictures(folder, self._count, self._resolution)
        folders = {
            name: ImageFolder(
                str(folder), self._resolution, test_every=self._count, flip=flip, cache_mib=0
            )
            for name, flip in (("pipeline", False), ("mirrored", True))
        }
        paths = folders["pipeline"].paths("train")
        rates = {name: [] for name in ("bare", *folders)}
        for _ in range(self._rounds):
            rates["bare"].append(bare_rate(paths))
            for name, data in folders.items():
                rates[name].append(self._pipeline_rate(data))
        bare = np.array(rates["bare"])
        return {
            "cores": os.cpu_count(),
            "resolution": self._resolution,
            **{f"{k}_images_per_second": float(np.median(v)) for k, v in rates.items()},
            **{f"{k}_ratio": float(np.median(np.array(rates[k]) / bare)) for k in folders},
        }

    def _pipeline_rate(self, data):
        batches = data.pipeline(index_batches(data.size(), self._batch_size, 0)).prefetch(4)
        iterator = iter(batches)
        for _ in range(_READ_AHEAD):  # what was read ahead while nobody waited must not count
            next(iterator)
        steps = max(1, _EPOCHS * data.size() // self._batch_size)
        start = time.perf_counter()
        for _ in range(steps):
            next(iterator)
        return steps * self._batch_size / (time.perf_counter() - start)


def bare_rate(paths):
    """Images a second of reading and ``tf.io.decode_png`` alone, in one thread for each core."""

    def decode(path):
        return tf.io.decode_png(tf.io.read_file(path), 3).shape[0]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        decode(paths[0])
        start = time.perf_counter()
        list(pool.map(decode, paths))
        return len(paths) / (time.perf_counter() - start)


def write_pictures(folder, count, resolution):
    """PNG files 000.png …: sums of waves, with noise of two grey levels."""
    ramp = np.linspace(0, 2 * np.pi, resolution)
    for k in range(count):
        path = Path(folder) / f"{k:05}.png"
        if path.exists():
            continue
        random = np.random.default_rng(k)
        picture = np.zeros((resolution, resolution, 3))
        for c in range(3):
            for _ in range(4):
                fy, fx, phase = random.integers(1, 9), random.integers(1, 9), random.uniform(0, 6)
                picture[..., c] += np.sin(fy * ramp + phase)[:, None] * np.cos(fx * ramp)
        picture = 128 + 30 * picture + random.normal(0, 2, picture.shape)
        images.write_png(path, np.rint(np.clip(picture, 0, 255)).astype(np.uint8))


def own_input(seconds=_SECONDS, rounds=_ROUNDS):
    """How fast the bound experiment's data come, as training reads them; figures as a dict.

    Nothing is trained. A step that takes longer than `milliseconds_per_batch` never waits.
    """
    distribution, recipe = devices_and_recipe()
    batches = training_batches(recipe, distribution, 0)
    for _ in range(_READ_AHEAD * MOST):  # what was read ahead while nobody waited must not count
        next(batches)
    rates = []
    for _ in range(rounds):
        count, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            next(batches)
            count += 1
        rates.append(count / (time.perf_counter() - start))
    rate = float(np.median(rates))
    return {
        "cores": os.cpu_count(),
        "batch_size": recipe.batch_size,
        "examples_per_second": rate * recipe.batch_size,
        "milliseconds_per_batch": 1e3 / rate,
    }


def as_text(figures):
    """Figures as lines of text."""
    return "\n".join(f"{name:<30}{value:,.4g}" for name, value in figures.items())


def input_benchmark(workdir):
    """Measures, writes ``input.json`` under the workdir and returns the figures as text."""
    workdir = Path(workdir)
    figures = InputBenchmark().measure(workdir / "pictures")
    write_bytes(workdir / "input.json", json.dumps(figures, indent=1).encode())
    return as_text(figures)
