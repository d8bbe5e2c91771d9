"""Ours on a machine with a GPU and jax, but without TensorFlow: the same steps, the same samplers.

    python research/rivals/on_gpu.py export runs/jobs --rates=docs/results/rivals/rates.json
    python research/rivals/on_gpu.py run runs/jobs --results=runs/results
    python research/rivals/on_gpu.py collect runs/jobs --results=runs/results --out=runs/rivals

What a training gives depends on its steps, not on the machine. `export` writes the training step
and the samplers of each variant and seed as programs. `run` is for the other machine: it trains and
draws in float32, and needs this folder, tools/run_program.py, the images, jax and numpy. `collect`
makes of what came back what `ours.py` would have left, for `compare.py` to judge.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import common
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
JOB, STATE, DONE = "job.json", "state.npz", "done.json"


def export(options: argparse.Namespace) -> None:
    """Writes a folder for each variant and seed: programs, and ``job.json``."""
    import compare

    known = compare.paces(options.rates)
    if missing := sorted(set(options.variants) - known.keys()):
        raise ValueError(f"{options.rates} has no pace of {', '.join(missing)}. Measure it.")
    for variant in options.variants:
        steps = compare.steps_that_fit(known[variant], options.seconds)
        for seed in options.seeds:
            job = {"variant": variant, "seed": seed, "steps": steps}
            _export(options.folder / f"{variant}_{seed}", SimpleNamespace(**vars(options) | job))
            print(f"Exported {variant}, seed {seed}: {steps:,} steps", flush=True)


def _export(folder: Path, options: Any) -> None:
    import ours

    from lcss_tf import export as programs
    from lcss_tf.commands import _runs
    from lcss_tf.commands.export import line_to_network, training_step
    from lcss_tf.commands.train import build, planned

    one = [*options.gin_bindings, "Distribution.strategy = 'one_device'"]
    ours.load_configuration(SimpleNamespace(**vars(options) | {"gin_bindings": one}))
    model, arguments = build()
    run = planned(model, arguments)
    _runs.begin(run)
    model.info = run.data.info()
    training_step(run).write(folder / "train_step")
    draws = {}
    for name, (words, sampler) in ours.samplers(model.sde, options).items():
        count = options.best_samples if name == "best" else options.num_samples
        sampling = model.sampling(sampler, options.sample_batch, jit_compile=True)
        function = programs.sampler(model.state, sampling, model.info)
        programs.as_program(model.state, function).write(folder / name, describe=True)
        draws[name] = {"sampler": words, "nfe": sampler.nfe(), "count": count}
    multiply, add = line_to_network(model.info)
    job = {key: getattr(options, key) for key in ("variant", "seed", "steps", "gin_bindings")}
    job |= {"multiply": multiply, "add": add, "draws": draws}
    (folder / JOB).write_text(json.dumps(job, indent=2) + "\n")


def run(options: argparse.Namespace) -> None:
    """Trains and draws each job that is not done; needs neither TensorFlow nor lcss_tf."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # float32 as CPUs have it
    sys.path.insert(0, str(ROOT / "tools"))
    import jax

    options.results.mkdir(parents=True, exist_ok=True)
    # Seeds of a variant have one program, which is compiled once.
    jax.config.update("jax_compilation_cache_dir", str(options.results / "compiled"))
    images = common.training_images(options.data)
    for folder in _jobs(options):
        out = options.results / folder.name
        if not (out / DONE).is_file():
            out.mkdir(exist_ok=True)
            _run(folder, out, images, options)


def _run(folder: Path, out: Path, images: np.ndarray, options: Any) -> None:
    import jax
    import run_program

    job = json.loads((folder / JOB).read_text())
    data = out / "data.npz"
    np.savez(data, x=images, multiply=np.float32(job["multiply"]), add=np.float32(job["add"]))
    trainer = run_program.Trainer(folder / "train_step", str(data), block=options.block)
    data.unlink()
    compile_s, memory = trainer.compile()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    print(f"{folder.name}: compiled in {compile_s:.0f} s", flush=True)
    trainer.take_block(min(options.block, job["steps"]))  # the first warms up
    first, start = trainer.step, time.perf_counter()
    for line in trainer.train(job["steps"]):
        print(f"{folder.name}: {line}", flush=True)
    seconds = time.perf_counter() - start
    rate = (trainer.step - first) * trainer.batch_size / seconds
    run_program.save_state(out / STATE, trainer.arrays(), trainer.step)
    done = job | {
        "device": jax.devices()[0].device_kind, "batch_size": trainer.batch_size,
        "steps": trainer.step, "seconds": seconds, "images_per_second": rate,
        "compile_s": compile_s, "peak_mib": peak / 2**20,
    }  # fmt: skip
    for name, draw in done["draws"].items():
        start = time.perf_counter()
        samples, _, _ = run_program.draw(
            folder / name, str(out / STATE), draw["count"], job["seed"] + 1, None
        )
        np.savez_compressed(out / f"samples_{name}.npz", samples=samples)
        draw |= {"step": trainer.step, "seconds": time.perf_counter() - start}
    if options.half:
        run_program.save_state(out / STATE, trainer.arrays(), trainer.step, half=True)
    (out / DONE).write_text(json.dumps(done, indent=2) + "\n")
    print(f"{folder.name}: done", flush=True)


def collect(options: argparse.Namespace) -> None:
    """Makes of the results of one seed what ``ours.py`` would have left in ``--out``."""
    for folder in _jobs(options):
        place = options.results / folder.name
        if not (place / DONE).is_file():
            print(f"{folder.name} is not done.")
            continue
        done = json.loads((place / DONE).read_text())
        if done["seed"] != options.seed:
            continue
        out = options.out / done["variant"]
        if out.is_dir() and any(out.iterdir()):
            raise ValueError(f"{out} is not empty. Give another --out, or move it away.")
        _collect(place, out, SimpleNamespace(**vars(options) | done))
        print(f"Collected {out}", flush=True)


def _collect(place: Path, out: Path, options: Any) -> None:
    import ours

    from lcss_tf.commands.import_state import import_state

    ours.load_configuration(options)
    _, model = import_state(place / STATE, out / "run")
    facts = ours.facts_of(model, options) | {"device": options.device, "samples": options.draws}
    for name in options.draws:
        shutil.copy(place / f"samples_{name}.npz", out)
    common.write_facts(out, facts)


def _jobs(options: Any) -> list[Path]:
    """The folders of the jobs that are asked for: of all, unless some are named."""
    found = sorted(path.parent for path in options.folder.glob(f"*/{JOB}"))
    names = options.jobs or [path.name for path in found]
    if missing := sorted(set(names) - {path.name for path in found}):
        raise ValueError(f"{options.folder} has no job {', '.join(missing)}. Export it.")
    return [options.folder / name for name in names]


def arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parts = made.add_subparsers(required=True)
    own = {name: parts.add_parser(name, help=call.__doc__) for name, call in _COMMANDS.items()}
    for name, parser in own.items():
        parser.set_defaults(call=_COMMANDS[name])
        parser.add_argument("folder", type=Path, help="of the jobs")
        parser.add_argument("--data", default=common.DATA, help="folder of the IDX files")
        if name != "export":
            parser.add_argument("jobs", nargs="*", help="of the folder; all unless given")
            parser.add_argument("--results", type=Path, required=True, help="what `run` leaves")
    add = own["export"].add_argument
    add("--rates", type=Path, required=True, help="rivals.json of a short run on quiet cores")
    add("--seconds", type=float, default=2_700.0, help="whose steps are taken at that pace")
    add("--variants", nargs="+", default=["lcss"], help="of ours.py")
    add("--seeds", nargs="+", type=int, default=[0])
    add("--num_samples", type=int, default=10_000, help="of samples_50nfe.npz")
    add("--best_samples", type=int, default=1_000, help="of samples_best.npz")
    add("--sample_batch", type=int, default=1_000, help="samples drawn at a time")
    add("--gin_bindings", action="append", default=[], help="of yours, applied last")
    add("--nfe", type=int, default=50, help="evaluations of samples_50nfe.npz")
    add("--best_nfe", type=int, default=1_000, help="evaluations of samples_best.npz")
    add = own["run"].add_argument
    add("--block", type=int, default=50, help="steps to a call of the device")
    add("--half", action="store_true", help="keep the average of the weights alone, in float16")
    add = own["collect"].add_argument
    add("--seed", type=int, default=0, help="whose results are collected")
    add("--out", type=Path, required=True, help="of compare.py")
    return made.parse_args()


_COMMANDS = {"export": export, "run": run, "collect": collect}

if __name__ == "__main__":
    chosen = arguments()
    common.told(lambda: chosen.call(chosen))
