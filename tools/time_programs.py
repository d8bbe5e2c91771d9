"""Times exported training steps, and any other commands that time themselves, on one device.

    python tools/time_programs.py OUT.json --program=exported/a --program=exported/b \\
        --command='python research/rivals/step_time.py --reference=reference'

Everything is compiled at once, a process each; then one after another is timed alone. A command
prints a line of JSON, and takes `--ready=FILE`: it makes the file when it is compiled, and waits
until the file is gone. Needs jax and numpy alone.
"""

import argparse
import gzip
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def time_program(folder: str, ready: str, block: int, rounds: int, trace: str | None) -> dict:
    """Milliseconds a step of one program, alone on the device."""
    import jax
    import run_program

    trainer = run_program.Trainer(folder, block=block)
    seconds, memory = trainer.compile()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    trainer.take_block()
    Path(ready).touch()
    while Path(ready).exists():
        time.sleep(0.05)
    trainer.take_block()
    times, shown = [], {}
    for _ in range(rounds):
        start = time.perf_counter()
        shown = trainer.take_block()
        times.append((time.perf_counter() - start) / block * 1e3)
    if trace:
        text = trainer.compiled_text()
        Path(trace).mkdir(parents=True, exist_ok=True)
        with gzip.open(f"{trace}/optimised.hlo.gz", "wt") as file:
            file.write(text)
        with jax.profiler.trace(trace):
            trainer.take_block()
    ms = float(np.median(times))
    return {
        "name": Path(folder).name, "ms": ms, "ms_min": min(times), "ms_max": max(times),
        "images_per_second": trainer.batch_size / ms * 1e3, "first_s": seconds,
        "peak_mib": peak / 2**20, "parameters": trainer.manifest.get("parameters"),
        "loss": float(shown["loss"].mean()), "device": jax.devices()[0].device_kind,
    }  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--program", action="append", default=[])
    parser.add_argument("--command", action="append", default=[])
    parser.add_argument("--block", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wait_s", type=float, default=240.0, help="for compilation, at most")
    parser.add_argument("--budget_s", type=float, default=1e9, help="for everything")
    parser.add_argument("--trace", help="a folder for profiles of the programs")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--ready", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        trace = f"{args.trace}/{Path(args.alone).name}" if args.trace else None
        row = time_program(args.alone, args.ready, args.block, args.rounds, trace)
        print(json.dumps(row), flush=True)
        return
    start = time.monotonic()
    own = f"{shlex.quote(sys.executable)} {shlex.quote(__file__)} - --block={args.block} "
    own += f"--rounds={args.rounds} " + (f"--trace={args.trace} " if args.trace else "")
    commands = [f"{own} --alone={shlex.quote(p)}" for p in args.program] + args.command
    names = [Path(p).name for p in args.program] + args.command
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as place:
        running = []
        for i, (name, command) in enumerate(zip(names, commands, strict=True)):
            ready, log = Path(place) / f"ready{i}", Path(place) / f"log{i}"
            with open(log, "w") as file:
                process = subprocess.Popen(
                    [*shlex.split(command), f"--ready={ready}"], stdout=file, stderr=file
                )
            running.append((name, process, ready, log))
        for _, process, ready, _ in running:  # wait for all, so that each is timed alone
            while not ready.exists() and process.poll() is None:
                if time.monotonic() - start > args.wait_s:
                    process.kill()
                time.sleep(0.1)
        print(f"compiled in {time.monotonic() - start:.0f} s", flush=True)
        for name, process, ready, log in running:
            ready.unlink(missing_ok=True)
            try:
                process.wait(max(1.0, args.budget_s - (time.monotonic() - start)))
            except subprocess.TimeoutExpired:
                process.kill()
            lines = [x for x in log.read_text().splitlines() if x.startswith("{")]
            if not lines:
                print(f"{name}: failed\n" + log.read_text()[-1500:], flush=True)
                continue
            rows.append(json.loads(lines[-1]))
            row = rows[-1]
            print(
                f"{row['name']}: {row['ms']:.2f} ms [{row['ms_min']:.2f}, {row['ms_max']:.2f}], "
                f"{row['images_per_second']:,.0f} images/s, {row['peak_mib']:,.0f} MiB, first "
                f"{row['first_s']:.0f} s, {row['device']}",
                flush=True,
            )
            Path(args.out).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
