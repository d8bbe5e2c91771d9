"""Remakes the pictures of the documentation, and trains the runs that they need.

    python tools/pictures.py            # all of them; what is trained already is not trained again
    python tools/pictures.py fashion    # those whose names begin so
    python tools/pictures.py --list     # each picture with the commands that make it

Runs lie in runs/, pictures in docs/images/. Fashion-MNIST must be there (docs/data.md).
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
FASHION, DIGITS = "lcss_fashion_small", "lcss_digits"


class Picture(NamedTuple):
    """A picture of the documentation.

    name: its file in docs/images. recipe: the gin file whose run it shows; None: none. command:
    what draws it, without ``lcss``; ``{run}`` is the run's folder, ``{out}`` a path without suffix.
    made: where the command leaves it, with the same words; the newest of a pattern.
    """

    name: str
    recipe: str | None
    command: str
    made: str = "{out}.png"


_SAMPLE = "sample --workdir={run} --out={out}"
_CLASSES = f"{_SAMPLE} --num_samples=20 --seed=1"
_TASK = f"{_SAMPLE} --input=test:6"
_SDE = "--gin_bindings=sample.sampler=@samplers.EulerMaruyama()"
_STEPS = f"{_SDE} --gin_bindings=EulerMaruyama.num_steps=200"
_GIVEN = f"{_TASK} {_STEPS}"
_BLUR = f"{_GIVEN} --task=operator --operator=GaussianBlur --gin_bindings=GaussianBlur.std=1.5"
_DEBLUR = f"{_BLUR} --noise_std=0.05 --num_samples=6 --gin_bindings=posterior.method="
_WAY = f"{_SAMPLE} --trajectory"
_MIXTURE = "quality --gin_file=quality/mixture64.gin --gin_bindings=NFESweep.repeats=4"
_SOAK = "benchmark --soak --gin_file=benchmark/soak.gin"
PICTURES = (
    Picture("fashion.png", FASHION, f"{_SAMPLE} --num_samples=60 --guidance=2"),
    Picture("fashion_guidance_1.png", FASHION, f"{_CLASSES} --guidance=1"),
    Picture("fashion_guidance_4.png", FASHION, f"{_CLASSES} --guidance=4"),
    Picture("fashion_inpaint.png", FASHION, f"{_GIVEN} --task=inpaint --num_samples=6"),
    Picture(
        "fashion_superresolve.png",
        FASHION,
        f"{_GIVEN} --task=superresolve --factor=4 --num_samples=6",
    ),
    Picture(
        "fashion_upsample.png",
        "lcss_fashion_upsample",
        f"{_SAMPLE} {_STEPS} --condition=test:6 --num_samples=24",
    ),
    Picture(
        "fashion_upsample_free.png",
        FASHION,
        f"{_GIVEN} --task=superresolve --factor=2 --num_samples=4",
    ),
    Picture("fashion_deblur_guidance.png", FASHION, f"{_DEBLUR}@methods.PseudoinverseGuidance()"),
    Picture("fashion_deblur_diffpir.png", FASHION, f"{_DEBLUR}@methods.DiffPIR()"),
    Picture("fashion_deblur_dps.png", FASHION, f"{_DEBLUR}@methods.DPS()"),
    Picture("fashion_edit.png", FASHION, f"{_TASK} --task=edit --strength=0.4 --num_samples=6"),
    Picture("fashion_interpolate.png", FASHION, f"{_TASK} --task=interpolate"),
    Picture("fashion_trajectory.png", FASHION, f"{_WAY} --num_samples=16", "{out}_trajectory.png"),
    Picture("fashion_trajectory.gif", FASHION, f"{_WAY} --num_samples=16", "{out}_trajectory.gif"),
    Picture("digits.png", DIGITS, f"{_SAMPLE} --num_samples=64"),
    Picture(
        "checkerboard_trajectory.png",
        "lcss_checkerboard",
        f"{_WAY} --num_samples=2_000",
        "{out}_trajectory.png",
    ),
    Picture("signal_waveforms.png", "lcss_signal", "", "{run}/samples/waveforms_*.png"),
    Picture("signal_spectra.png", "lcss_signal", "", "{run}/samples/spectra_*.png"),
    Picture("table_pairs.png", "lcss_table", "", "{run}/samples/pairs_*.png"),
    Picture(
        "table_given.png", "lcss_table_given", f"{_SAMPLE} --condition=test:114 --num_samples=2280"
    ),
    Picture("volume_slices.png", "lcss_volume", "", "{run}/samples/slices_*.png"),
    Picture("quality_digits.png", DIGITS, "quality --workdir={run}", "{run}/quality/quality.png"),
    Picture("quality_mixture64.png", None, f"{_MIXTURE} --workdir={{out}}", "{out}/quality.png"),
    Picture("soak.png", None, f"{_SOAK} --workdir={{out}}", "{out}/soak.png"),
    Picture("first_model.png", None, "first_model.py", "{out}.png"),
    Picture("own_sde.png", None, "own_sde.py", "{out}.png"),
    Picture("images_with_classes.png", None, "images_with_classes.py", "{out}.png"),
    Picture("images_guided.png", None, "images_with_classes.py", "{out}.png"),
    Picture("house.png", None, "tools/house.py --picture={out}.png"),
    Picture("rivals.png", None, "research/rivals/picture.py docs/results/rivals {out}.png"),
    Picture("my_sde.png", "my_sde", "examples/my_sde_picture.py {run} {out}.png"),
)


def commands(picture: Picture) -> tuple[list[list[str]], Path]:
    """(the commands that make a picture, where the last leaves it)."""
    words = {
        "run": str(ROOT / "runs" / (picture.recipe or "")),
        "out": str(ROOT / "runs" / "pictures" / Path(picture.name).stem),
    }
    lcss, found = [sys.executable, "-m", "lcss_tf"], []
    if picture.recipe == "my_sde":
        example = str(ROOT / "examples" / "my_sde")
        train = [f"--gin_file={example}.gin", f"--import={example}.py"]
        found.append([*lcss, "train", *train, f"--workdir={words['run']}"])
    elif picture.recipe:
        recipe = f"--gin_file={picture.recipe}.gin"
        found.append([*lcss, "train", recipe, f"--workdir={words['run']}"])
    if picture.command:
        asked = [word.format(**words) for word in shlex.split(picture.command)]
        if picture.name.startswith(("first", "own", "images")):  # a notebook's, written beside it
            asked[0] = str(ROOT / "examples" / "notebooks" / asked[0])
        start = [sys.executable] if asked[0].endswith(".py") else lcss
        found.append([*start, *asked])
    return found, Path(picture.made.format(**words))


def newest(pattern: Path) -> Path:
    """The newest file that a pattern fits.

    Raises:
      FileNotFoundError: none does.
    """
    files = sorted(pattern.parent.glob(pattern.name), key=lambda path: path.stat().st_mtime)
    if not files:
        raise FileNotFoundError(f"No picture was made: {pattern}")
    return files[-1]


def main(arguments: list[str] | None = None) -> int:
    """The command; the number of pictures that could not be made."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    parser.add_argument("--list", action="store_true", help="only say what would be run")
    args = parser.parse_args(arguments)
    chosen = [p for p in PICTURES if p.name.startswith(tuple(args.names) or ("",))]
    done: set[tuple[str, ...]] = set()
    failed = 0
    for picture in chosen:
        steps, made = commands(picture)
        print(f"{picture.name}:", flush=True)
        try:
            for command in steps:
                print(f"  {shlex.join(command)}", flush=True)
                if args.list or tuple(command) in done:
                    continue
                place = made.parent if "notebooks" in command[1] else ROOT
                place.mkdir(parents=True, exist_ok=True)
                subprocess.run(command, check=True, cwd=place)
                done.add(tuple(command))
            if not args.list:
                shutil.copyfile(newest(made), IMAGES / picture.name)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"  not made: {error}", flush=True)
            failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
