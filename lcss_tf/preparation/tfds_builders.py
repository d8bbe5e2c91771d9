"""TFDS builders over a `Source`: from chunks, by Apache Beam, and FFHQ's own.

Importing this imports TensorFlow Datasets, which is slow, and registers the builder "ffhq".
"""

import concurrent.futures
import os
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.files import write_json
from lcss_tf.preparation.conversion import SPLITS, Chunks, Source, convert, with_png_file

_DESCRIPTION = "Images validated and converted by `lcss prepare` of lcss_tf."


# The ignores: TFDS has no hints, so mypy does not know skip_registration.
class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What all builders share: the features and the splits.

    Args:
      source: the `Source`.
      classes: names of the classes; empty: no labels.
      kwargs: what TFDS takes: data_dir, file_format.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "As prepared."}
    about: ClassVar[dict] = {}  # homepage, citation and licence

    def __init__(self, *, source: Source, classes: Sequence[str], **kwargs: Any) -> None:
        self._source = source
        self._classes = classes
        super().__init__(**kwargs)

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=self._source.shape, encoding_format="png"),
            "source": tfds.features.Text(),
            "format": tfds.features.Text(),
            "mode": tfds.features.Text(),
            "width": tfds.features.Scalar(np.int64),
            "height": tfds.features.Scalar(np.int64),
        }
        if self._classes:
            features["label"] = tfds.features.ClassLabel(names=self._classes)
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # the order of the source, whose keys are the indices
            **self.about,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _example(self, record, label):
        return {**with_png_file(record), **({"label": label} if self._classes else {})}


class FromChunks(Prepared, skip_registration=True):  # type: ignore[call-arg]
    """Writes the examples that `Chunks` converted.

    Args:
      chunks: the `Chunks`, made.
      source, classes, kwargs: see `Prepared`.
    """

    def __init__(self, *, chunks: Chunks | None, **kwargs: Any) -> None:
        self._chunks = chunks
        super().__init__(**kwargs)

    def _generate_examples(self, split):
        labels = self._source.open().labels(split) if self._classes else None
        for index, record in self._chunks.records(split):
            yield index, self._example(record, None if labels is None else int(labels[index]))


class ByBeam(Prepared, skip_registration=True):  # type: ignore[call-arg]
    """Converts in a pipeline of Apache Beam; workers must see the source and `rejects`.

    Args:
      rejects: a folder, where each rejected example leaves a file of its own, so that a worker that
        is retried counts nothing twice.
      source, classes, kwargs: see `Prepared`.
    """

    def __init__(self, *, rejects: str, **kwargs: Any) -> None:
        self._rejects = rejects
        super().__init__(**kwargs)

    def _generate_examples(self, split):
        beam = tfds.core.lazy_imports.apache_beam
        data = self._source.open()
        labels = data.labels(split) if self._classes else [0] * data.size(split)
        jobs = [(index, int(label)) for index, label in enumerate(labels)]
        worker = _Convert(self._source, split, self._rejects, bool(self._classes))
        return f"indices of {split}" >> beam.Create(jobs) | f"convert {split}" >> beam.FlatMap(
            worker
        )


class _Convert:
    """What a Beam worker does with (index, label): a list of no or one (index, example)."""

    def __init__(self, source, split, rejects, labelled) -> None:
        self._source, self._split = source, split
        self._rejects, self._labelled = rejects, labelled

    def __call__(self, job):
        index, label = job
        record, reason = convert(self._source, self._split, index)
        if record is None:
            write_json(os.path.join(self._rejects, f"{self._split}_{index:09}.json"), reason)
            return []
        return [(index, {**with_png_file(record), **({"label": label} if self._labelled else {})})]


def named(builder: type[Prepared], name: str) -> type[Prepared]:
    """A builder class of that name."""
    return type(name, (builder,), {"name": name, "__module__": __name__}, skip_registration=True)


_FOLDER, _COUNT, _TRAINING = "images1024x1024", 70_000, 60_000
_AHEAD = 256  # images converted at once: no more are held in memory
_HOME = "https://github.com/NVlabs/ffhq-dataset"
_WHERE = (
    f"Download the folder {_FOLDER} (89 GB, PNG files 00000.png to 69999.png, in subfolders of a "
    f"thousand) as {_HOME} describes."
)


class Ffhq(FromChunks):
    """Flickr-Faces-HQ: 70,000 photographs of faces, aligned and cropped to 1,024 pixels.

        import tensorflow_datasets as tfds
        import lcss_tf.preparation.tfds_builders        # registers "ffhq"
        builder = tfds.builder("ffhq", resolution=256, data_dir="data/tfds")
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir="data/ffhq"))

    reads data/ffhq/images1024x1024; nothing is downloaded. ``lcss prepare --name=ffhq`` makes the
    same, resumes where it was stopped, and writes a report.

    Args:
      source: a `Source`, the folder; None: ``images1024x1024`` in TFDS's manual_dir.
      resolution: of the examples in pixels, if `source` is None.
      official_split: "train", the images 00000 to 59999, and "validation", the others, as the
        authors defined them. Otherwise "train" and "test" as all sources here hold out, so that
        training on this dataset, on the folder and on the TFRecords is the same.
      chunks: the `Chunks` of the source, if it is converted already.
      kwargs: what TFDS takes: data_dir, file_format.

    Raises (when it is prepared):
      FileNotFoundError, AssertionError: the folder is missing; says what to put where.
      UsageError: an image that cannot be used, or whose name is no number.
    """

    name = "ffhq"
    about = {
        "homepage": _HOME,
        "license": "CC BY-NC-SA 4.0; the photographs have licences of their own",
        "citation": "Karras, Laine and Aila: A Style-Based Generator Architecture for Generative "
        "Adversarial Networks. CVPR 2019.",
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"{_WHERE} Put it into manual_dir, as it is."

    def __init__(
        self,
        *,
        source: Source | None = None,
        resolution: int = 1024,
        official_split: bool = False,
        chunks: Chunks | None = None,
        **kwargs: Any,
    ) -> None:
        self._in_manual_dir = source is None
        self._official = official_split
        source = source or Source(_FOLDER, resolution)
        # Training reads TFRecord files, whatever TFDS's own choice is.
        kwargs = {"file_format": "tfrecord", **kwargs}
        super().__init__(chunks=chunks, source=source, classes=[], **kwargs)

    def _split_generators(self, dl_manager):
        if self._chunks is not None:
            return super()._split_generators(dl_manager)
        if self._in_manual_dir:
            folder = os.path.join(dl_manager.manual_dir, _FOLDER)
            self._source = self._source._replace(path=folder)
        if not os.path.isdir(self._source.path):
            raise FileNotFoundError(f"There is no folder {self._source.path}. {_WHERE}")
        data = self._source.reopen()
        jobs = {split: [(split, i) for i in range(data.size(split))] for split in SPLITS}
        count = sum(map(len, jobs.values()))
        if count != _COUNT:
            warn("%s holds %d of %d images.", self._source.path, count, _COUNT)
        if self._official:
            every = [job for part in jobs.values() for job in part]
            numbered = sorted((_number(data.location(i, split)), split, i) for split, i in every)
            jobs = {
                "train": [job for number, *job in numbered if number < _TRAINING],
                "validation": [job for number, *job in numbered if number >= _TRAINING],
            }
        return {split: self._converted(part) for split, part in jobs.items()}

    def _converted(self, jobs):
        """Pairs (key, example), in order, on all cores."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(jobs), _AHEAD):
                part = jobs[start : start + _AHEAD]
                done = pool.map(lambda job: convert(self._source, *job), part)
                for key, (record, reason) in enumerate(done, start):
                    if record is None:
                        raise UsageError(f"{reason}. Download it again, or remove it.")
                    yield key, with_png_file(record)


def _number(path):
    stem = os.path.splitext(os.path.basename(path))[0]
    if not re.fullmatch(r"\d{5}", stem):
        raise UsageError(
            f"{path} is none of FFHQ's files, which are called 00000.png to 69999.png. The "
            "official split goes by these numbers: restore the names, or leave official_split out."
        )
    return int(stem)


__all__ = ["ByBeam", "Ffhq", "FromChunks", "Prepared", "named"]
