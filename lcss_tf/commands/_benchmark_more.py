"""Benchmarks beside the step: input, the cost of spreading, memory over a long run."""

import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np
import tensorflow as tf

from lcss_tf import files, plots
from lcss_tf.commands import _gin
from lcss_tf.commands.train import train
from lcss_tf.conditioning import augmentation_size_of, spec_of
from lcss_tf.data import ImageFolder
from lcss_tf.data.pipeline import MAX_FETCH, index_batches, training_batches
from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.plots import History

_READ_AHEAD = 16  # batches, more than the pipeline holds
_EPOCHS = 3  # that are timed
_SECONDS, _ROUNDS = 4.0, 5  # of an experiment's own input
_REPLICAS = "--gin_bindings=Distribution.num_replicas={}"
_TAG = "memory/resident_mib"


@gin.configurable
class InputBenchmark:
    """Times the pipeline over PNG files made for it, and the bare decoding of the same files.

    The pipeline runs without and with random mirroring.

    Args:
      resolution: of the images.
      count: of them; they are smooth pictures with some noise, which compress as photographs do.
      batch_size: of the pipeline.
      rounds: in turn; medians are reported.
    """

    def __init__(
        self, resolution: int = 1024, count: int = 64, batch_size: int = 8, rounds: int = 5
    ) -> None:
        if min(resolution, batch_size, rounds) < 1 or count < 2:
            raise UsageError(
                "InputBenchmark expects resolution, batch_size and rounds of at least 1 and "
                f"count >= 2; got {resolution}, {batch_size}, {rounds} and {count}."
            )
        self._resolution, self._count = resolution, count
        self._batch_size, self._rounds = batch_size, rounds

    def measure(self, folder: str | Path) -> dict[str, Any]:
        """Makes the images in `folder` and returns the figures as a dict."""
        write_pictures(folder, self._count, self._resolution)
        folders = {
            name: ImageFolder(
                str(folder), self._resolution, test_every=self._count, flip=flip, cache_mib=0
            )
            for name, flip in (("pipeline", False), ("mirrored", True))
        }
        paths = folders["pipeline"].paths("train")
        rates: dict[str, list[float]] = {name: [] for name in ("bare", *folders)}
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

    def _pipeline_rate(self, data: ImageFolder) -> float:
        batches = data.pipeline(index_batches(data.size(), self._batch_size, 0)).prefetch(4)
        iterator = iter(batches)
        for _ in range(_READ_AHEAD):  # what was read ahead while nobody waited must not count
            next(iterator)
        steps = max(1, _EPOCHS * data.size() // self._batch_size)
        start = time.perf_counter()
        for _ in range(steps):
            next(iterator)
        return steps * self._batch_size / (time.perf_counter() - start)


def bare_rate(paths: Sequence[str]) -> float:
    """Images a second of reading and ``tf.io.decode_png`` alone, in one thread for each core."""

    def decode(path):
        return tf.io.decode_png(tf.io.read_file(path), 3).shape[0]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        decode(paths[0])
        start = time.perf_counter()
        list(pool.map(decode, paths))
        return len(paths) / (time.perf_counter() - start)


def write_pictures(folder: str | Path, count: int, resolution: int) -> None:
    """PNG files 000.png …: sums of waves, with noise of two grey levels."""
    ramp = np.linspace(0, 2 * np.pi, resolution)
    for k in range(count):
        path = Path(folder) / f"{k:05}.png"
        if path.exists():
            continue
        generator = np.random.default_rng(k)
        picture = np.zeros((resolution, resolution, 3))
        for c in range(3):
            for _ in range(4):
                fy, fx, phase = (
                    generator.integers(1, 9),
                    generator.integers(1, 9),
                    generator.uniform(0, 6),
                )
                picture[..., c] += np.sin(fy * ramp + phase)[:, None] * np.cos(fx * ramp)
        picture = 128 + 30 * picture + generator.normal(0, 2, picture.shape)
        plots.write_png(path, np.rint(np.clip(picture, 0, 255)).astype(np.uint8))


def own_input(seconds: float = _SECONDS, rounds: int = _ROUNDS) -> dict[str, Any]:
    """How fast the bound experiment's data come, as training reads them; figures as a dict.

    Nothing is trained. A step that takes longer than `milliseconds_per_batch` never waits.
    """
    distribution, arguments = _gin.Distribution(), _gin.fit()
    batch_size = arguments["batch_size"]
    network = _gin.ScoreModel(distribution=distribution).network
    batches = training_batches(
        arguments["data"], distribution, batch_size, arguments["seed"], 0, spec_of(network),
        augmentation_size_of(network),
    )  # fmt: skip
    for _ in range(
        _READ_AHEAD * MAX_FETCH
    ):  # what was read ahead while nobody waited must not count
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
        "batch_size": batch_size,
        "examples_per_second": rate * batch_size,
        "milliseconds_per_batch": 1e3 / rate,
    }


def as_text(figures: dict[str, Any]) -> str:
    """Figures as lines of text."""
    return "\n".join(f"{name:<30}{value:,.4g}" for name, value in figures.items())


def input_benchmark(workdir: str | Path) -> str:
    """Measures, writes ``input.json`` under the workdir and returns the figures as text."""
    workdir = Path(workdir)
    figures = InputBenchmark().measure(workdir / "pictures")
    files.write_json(workdir / "input.json", figures)
    return as_text(figures)


def scaling(
    gin_file: str, bindings: Sequence[str], workdir: str | Path, rounds: int = 3, workers: int = 2
) -> Path:
    """Milliseconds a step of one global batch, spread in several ways; every run a process.

    On one machine all ways share the same cores, so that the ratio to one device is the overhead
    of spreading: the copies, the collectives, and what smaller batches lose.

    Args:
      gin_file, bindings: what is trained; `fit.steps` says how long.
      workdir: where ``scaling.json`` and ``scaling.md`` go; the runs do not outlast the call.
      rounds: the ways take turns so often; medians count.
      workers: replicas, and processes.

    Returns:
      The path of the table.

    Raises:
      RuntimeError: a run failed.
    """
    with tempfile.TemporaryDirectory() as runs:
        times = _times(gin_file, bindings, Path(runs), rounds, workers)
    workdir = Path(workdir)
    files.write_json(workdir / "scaling.json", times)
    return files.write_text(workdir / "scaling.md", scaling_table(times))


def _times(
    gin_file: str, bindings: Sequence[str], runs: Path, rounds: int, workers: int
) -> dict[str, list[float]]:
    """{way: ms a step, by round}."""
    ways = {
        "one device": ("train", ()),
        f"{workers} logical devices": ("train", (_REPLICAS.format(workers),)),
        f"{workers} processes": ("launch", ("--strategy=multi_worker",)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds):
        for j, (name, (program, options)) in enumerate(ways.items()):
            place = runs / f"way{j}_round{i}"
            command = ["train", *options, f"--gin_file={gin_file}"]
            command += [f"--gin_bindings={b}" for b in bindings] + [f"--workdir={place}"]
            if program == "launch":
                logs = f"--logs={runs / 'logs'}"
                command = [program, f"--workers={workers}", logs, *command]
            command = [sys.executable, "-m", "lcss_tf", *command]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2_000:]}")
            _, rates = History.from_workdir(place).curve("speed/steps_per_second")
            times[name].append(1e3 / float(np.median(rates[1:])))
            say(f"{name}: {times[name][-1]:.2f} ms a step")
    return times


def scaling_table(times: dict[str, list[float]]) -> str:
    """A Markdown table of {way: ms a step, by round}, the first way the measure."""
    first = np.array(next(iter(times.values())))
    lines = ["| | ms a step | to one device |", "|---|---|---|"]
    for name, values in times.items():
        ratio = np.median(np.array(values) / first)
        lines.append(f"| {name} | {np.median(values):.2f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def soak(workdir: str | Path) -> tuple[str, list[Path]]:
    """Trains what gin describes, and looks at the memory that TensorBoard has of it.

    The allocator gives memory back now and then, and takes it again: readings jump by tens of MiB
    either way. A leak shows in the most that is held, which is compared between the thirds of the
    run; the first warms up.

    Returns:
      (the most in each third, as text; the paths of a picture and of a table).
    """
    workdir = Path(workdir)
    train(workdir)
    steps, mib = History.from_workdir(workdir).curve(_TAG)
    most = most_by_thirds(steps, mib)
    rows = "\n".join(f"{int(s)},{m:.1f}" for s, m in zip(steps, mib, strict=True))
    paths = [workdir / "soak.png", workdir / "soak.csv"]
    plots.write_png(paths[0], _picture(steps, mib, most))
    files.write_text(paths[1], f"step,resident_mib\n{rows}\n")
    return thirds_text(most), paths


def most_by_thirds(steps: np.ndarray, mib: np.ndarray) -> list[float]:
    """The highest reading in each third of the steps.

    Raises:
      UsageError: fewer than nine readings.
    """
    if len(steps) < 9:
        raise UsageError(
            f"{len(steps)} readings of the memory are too few to see growth in: train longer, or "
            "bind a smaller Trainer.log_every."
        )
    ends = steps[0] + (steps[-1] - steps[0]) * np.array([1 / 3, 2 / 3])
    return [float(part.max()) for part in np.split(mib, np.searchsorted(steps, ends))]


def thirds_text(most: Sequence[float]) -> str:
    """For people."""
    return "the most in each third: " + ", ".join(f"{m:,.0f}" for m in most) + " MiB"


def _picture(steps: np.ndarray, mib: np.ndarray, most: Sequence[float]) -> np.ndarray:
    figure, (axes,) = plots.new_figure(1, 1)
    axes.plot(steps, mib, color="#0072b2", linewidth=1.0)
    axes.set_ylim(0, 1.15 * mib.max())
    axes.set_xlabel("step", color=plots.figures.INK, fontsize=9)
    axes.set_ylabel("resident memory, MiB", color=plots.figures.INK, fontsize=9)
    axes.set_title(thirds_text(most), loc="left", color=plots.figures.INK, fontsize=9)
    axes.grid(alpha=0.25)
    return plots.render(figure)
