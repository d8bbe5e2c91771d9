"""What a prepared dataset holds: counts, sizes, rejects, mean and standard deviation, examples."""

import collections
import os
from typing import Any

import numpy as np

from lcss_tf.display import Bar, Tolerance
from lcss_tf.files import write_json, write_text
from lcss_tf.plots import images
from lcss_tf.preparation.conversion import Source
from lcss_tf.texts import markdown

_SHOWN = 64  # examples in the picture
_MAX_NAMED = 20  # rejected files named in the text


def report(
    builder: Any, rejected: list[str], folder: str, source: Source, left_out: dict[str, int]
) -> tuple[dict[str, Any], str]:
    """Reads the dataset once; writes ``report.json``, ``report.md`` and ``examples.png``.

    Args:
      builder: the complete TFDS builder.
      rejected: reasons, a list of texts.
      folder: where to write.
      source: the `Source`, which is recorded.
      left_out: how many files of the source are no images, by what they are.

    Returns:
      The report as a dict, and its text.
    """
    counts, values = {}, 0
    sums: Any = 0.0  # arrays [C] from the first image on
    squares: Any = 0.0
    sizes: collections.Counter[str] = collections.Counter()
    modes: collections.Counter[str] = collections.Counter()
    formats: collections.Counter[str] = collections.Counter()
    shown = []
    total = sum(split.num_examples for split in builder.info.splits.values())
    shown_at = set(np.linspace(0, total - 1, min(_SHOWN, total)).astype(int))
    with Bar(total, "checking", "images") as bar:
        for split in sorted(builder.info.splits, reverse=True):  # train first
            records = builder.as_dataset(split=split, shuffle_files=False)
            counts[split] = 0
            for record in records.as_numpy_iterator():
                image = record["image"].astype(np.float64) / 255.0
                sums = sums + image.sum(axis=(0, 1))
                squares = squares + np.square(image).sum(axis=(0, 1))
                values += image.shape[0] * image.shape[1]
                sizes[f"{record['width']}×{record['height']}"] += 1
                modes[record["mode"].decode()] += 1
                formats[record["format"].decode()] += 1
                if bar.n in shown_at:
                    shown.append(record["image"])
                counts[split] += 1
                bar.update()
    mean = sums / values
    features = builder.info.features
    result = {
        "dataset": builder.info.full_name,
        "made_from": source.described(),
        "examples": counts,
        "shape": list(features["image"].shape),
        "source_sizes": dict(sizes.most_common()),
        "source_modes": dict(modes.most_common()),
        "source_formats": dict(formats.most_common()),
        "rejected": rejected,
        "left_out": left_out,
        "mean": mean.tolist(),
        "standard_deviation": np.sqrt(np.maximum(squares / values - mean**2, 0.0)).tolist(),
        "classes": list(features["label"].names) if "label" in features else [],
    }
    text = as_text(result)
    picture = os.path.join(folder, "examples.png")
    draw = lambda: images.write_png(picture, images.grid(np.stack(shown)))
    Tolerance()(f"The picture {picture}", draw)
    write_text(os.path.join(folder, "report.md"), text)
    # Last: it says that the dataset is complete.
    write_json(os.path.join(folder, "report.json"), result)
    return result, text


def as_text(result: dict[str, Any]) -> str:
    """The report for people, in Markdown."""
    numbers = lambda values: ", ".join(f"{value:.4f}" for value in values)
    most = lambda counts: (
        ", ".join(f"{markdown(name)}: {count:,}" for name, count in list(counts.items())[:8])
        + (" …" if len(counts) > 8 else "")
    )
    lines = [
        f"# {markdown(result['dataset'])}",
        "",
        f"- examples: {', '.join(f'{n:,} in {split}' for split, n in result['examples'].items())}",
        f"- shape: {'×'.join(map(str, result['shape']))}",
        f"- source sizes: {most(result['source_sizes'])}",
        f"- source modes: {most(result['source_modes'])}",
        f"- source formats: {most(result['source_formats'])}",
        f"- mean of each channel, white being 1: {numbers(result['mean'])}",
        f"- standard deviation: {numbers(result['standard_deviation'])}",
        f"- classes: {', '.join(map(markdown, result['classes'])) or 'none'}",
        f"- rejected: {len(result['rejected']):,}",
        *(f"  - {markdown(reason)}" for reason in result["rejected"][:_MAX_NAMED]),
    ]
    if len(result["rejected"]) > _MAX_NAMED:
        lines.append("  - … all are in report.json")
    left_out = result["left_out"]
    lines.append(f"- left out, no images: {sum(left_out.values()):,}")
    lines += [f"  - {markdown(what)}: {count:,}" for what, count in left_out.items()]
    return "\n".join(lines) + "\n"


__all__ = ["as_text", "report"]
