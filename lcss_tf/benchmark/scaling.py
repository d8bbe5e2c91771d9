"""What spreading a step costs: the same work on one device, on two, and in two processes."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from lcss_tf.files import write_bytes
from lcss_tf.report.history import History

_BIN = Path(__file__).resolve().parents[2] / "bin"
_REPLICAS = "--gin_bindings=distribution.num_replicas={}"


def scaling(gin_file, bindings, workdir, rounds=3, workers=2):
    """Milliseconds a step of one global batch, spread in several ways; every run a process.

    On one machine all ways share the same cores, so that the ratio to one device is the overhead
    of spreading: the copies, the collectives, and what smaller batches lose.

    Args:
      gin_file, bindings: what is trained; `train.total_steps` says how long.
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
    workdir.mkdir(parents=True, exist_ok=True)
    write_bytes(workdir / "scaling.json", json.dumps(times, indent=1).encode())
    write_bytes(workdir / "scaling.md", table(times).encode())
    return workdir / "scaling.md"


def _times(gin_file, bindings, runs, rounds, workers):
    """{way: ms a step, by round}."""
    ways = {
        "one device": ("train.py", ()),
        f"{workers} logical devices": ("train.py", (_REPLICAS.format(workers),)),
        f"{workers} processes": ("launch.py", ("--strategy=multi_worker",)),
    }
    times = {name: [] for name in ways}
    for i in range(rounds):
        for j, (name, (program, options)) in enumerate(ways.items()):
            place = runs / f"way{j}_round{i}"
            command = [str(_BIN / "train.py"), *options, f"--gin_file={gin_file}"]
            command += [f"--gin_bindings={b}" for b in bindings] + [f"--workdir={place}"]
            if program == "launch.py":
                logs = f"--logs={runs / 'logs'}"
                command = [str(_BIN / program), f"--workers={workers}", logs, *command]
            done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2_000:]}")
            _, rates = History(place).curve("speed/steps_per_second")
            times[name].append(1e3 / float(np.median(rates[1:])))
            print(f"{name}: {times[name][-1]:.2f} ms a step", flush=True)
    return times


def table(times):
    """A Markdown table of {way: ms a step, by round}, the first way the measure."""
    first = np.array(next(iter(times.values())))
    lines = ["| | ms a step | to one device |", "|---|---|---|"]
    for name, values in times.items():
        ratio = np.median(np.array(values) / first)
        lines.append(f"| {name} | {np.median(values):.2f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"
