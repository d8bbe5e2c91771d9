"""Samples of all competitors above each other, those nearest to the test images first.

    python research/rivals/picture.py runs/rivals docs/images/rivals.png

The folder has `compare.py`'s ``rivals.json``, and a strip of samples ``NAME.png`` of each. Drawn by
Pillow alone: `lcss_tf.plots` would load TensorFlow into the process that waits for trainings.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

DRAW = common.DRAWS[0]  # whose samples are shown
REAL = "real"  # the name of the strip of training images
ROWS, COLUMNS, SCALE = 2, 16, 2  # of a strip; pixels are shown this many times as large
GAP_PX, TEXT_PX = 10, 16


def distances(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """{competitor: Fréchet distance of its first draw}, and of real images by `REAL`.

    Those that are not judged are left out.
    """
    found = {e["name"]: common.figure(e["figures"].get(DRAW, {}), "frechet") for e in entries}
    judged = {name: one for name, one in found.items() if one is not None}
    real = [one[2] for one in judged.values() if one[2] is not None]
    of_real = {REAL: real[0]} if real else {}
    return of_real | {name: one[0] for name, one in judged.items()}


def write_strip(path: Path, samples: np.ndarray) -> None:
    """The first samples [N, H, W, 1], uint8, as a picture of `ROWS` rows."""
    height, width = samples.shape[1:3]
    shown = np.zeros((ROWS * COLUMNS, height, width), np.uint8)  # black where there are too few
    first = samples[: ROWS * COLUMNS, :, :, 0]
    shown[: len(first)] = first
    rows = shown.reshape(ROWS, COLUMNS, height, width).swapaxes(1, 2)
    with common.whole(path) as place:
        Image.fromarray(rows.reshape(ROWS * height, COLUMNS * width)).save(place)


def some(images: np.ndarray) -> np.ndarray:
    """As many images as a strip shows, chosen at random by one seed."""
    count = min(ROWS * COLUMNS, len(images))
    return images[np.random.default_rng(0).choice(len(images), count, replace=False)]


def write_picture(path: Path, folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """The strips in `folder` of the judged `entries` of ``rivals.json``, under that of real images.

    Nothing is written where none is judged.
    """
    libraries = {entry["name"]: entry["facts"].get("library", "") for entry in entries}
    distance = distances(entries)
    rows = []
    for name in sorted(distance.keys() - {REAL}, key=lambda name: distance[name]):
        own, _, rate = name.partition(common.AT)
        library = f"{libraries[name]}, learning rate {rate}" if rate else libraries[name]
        rows.append((name, [own, library, f"Fréchet distance {distance[name]:.3g}"]))
    of_real = f"Fréchet distance {distance[REAL]:.3g}" if REAL in distance else ""
    rows.insert(0, (REAL, ["real training images", of_real, "(lower is better)"]))
    rows = [(name, texts) for name, texts in rows if (folder / f"{name}.png").is_file()]
    if len(rows) < 2:
        return
    strips = [Image.open(folder / f"{name}.png") for name, _ in rows]
    shown = [
        strip.resize((SCALE * strip.width, SCALE * strip.height), Image.Resampling.NEAREST)
        for strip in strips
    ]
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), TEXT_PX)
    longest = max(font.getlength(text) for _, texts in rows for text in texts)
    left, top = 2 * GAP_PX + math.ceil(longest), GAP_PX
    width = left + max(strip.width for strip in shown) + GAP_PX
    canvas = Image.new("L", (width, sum(strip.height + GAP_PX for strip in shown) + GAP_PX), 255)
    draw = ImageDraw.Draw(canvas)
    for strip, (_, texts) in zip(shown, rows, strict=True):
        canvas.paste(strip, (left, top))
        for line, text in enumerate(texts):
            draw.text((GAP_PX, top + line * (TEXT_PX + 6)), text, fill=0, font=font)
        top += strip.height + GAP_PX
    with common.whole(path) as place:
        canvas.save(place)


def main() -> None:
    """The command."""
    made = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    made.add_argument("folder", type=Path, help="with rivals.json and the strips")
    made.add_argument("picture", type=Path, help="what is written, a .png")
    options = made.parse_args()
    source = options.folder / "rivals.json"
    try:
        entries = json.loads(source.read_text())["entries"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source} was not written by compare.py: {error!r}.") from error
    if not distances(entries):
        raise ValueError(f"{source} has no competitor that is judged. Run compare.py to its end.")
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    write_picture(options.picture, options.folder, entries)
    print(f"Wrote {options.picture}")


if __name__ == "__main__":
    common.told(main)
