"""Ours and public libraries on Fashion-MNIST: the same cores, the same seconds, the same judge.

    python research/rivals/compare.py --seconds=1500 --out=runs/rivals

Trains one after the other, each in its own environment, draws its samples, and judges them all
by ``lcss evaluate --samples=... --reference=FashionMNIST``. Writes ``rivals.md``, ``rivals.json``,
a strip of samples of each, ``NAME.png``, and ``rivals.png``, which has all strips.
Run the same command again to resume. A competitor that fails is named, and ends no other.

    python research/rivals/compare.py --seconds=90 --train_only --out=runs/rates
    python research/rivals/compare.py --seconds=2700 --rates=runs/rates/rivals.json --out=...

The first measures the pace of all on quiet cores. The second gives each as many steps as fit into
2,700 seconds at that pace, so that it may itself run beside other work, in parts and on days.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import ours
import picture

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RIVALS = sorted(path.stem for path in (HERE / "requirements").glob("*.txt"))
# Entries of other settings do not stand in one table.
SETTINGS = ("seconds", "steps", "num_samples", "best_samples", "nfe", "best_nfe", "threads", "seed")
METRICS = ("frechet", "precision", "recall")
HEADER = [
    "competitor", "parameters", "batch", "steps", "images/s", "peak MiB",
    "Fréchet, 50 NFE", "precision", "recall", "Fréchet, best", "precision", "recall",
]  # fmt: skip


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, or that which is given."""
    made = common.parser(__doc__)
    add = made.add_argument
    everyone = [*ours.VARIANTS, *RIVALS]
    add("--only", nargs="+", choices=everyone, default=everyone, help="competitors")
    add(
        "--also_learning_rate", type=float,
        help="train each rival once more at this rate, such as ours, 2e-3",
    )  # fmt: skip
    add(
        "--rates", type=Path,
        help="rivals.json of a short run on quiet cores: train the steps that fit at its pace",
    )  # fmt: skip
    add(
        "--judge_only", action="store_true",
        help="judge the samples that are there; train and draw nothing",
    )  # fmt: skip
    return made.parse_args(given)


def paces(path: Path | None) -> dict[str, dict[str, Any]]:
    """{competitor: its facts} of an earlier run; empty without a path.

    Raises:
      OSError, ValueError: it cannot be read, or is no ``rivals.json``.
    """
    if path is None:
        return {}
    try:
        entries = json.loads(path.read_text())["entries"]
        return {entry["name"]: entry["facts"] for entry in entries if entry["facts"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no rivals.json of this script ({error}). Make one by "
            "compare.py --seconds=90 --train_only --out=FOLDER."
        ) from error


def steps_that_fit(facts: Mapping[str, Any], seconds: float) -> int:
    """Training steps in so many seconds at the pace of `facts`; at least 1."""
    return max(1, round(seconds * facts["images_per_second"] / facts["batch_size"]))


def commands(options: Any, known: Mapping[str, Any]) -> dict[str, list[str]]:
    """{competitor: the command that trains it and draws its samples}, in order.

    `known` are the `paces` of ``--rates``.
    """
    found: dict[str, list[str]] = {}
    names = (
        "num_samples", "best_samples", "sample_batch", "nfe", "best_nfe", "threads", "seed", "data"
    )  # fmt: skip
    shared = [f"--{name}={getattr(options, name)}" for name in names] + ["--resume"]
    shared += ["--train_only"] * options.train_only + ["--draws", *options.draws]
    if options.steps is not None:
        shared.append(f"--steps={options.steps}")
        if known:
            raise ValueError("--steps and --rates both say how long to train: give one of them.")
    if options.rates is not None and (missing := sorted(set(options.only) - known.keys())):
        raise ValueError(
            f"{options.rates} has no pace of {', '.join(missing)}. Measure it, or use --only."
        )
    for name in options.only:
        out, seconds = options.out / name, options.seconds
        own = [*shared]
        if name in known:
            own.append(f"--steps={steps_that_fit(known[name], seconds)}")
        if name in ours.VARIANTS:
            found[name] = [
                sys.executable, str(HERE / "ours.py"), f"--variant={name}",
                f"--seconds={seconds}", f"--out={out}", *own,
            ]  # fmt: skip
            continue
        found[name] = [str(HERE / "run.sh"), name, str(seconds), str(out), *own]
        if options.also_learning_rate is not None:
            again = f"{name}{common.AT}{options.also_learning_rate:g}"
            rate = f"--learning_rate={options.also_learning_rate}"
            found[again] = [
                str(HERE / "run.sh"), name, str(seconds), str(options.out / again), *own, rate
            ]  # fmt: skip
    return found


def judge(samples: Path, options: Any) -> dict[str, Any]:
    """The figures of `lcss evaluate` for a file of samples; those of the same file are kept."""
    out = samples.with_name(f"{samples.stem}_evaluation")
    figures = out / "metrics.json"
    if not figures.is_file() or figures.stat().st_mtime < samples.stat().st_mtime:
        command = [
            sys.executable, str(ROOT / "bin" / "evaluate.py"), f"--samples={samples}",
            "--reference=FashionMNIST", f"--out={out}",
        ]  # fmt: skip
        with np.load(samples) as file:
            bound = judge_bindings(len(file["samples"]), options.data)
        subprocess.run([*command, *(f"--gin_bindings={text}" for text in bound)], check=True)
    return json.loads(figures.read_text())


def judge_bindings(count: int, data: str) -> list[str]:
    """What the judge looks at: all samples of a file, by which its metrics are named."""
    by_classifier = ("Frechet", "KID", "PrecisionRecall")
    return [
        f"FashionMNIST.data_dir = {data!r}",
        "Classifier.data = @datasets.FashionMNIST()",
        "judge/singleton.constructor = @features.Classifier",
        "Evaluation.metrics = (@metrics.PixelFrechet(), "
        + ", ".join(f"@metrics.{name}()" for name in by_classifier)
        + ")",
        *(f"{name}.extractor = @judge/singleton()" for name in by_classifier),
        *(f"{name}.num_samples = {count}" for name in ("PixelFrechet", *by_classifier)),
    ]


def table(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The rows under `HEADER`: real images first, then the competitors as they are given.

    Args:
      entries: {"name", "facts", "figures": {"50nfe" and "best": those of metrics.json}, "failed":
        what failed, or None}. There are no facts where nothing was trained, and no figures of a
        draw that failed.
    """
    rows = []
    for entry in entries:
        facts, note = entry["facts"], f", failed: {entry['failed']}" if entry["failed"] else ""
        if not facts:
            rows.append([entry["name"] + note, *[""] * (len(HEADER) - 1)])
            continue
        row = [
            f"{entry['name']} ({facts['library']} {facts['version']}){note}",
            f"{facts['parameters']:,}", f"{facts['batch_size']:,}", f"{facts['steps']:,}",
            f"{facts['images_per_second']:.0f}", f"{facts['peak_mib']:,.0f}",
        ]  # fmt: skip
        for draw in common.DRAWS:
            figures = entry["figures"].get(draw, {})
            texts = [_text(common.figure(figures, metric)) for metric in METRICS]
            if figures and draw == "best":
                texts[0] += f" ({facts['samples'][draw]['nfe']:,} NFE)"
            row += texts
        rows.append(row)
    if any(entry["figures"] for entry in entries):
        real = [text for draw in common.DRAWS for text in _real(entries, draw)]
        rows.insert(0, ["real training images", *[""] * 5, *real])
    return rows


def _real(entries: Sequence[Mapping[str, Any]], draw: str) -> list[str]:
    """What as many real training images have by each metric as a draw has samples."""
    judged = next((e["figures"][draw] for e in entries if draw in e["figures"]), {})
    real = [common.figure(judged, metric) for metric in METRICS]
    return ["" if one is None or one[2] is None else f"{one[2]:.3g}" for one in real]


def _text(found: tuple[float, float, float | None] | None) -> str:
    return "" if found is None else f"{found[0]:.3g} ± {found[1]:.2g}"


def markdown(entries: Sequence[Mapping[str, Any]], options: Any) -> str:
    """``rivals.md``: how it was measured, and the table."""
    lines = [HEADER, ["---"] * len(HEADER), *table(entries)]
    budget = f"{options.seconds:g} training seconds each"
    if options.steps is not None:
        budget = f"{options.steps:,} training steps each"
    elif options.rates is not None:
        budget = (
            f"The steps that fit into {options.seconds:g} training seconds at the images/s shown, "
            "which were measured one after the other"
        )
    return (
        f"{budget}, {options.threads} threads, seed {options.seed}; "
        f"{options.num_samples:,} samples of the first draw and "
        f"{options.best_samples:,} of the best, judged against held-out images by the features of "
        "one classifier. Errors are over the samples.\n\n"
        + "\n".join(f"| {' | '.join(line)} |" for line in lines)
        + "\n"
    )


def compete(name: str, command: Sequence[str], options: Any) -> dict[str, Any]:
    """Runs a competitor and judges what it drew; an entry for `table`."""
    out, figures = options.out / name, {}
    status = 0
    if not options.judge_only:
        print(f"\n{name}: {' '.join(command)}", flush=True)
        status = subprocess.run(command).returncode
    failed = f"status {status}" if status else None
    facts = common.read_facts(out)
    for draw in common.DRAWS:
        if facts.get("samples", {}).get(draw, {}).get("step") != facts.get("steps", -1):
            continue  # not drawn, or of earlier weights
        try:
            figures[draw] = judge(out / f"samples_{draw}.npz", options)
        except subprocess.CalledProcessError as error:
            failed = f"the judge of {draw}, status {error.returncode}"
    return {"name": name, "facts": facts, "figures": figures, "failed": failed}


def draw_pictures(name: str, entries: Sequence[Mapping[str, Any]], options: Any) -> None:
    """The strip of a competitor that was judged, and the picture of all; a failure is told."""
    samples = options.out / name / f"samples_{picture.DRAW}.npz"
    try:
        if name in picture.distances(entries):
            with np.load(samples) as file:
                picture.write_strip(options.out / f"{name}.png", file["samples"])
        picture.write_picture(options.out / "rivals.png", options.out, entries)
    except (OSError, ValueError) as error:
        print(f"No picture of {name}: {error}")


def earlier(path: Path, settings: Mapping[str, str]) -> list[dict[str, Any]]:
    """The entries of ``rivals.json``, where it is there and of the same settings."""
    if not path.is_file():
        return []
    found = json.loads(path.read_text())
    if found["options"] == settings:
        return found["entries"]
    print(f"{path} is of other settings, {found['options']}: its entries leave the table.")
    return []


def _own_name(name: str) -> str:
    """The name of a competitor, whatever its learning rate."""
    return name.partition(common.AT)[0]


def in_order(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries as `ours.VARIANTS` and `RIVALS` have them, whatever was run first."""
    order = [*ours.VARIANTS, *RIVALS]
    place = {name: index for index, name in enumerate(order)}
    return sorted(entries, key=lambda e: (place.get(_own_name(e["name"]), len(order)), e["name"]))


def run(options: Any) -> None:
    """The comparison.

    Raises:
      ValueError, OSError: before any training.
    """
    options.resume, options.data = True, str(Path(options.data).resolve())
    options.out = options.out.resolve()
    common.check(options)
    real = picture.some(common.training_images(options.data))
    if shutil.which("sh") is None:
        raise FileNotFoundError("run.sh needs a shell, sh, and there is none.")
    known, settings = paces(options.rates), {key: str(getattr(options, key)) for key in SETTINGS}
    todo = commands(options, known)
    options.out.mkdir(parents=True, exist_ok=True)
    picture.write_strip(options.out / f"{picture.REAL}.png", real)
    entries = earlier(options.out / "rivals.json", settings)
    for name, command in todo.items():
        entry = compete(name, command, options)
        pace = known.get(_own_name(name))
        if pace and entry["facts"]:  # on quiet cores, whatever these were
            entry["facts"] |= {key: pace[key] for key in ("images_per_second", "peak_mib")}
        entries = in_order([*(e for e in entries if e["name"] != name), entry])
        content = json.dumps({"options": settings, "entries": entries}, indent=2)
        for file, text in (("rivals.json", content), ("rivals.md", markdown(entries, options))):
            with common.whole(options.out / file) as place:
                place.write_text(text)
        draw_pictures(name, entries, options)
    print(f"\n{markdown(entries, options)}\nWrote {options.out / 'rivals.md'}")
    if any(entry["failed"] for entry in entries):
        sys.exit(1)


if __name__ == "__main__":
    chosen = arguments()
    common.told(lambda: run(chosen))
