"""Samples of all competitors above each other, those nearest to the test images first.

    python research/rivals/picture.py runs/rivals docs/images/rivals.png

The folder has `compare.py`'s ``rivals.json``, and a strip of samples ``NAME.png`` of each.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

REAL = "real"  # the name of the strip of training images
ROWS, COLUMNS, SCALE = 2, 16, 2  # of a strip; pixels are shown this many times as large
LABEL_PX, GAP_PX, TEXT_PX = 220, 10, 16


def write_strip(path: Path, samples: np.ndarray) -> None:
    """The first samples [N, H, W, 1], uint8, as a picture of `ROWS` rows."""
    shown = samples[: ROWS * COLUMNS, :, :, 0]
    if len(shown) < ROWS * COLUMNS:  # black where there are too few
        shown = np.pad(shown, ((0, ROWS * COLUMNS - len(shown)), (0, 0), (0, 0)))
    height, width = shown.shape[1:]
    rows = shown.reshape(ROWS, COLUMNS, height, width).swapaxes(1, 2)
    with common.whole(path) as place:
        Image.fromarray(rows.reshape(ROWS * height, COLUMNS * width)).save(place)


def write_real_strip(path: Path, images: np.ndarray) -> None:
    """The same of training images, chosen at random by one seed."""
    chosen = np.random.default_rng(0).choice(len(images), min(ROWS * COLUMNS, len(images)), False)
    write_strip(path, images[chosen])


def write_picture(
    path: Path, folder: Path, entries: Sequence[Mapping[str, Any]], distances: Mapping[str, float]
) -> None:
    """The strips in `folder` of those that have a distance, by distance, under that of real ones.

    Args:
      entries: of ``rivals.json``, for the names of the libraries.
      distances: {name: Fréchet distance}; that of real images by the name `REAL`.
    """
    libraries = {entry["name"]: entry["facts"].get("library", "") for entry in entries}
    rows = [
        (name, [name, libraries[name], f"Fréchet distance {distances[name]:.3g}"])
        for name in sorted(distances.keys() - {REAL}, key=lambda name: distances[name])
    ]
    of_real = f"Fréchet distance {distances[REAL]:.3g}" if REAL in distances else ""
    rows.insert(0, (REAL, ["real training images", of_real, "(lower is better)"]))
    rows = [(name, texts) for name, texts in rows if (folder / f"{name}.png").is_file()]
    if len(rows) < 2:
        return  # nothing is judged yet
    strips = [Image.open(folder / f"{name}.png") for name, _ in rows]
    shown = [
        strip.resize((SCALE * strip.width, SCALE * strip.height), Image.Resampling.NEAREST)
        for strip in strips
    ]
    size = (
        LABEL_PX + max(strip.width for strip in shown) + GAP_PX,
        sum(strip.height + GAP_PX for strip in shown) + GAP_PX,
    )
    canvas, top = Image.new("L", size, 255), GAP_PX
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), TEXT_PX)
    for strip, (_, texts) in zip(shown, rows, strict=True):
        canvas.paste(strip, (LABEL_PX, top))
        for line, text in enumerate(dict.fromkeys(texts)):
            draw.text((GAP_PX, top + line * (TEXT_PX + 6)), text, fill=0, font=font)
        top += strip.height + GAP_PX
    with common.whole(path) as place:
        canvas.save(place)


def main() -> None:
    """The command."""
    import compare

    made = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    made.add_argument("folder", type=Path, help="with rivals.json and the strips")
    made.add_argument("picture", type=Path, help="what is written, a .png")
    options = made.parse_args()
    entries = json.loads((options.folder / "rivals.json").read_text())["entries"]
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    write_picture(options.picture, options.folder, entries, compare.distances(entries))
    print(f"Wrote {options.picture}")


if __name__ == "__main__":
    common.told(main)
