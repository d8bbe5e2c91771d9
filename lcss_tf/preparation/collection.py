"""A collection of images to a TFDS dataset: validates, converts and reports."""

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lcss_tf import forms
from lcss_tf.errors import UsageError
from lcss_tf.files import check_writable, read_json, read_text
from lcss_tf.preparation.conversion import SPLITS, Chunks, Source, rejected_unread
from lcss_tf.preparation.report import report

_FFHQ = "ffhq"
_REPORT = {"made_from": dict, "dataset": forms.TEXT, "shape": [forms.COUNT]}
_MAX_NAMED = 20  # rejected files named in a message
_Made = tuple[Any, list[str], Callable[[], None]]  # builder, reasons of rejections, clean-up


def prepare(
    source: Source,
    out: str,
    name: str | None = None,
    beam: bool = False,
    on_bad_example: str = "skip",
    alone: Callable[[str, str], AbstractContextManager] = lambda out, name: nullcontext(),
) -> tuple[dict[str, Any], str, str]:
    """Converts a collection of images into a TFDS dataset ``<out>/<name>/1.0.0``.

    The source is only read. A run that was stopped resumes; a complete dataset is reported and left
    as it is.

    Args:
      source: a `Source`.
      out: TFDS's data_dir; made if it is missing.
      name: of the dataset; by default the source's, in TFDS's spelling. "ffhq" is made by its own
        builder, `Ffhq`.
      beam: convert by Apache Beam's local runner instead of threads; on a cluster, pass another
        runner to TFDS's builder.
      on_bad_example: "skip": leave bad files out, and report them; "error": stop.
      alone: (out, name) -> a context, which is entered while the dataset is written.

    Returns:
      The report, a dict; its text; and the folder.

    Raises:
      FileNotFoundError, UsageError: before any work, with the remedy.
    """
    if not source.path:
        raise UsageError("--source is empty. Give a folder or an archive of images.")
    source = source._replace(path=os.path.abspath(os.path.expanduser(source.path)))
    out = os.path.abspath(os.path.expanduser(out))
    name = name or _tfds_name(source.path)
    _check(source, out, name, beam)
    finished = _finished(source, os.path.join(out, name))
    if finished is not None:
        return finished
    data = source.reopen()
    for split in SPLITS:
        data.size(split)  # raises if there is nothing
    unread = rejected_unread(source)
    _stop_if_bad(unread, on_bad_example)
    os.makedirs(out, exist_ok=True)
    with alone(out, name):
        classes = [] if name == _FFHQ else data.class_names()  # FFHQ's subfolders are no classes
        make = _by_beam if beam else _by_chunks
        builder, rejected, finish = make(source, out, name, classes, on_bad_example)
        folder = os.path.dirname(os.fspath(builder.data_path))
        result, text = report(builder, [*unread, *rejected], folder, source, data.left_out())
        finish()
    return result, text, folder


def _check(source: Source, out: str, name: str, beam: bool) -> None:
    if not os.path.exists(source.path) and not source.path.endswith(".tar"):  # may be a pattern
        raise FileNotFoundError(
            f"There is nothing at {source.path}. --source is a folder or a ZIP archive of images, "
            "WebDataset shards (.tar), or a TFRecord file of FFHQ's format."
        )
    if os.path.isdir(source.path) and os.path.commonpath([source.path, out]) == source.path:
        raise UsageError(f"--out={out} lies in the source, which is never changed. Choose another.")
    check_writable(out, folder=True)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(
            "--name consists of lower-case letters, digits and underscores, a letter first; got "
            f"{name!r}."
        )
    if beam and importlib.util.find_spec("apache_beam") is None:
        raise UsageError("--beam needs Apache Beam: pip install -e '.[beam]'")


def _finished(source: Source, folder: str) -> tuple[dict[str, Any], str, str] | None:
    """What `prepare` returned when it made this dataset; None if it has not.

    Raises:
      UsageError: it was made from something else.
    """
    path = os.path.join(folder, "report.json")
    result = read_json(path, _REPORT, f"Remove {folder} to prepare the data again.")
    if result is None:
        return None
    made_from = {"fit": "crop", **result["made_from"]}  # as it was before there was a choice
    if made_from != source.described():
        raise UsageError(
            f"{folder} holds a dataset made from {result['made_from']}, and {source.described()} "
            "is asked for. Choose another --name or --out, or remove the folder."
        )
    beside = os.path.join(os.path.dirname(path), "report.md")
    return result, read_text(beside) if os.path.isfile(beside) else "", folder


def _tfds_name(path: str) -> str:
    stem = os.path.splitext(os.path.basename(path))[0]
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return name if name[:1].isalpha() else f"images_{name}"


def _by_chunks(
    source: Source, out: str, name: str, classes: list[str], on_bad_example: str
) -> _Made:
    from lcss_tf.preparation.tfds_builders import Ffhq, FromChunks, named

    chunks = Chunks(source, out)
    chunks.make()
    rejected = chunks.rejected()
    _stop_if_bad(rejected, on_bad_example)
    for split in SPLITS:
        reasons = chunks.rejected(split)
        if len(reasons) == source.open().size(split):
            _stop_if_bad(reasons, "error")
    options: dict[str, Any] = {"source": source, "data_dir": out, "file_format": "tfrecord"}
    if name == _FFHQ:
        builder = Ffhq(chunks=chunks, **options)
    else:
        builder = named(FromChunks, name)(chunks=chunks, classes=classes, **options)
    builder.download_and_prepare()
    return builder, rejected, lambda: shutil.rmtree(chunks.folder, ignore_errors=True)


def _by_beam(source: Source, out: str, name: str, classes: list[str], on_bad_example: str) -> _Made:
    import tensorflow_datasets as tfds

    from lcss_tf.preparation.tfds_builders import ByBeam, named

    rejects = os.path.join(out, f".rejects_{name}")
    os.makedirs(rejects, exist_ok=True)
    builder = named(ByBeam, name)(
        rejects=rejects, source=source, classes=classes, data_dir=out, file_format="tfrecord"
    )
    config = tfds.download.DownloadConfig(beam_runner="DirectRunner")
    builder.download_and_prepare(download_config=config)
    rejected = []
    for path in sorted(os.listdir(rejects)):
        place = os.path.join(rejects, path)
        rejected.append(read_json(place, forms.TEXT, f"Remove {rejects}, and prepare again."))
    _stop_if_bad(rejected, on_bad_example)
    return builder, rejected, lambda: shutil.rmtree(rejects, ignore_errors=True)


def _stop_if_bad(rejected: list[str], on_bad_example: str) -> None:
    if rejected and on_bad_example == "error":
        listed = "\n  ".join(rejected[:_MAX_NAMED])
        raise UsageError(
            f"{len(rejected)} files cannot be used:\n  {listed}\nRepair or remove them, or leave "
            "them out by --on_bad_example=skip; each split needs a good one."
        )


__all__ = ["prepare"]
