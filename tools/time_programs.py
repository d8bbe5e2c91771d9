"""Times exported training steps, one after another, where JAX is.

    python tools/time_programs.py OUT.json FOLDER...            # of lcss export --what=train_step
    python tools/time_programs.py OUT.json FOLDER... --trace=profiles

Each program has a process of its own, so that its memory is its own. For each: the seconds of its
compilation, milliseconds a step over rounds (median, least and most), memory, and with `--trace` a
profile and what the compiler made of it. What is done is written after each, so that a run that is
cut off loses nothing. Needs jax and numpy alone.
"""

import argparse
import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def time_program(folder: str, block: int, rounds: int, trace: str | None) -> dict:
    """Milliseconds a step of one program."""
    import jax
    import run_program

    trainer = run_program.Trainer(folder, block=block)
    seconds, memory = trainer.compile()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    times, shown = [], {}
    for i in range(rounds + 1):
        start = time.perf_counter()
        shown = trainer.take_block()
        if i:  # the first warms up
            times.append((time.perf_counter() - start) / block * 1e3)
    if trace:
        place = Path(trace) / Path(folder).name
        place.mkdir(parents=True, exist_ok=True)
        with gzip.open(place / "optimised.hlo.gz", "wt") as file:
            file.write(trainer.compiled_text())
        with jax.profiler.trace(str(place)):
            trainer.take_block()
    ms = float(np.median(times))
    return {
        "name": Path(folder).name, "ms": ms, "ms_min": min(times), "ms_max": max(times),
        "images_per_second": trainer.batch_size / ms * 1e3, "compile_s": seconds,
        "peak_mib": peak / 2**20, "parameters": trainer.manifest.get("parameters"),
        "loss": float(shown["loss"].mean()), "device": jax.devices()[0].device_kind,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 where a program failed."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("out", help="a .json for the rows")
    parser.add_argument("folders", nargs="+", help="what lcss export wrote")
    parser.add_argument("--block", type=int, default=10, help="steps to a call of the device")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trace", help="a folder for profiles of the programs")
    parser.add_argument("--timeout_s", type=float, default=600.0, help="for each program")
    parser.add_argument("--alone", action="store_true", help="in this process, one program")
    args = parser.parse_args(arguments)
    if args.alone:
        print(json.dumps(time_program(args.folders[0], args.block, args.rounds, args.trace)))
        return 0
    rows: list[dict] = []
    for folder in args.folders:
        command = [sys.executable, __file__, args.out, folder, "--alone"]
        command += [f"--block={args.block}", f"--rounds={args.rounds}"]
        command += [f"--trace={args.trace}"] if args.trace else []
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout_s)
        except subprocess.TimeoutExpired:
            print(f"{Path(folder).name}: not done in {args.timeout_s:.0f} s", flush=True)
            continue
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            print(f"{Path(folder).name}: failed\n{done.stderr[-1_500:]}", flush=True)
            continue
        row = json.loads(lines[-1])
        rows.append(row)
        Path(args.out).write_text(json.dumps(rows, indent=1))
        print(
            f"{row['name']}: {row['ms']:.2f} ms [{row['ms_min']:.2f}, {row['ms_max']:.2f}], "
            f"{row['images_per_second']:,.0f} images/s, {row['peak_mib']:,.0f} MiB, compiled in "
            f"{row['compile_s']:.0f} s, {row['device']}",
            flush=True,
        )
    return int(len(rows) < len(args.folders))


if __name__ == "__main__":
    sys.exit(main())
