"""The gin root `benchmark`: times cases in turn, and writes a table and JSON."""

import json
import os
import time
from pathlib import Path

import gin
import numpy as np
from tqdm import tqdm

from lcss_tf.benchmark.arithmetic import count_flops, matrix_product_rate
from lcss_tf.benchmark.cases import forward_case, sampling_case, training_case
from lcss_tf.errors import UsageError
from lcss_tf.experiment.recipe import Recipe
from lcss_tf.files import write_bytes
from lcss_tf.memory import PeakMemory
from lcss_tf.training.distribution import Distribution

_MODES = {"auto": None, "one program": True, "pieces": "pieces", "graph": False}
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@gin.configurable("benchmark")
class Benchmark:
    """Times training steps, the forward pass and sampling of what `train` binds.

    Args:
      losses: objects of `LOSSES` by name; by default `train.loss` alone.
      modes: names in "auto", "one program", "pieces", "graph": how XLA compiles.
      rounds: every round runs each case in turn; medians over rounds are reported, and ratios
        within a round, since machines drift.
      runs: of a case in a round.
      sampler_steps: of the sampler that is timed; 0: none.
    """

    def __init__(self, losses=None, modes=("auto",), rounds=7, runs=3, sampler_steps=24):
        unknown = sorted(set(modes) - set(_MODES))
        if unknown or not modes or rounds < 1 or runs < 1:
            raise UsageError(
                f"benchmark expects modes among {sorted(_MODES)}, rounds >= 1 and runs >= 1; got "
                f"{modes}, {rounds} and {runs}."
            )
        self._losses, self._modes = losses, modes
        self._rounds, self._runs, self._sampler_steps = rounds, runs, sampler_steps

    def measure(self):
        """A list of dicts, one for each case and mode, and the matrix product's FLOP/s."""
        rate = matrix_product_rate()
        rows = []
        for mode in self._modes:
            rows += self._of_mode(mode)
        rate = max(rate, matrix_product_rate())  # before and after: machines drift
        for row in rows:
            row["gflops_per_second"] = row["gflop"] / row["ms"] * 1e3
            row["share_of_matrix_product"] = row["gflops_per_second"] * 1e9 / rate
        return rows, rate

    def _of_mode(self, mode):
        made, rows = [], []
        for make in self._makers(_MODES[mode]):
            memory = PeakMemory()
            case = make(made)
            start = time.perf_counter()
            case.run()
            first = time.perf_counter() - start
            memory.restart()
            case.run()
            rows.append(
                {"case": case.name, "mode": mode, "first_s": first, "peak_mib": memory.peak()}
            )
            made.append(case)
            print(f"  {case.name}, {mode}: compiled and run in {first:.1f} s", flush=True)
        times = np.zeros([self._rounds, len(made)])
        for i in tqdm(range(self._rounds), desc=f"rounds, {mode}", mininterval=1.0):
            for j, case in enumerate(made):
                start = time.perf_counter()
                for _ in range(self._runs):
                    case.run()
                times[i, j] = (time.perf_counter() - start) / self._runs / case.per_run() * 1e3
        for j, (case, row) in enumerate(zip(made, rows, strict=True)):
            ms = float(np.median(times[:, j]))
            row |= {
                "ms": ms,
                "ms_min": float(times[:, j].min()),
                "ms_max": float(times[:, j].max()),
                "ratio_to_first": float(np.median(times[:, j] / times[:, 0])),
                "images_per_second": case.examples / ms * 1e3,
                "gflop": case.flops / 1e9,
            }
        return rows

    def _makers(self, mode):
        """Functions that make each case; the cases made before are given to them."""
        distribution, recipe = Distribution(), Recipe()
        losses = self._losses or {type(recipe.loss).__name__: recipe.loss}
        for name, loss in losses.items():
            yield lambda _, name=name, loss=loss: training_case(
                name, Recipe(loss=loss), distribution, mode, count_flops
            )
        yield lambda _: forward_case(recipe, distribution, mode, count_flops)
        if self._sampler_steps:
            yield lambda made: sampling_case(
                recipe, distribution, mode, made[-1].flops, self._sampler_steps
            )


def benchmark(workdir):
    """Measures, writes ``benchmark.md`` and ``benchmark.json``; returns the text and the paths."""
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    rows, rate = Benchmark().measure()
    result = {"matrix_product_gflops_per_second": rate / 1e9, "cores": os.cpu_count(), "rows": rows}
    paths = [workdir / "benchmark.md", workdir / "benchmark.json"]
    text = _table(result)
    write_bytes(paths[0], text.encode())
    write_bytes(paths[1], json.dumps(result, indent=1).encode())
    return text, paths


def first_step_seconds():
    """Seconds from the start of this process to the end of the first training step."""
    case = training_case("first", Recipe(), Distribution(), None, lambda *_: 0)
    case.run()
    return process_seconds()


def process_seconds():
    """Seconds since this process started (Linux; elsewhere NaN)."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return float("nan")
    return uptime - int(fields[19]) / _TICKS


_COLUMNS = {
    "case": "{}",
    "mode": "{}",
    "ms": "{:.1f}",
    "ratio_to_first": "{:.2f}",
    "images_per_second": "{:,.3g}",
    "gflop": "{:.2f}",
    "gflops_per_second": "{:,.0f}",
    "share_of_matrix_product": "{:.0%}",
    "peak_mib": "{:,.0f}",
    "first_s": "{:.1f}",
}


def _table(result):
    titles = [name.replace("_", " ") for name in _COLUMNS]
    lines = [titles, ["---"] * len(titles)]
    for row in result["rows"]:
        lines.append([form.format(row[name]) for name, form in _COLUMNS.items()])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    rate = result["matrix_product_gflops_per_second"]
    return (
        f"{result['cores']} cores; a float32 matrix product reaches {rate:,.0f} GFLOP/s here. "
        "Medians; gflop: of convolutions and matrix products, counted in the graph.\n\n"
        f"{table}\n"
    )
