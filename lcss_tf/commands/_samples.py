"""Measures samples in a file, whoever made them, as `evaluate` measures those of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np

from lcss_tf import files, plots
from lcss_tf.commands import _gin, _runs
from lcss_tf.commands._gin import ConfigError
from lcss_tf.commands._inputs import read_array
from lcss_tf.commands._report import write_samples_report
from lcss_tf.commands._results import csv_of, flat_figures, rows
from lcss_tf.data import DataInfo, Idx, InMemory
from lcss_tf.data.idx import idx_paths
from lcss_tf.data.numpy_files import is_archive, member_names, read_member
from lcss_tf.errors import UsageError
from lcss_tf.metrics import MetricSuite, default_metrics
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array

_AT_ONCE = 1_024  # samples whose features are extracted at once
_KINDS = (
    "a gin file, a run's directory, the name of a data set such as FashionMNIST, a folder or ZIP "
    "archive of images, a folder of IDX files, or a .npy or .npz file of real examples"
)


def evaluate_samples(
    path: str | Path,
    reference: str,
    out: str | Path | None = None,
    bindings: Sequence[str] = (),
    imports: Sequence[str] = (),
) -> dict[str, Any]:
    """Measures the samples in a file against real data; writes report, JSON, CSV and a picture.

    Args:
      path: a .npy or .npz file of samples [N, ...] in the data's own units: uint8 of images.
      reference: the real data, see `reference_data`.
      out: the folder to write into; by default ``<file>_evaluation`` beside the file.
      bindings: gin bindings, such as `Evaluation.metrics`; with none bound, `default_metrics` over
        1,000 samples, or all where there are fewer.
      imports: the user's modules that the bindings name.

    Returns:
      The flat figures that ``<out>/metrics.json`` holds.

    Raises:
      FileNotFoundError: no such file or data.
      UsageError: samples that do not look like the data, or too few for a metric.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Set --samples to a .npy or .npz file.")
    samples = read_array(str(path))
    data, seed = reference_data(reference, samples.shape, bindings, imports)
    info = data.info()
    samples = fitting(samples, info, str(path))
    # A fixed random order: a file may be sorted, by class for instance.
    samples = samples[np.random.default_rng(0).permutation(len(samples))]
    bound = gin.get_bindings("Evaluation")
    metrics = [*(bound.get("metrics") or []), *filter(None, [bound.get("metric")])]
    if not metrics:
        metrics = default_metrics(info, data, _at_most(len(samples), info, data))
    suite = MetricSuite(metrics, _gin.References(data, seed), progress=True)
    for metric in suite.metrics:
        if metric.num_samples > len(samples):
            raise UsageError(
                f"{path} holds {len(samples):,} samples, and {metric.name} takes "
                f"{metric.num_samples:,}. Draw more, or bind {type(metric).__name__}.num_samples = "
                f"{len(samples)}."
            )
    real = suite.real_values
    used = samples[: suite.num_samples]
    parts = (used[i : i + _AT_ONCE] for i in range(0, len(used), _AT_ONCE))
    values = suite.measure(parts)
    result = {
        "figures": rows(values, real),
        "real_split": suite.real_split if real else None,
        "counts": {"samples": len(samples), **suite.counts},
        "facts": suite.facts,
        "references": [str(place) for place in suite.reference_paths],
    }
    place = Path(out) if out else samples_place(path)
    flat = flat_figures(result)
    files.write_json(place / "metrics.json", flat, indent=2)
    files.write_text(place / "metrics.csv", csv_of([result]))
    picture = plots.main_view(samples[:_AT_ONCE], info, most=64)
    if picture is not None:
        plots.write_png(place / "grid.png", picture)
    summary = f"{len(samples):,} samples of {path.name}, against {info.name}"
    write_samples_report(place / "report.html", path.stem, summary, suite, result, samples, info)
    return flat


def samples_place(path: str | Path) -> Path:
    """Where the evaluation of a file goes by default: ``<file>_evaluation`` beside it."""
    return Path(path).with_name(f"{Path(path).stem}_evaluation")


def _at_most(count: int, info: DataInfo, data: Any) -> int | None:
    """The number of samples of the default metrics: None, their own, where there are as many."""
    needed = max(metric.num_samples for metric in default_metrics(info, data))
    return None if count >= needed else count


def reference_data(
    reference: str,
    shape: Sequence[int],
    bindings: Sequence[str] = (),
    imports: Sequence[str] = (),
) -> tuple[Any, int]:
    """(the `Dataset` of real examples, the seed of generated data); loads gin's configuration.

    Args:
      reference: a gin file or a run's directory, whose `fit.data` is taken; the name of a data set;
        a folder of IDX files; a folder or ZIP archive of images, or a .npy or .npz file of real
        examples [N, ...]: every second of these is the reference, and the others stand beside it.
      shape: of the samples, [N, ...].
      bindings, imports: as for `_gin.load`.

    Raises:
      FileNotFoundError: there is nothing of that name.
      UsageError: data that cannot be used, or a configuration without data.
    """
    path = Path(reference)
    known = not path.exists() and reference in DATASETS
    if path.suffix == ".gin" or known or _runs.is_run(path):
        if known:
            name = DATASETS.name_of(DATASETS[reference])
            _gin.load(None, [f"fit.data = @datasets.{name}()", *bindings], imports)
        elif path.suffix == ".gin":
            _gin.load(reference, bindings, imports)
        else:
            _runs.load_configuration(path, bindings)
        bound = gin.get_bindings("fit")
        if bound.get("data") is None:
            raise ConfigError(f"{reference} binds no fit.data. Give another --reference: {_KINDS}.")
        return bound["data"], bound.get("seed", 0)
    _gin.load(None, bindings, imports)
    if not path.exists():
        raise FileNotFoundError(f"There is no {reference}. --reference is {_KINDS}.")
    if path.suffix in (".npy", ".npz"):
        return _halves(path), 0
    example = tuple(shape[1:]) if len(shape) == 4 else (*shape[1:], 1)
    if path.is_dir() and idx_paths(reference) is not None:
        return Idx(reference, example), 0
    if len(example) != 3:
        raise UsageError(
            f"{reference} holds images, and the samples have the shape {tuple(shape)}; expected "
            "[N, height, width, channels]."
        )
    # As gin binds it: ImageFolder.fit says what becomes of images of another aspect.
    folder = gin.get_configurable(f"{DATASETS.module}.ImageFolder")
    return folder(reference, resolution=example[:2], channels=example[2], test_every=2), 0


def _halves(path: Path) -> InMemory:
    """Real examples of a file: every second held out, as the reference."""
    x, labels = read_array(str(path)), None
    if is_archive(str(path)) and "labels" in member_names(str(path)):
        labels = read_member(str(path), "labels")
    if x.dtype == np.uint8 and x.ndim == 3:
        x = x[..., None]
    return InMemory(x, labels, test_every=2, name=path.stem)


def fitting(samples: Array, info: DataInfo, name: str) -> Array:
    """The samples as the metrics take examples of the data: [N, *shape], in their dtype.

    Args:
      samples: [N, ...]; the last axis may be left out where it has the size 1.
      info: of the real data.
      name: of the samples, for messages.

    Raises:
      UsageError: another shape, range or dtype, fewer than two samples, or NaN or infinity.
    """
    shape = tuple(info.shape)
    if samples.shape[1:] == shape[:-1] and shape[-1] == 1:
        samples = samples[..., None]
    if samples.ndim != 1 + len(shape) or samples.shape[1:] != shape or len(samples) < 2:
        first = (shape[-1], *shape[:-1])
        remedy = "Crop or resize them first."
        if samples.shape[1:] == first:
            remedy = "The channels stand first: save numpy.moveaxis(samples, 1, -1)."
        raise UsageError(
            f"{name} holds an array of shape {samples.shape}; expected at least two samples "
            f"[N, {', '.join(map(str, shape))}], like {info.name}. {remedy}"
        )
    if not np.isfinite(samples).all():
        count = int((~np.isfinite(samples).reshape(len(samples), -1).all(axis=1)).sum())
        raise UsageError(
            f"{count:,} of {len(samples):,} samples in {name} hold NaN or infinity. Look at how "
            "they were drawn: leaving them out would flatter the rest."
        )
    if info.scaling.stored_dtype != "uint8":
        return samples.astype(info.scaling.stored_dtype)
    low, high = samples.min(), samples.max()
    if samples.dtype.kind not in "ui" or low < 0 or high > 255:
        raise UsageError(
            f"{name} holds {samples.dtype.name} from {low:.4g} to {high:.4g}; expected uint8 from "
            f"0 to 255, the units of {info.name}. Convert them: numpy.rint(255 * samples.clip(0, "
            "1)).astype(numpy.uint8) if black is 0 and white 1; of −1 to 1 take (samples + 1)/2 "
            "first."
        )
    return samples.astype(np.uint8)


__all__ = ["evaluate_samples", "fitting", "reference_data", "samples_place"]
