"""TFDS builders over a `Source`: from chunks, or by Apache Beam."""

import json
import os
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from lcss_tf.files import write_bytes
from lcss_tf.preparing.source import convert, open_png

_DESCRIPTION = "Images validated and converted by bin/prepare_data.py of lcss_tf."


class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What all builders share: the features and the splits."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "As prepared."}
    about: ClassVar[dict] = {}  # homepage, citation and licence

    def __init__(self, *, source, classes, **kwargs):
        self._source = source
        self._classes = classes
        super().__init__(**kwargs)

    def _info(self):
        side, channels = self._source.resolution, self._source.channels
        features = {
            "image": tfds.features.Image(shape=(side, side, channels), encoding_format="png"),
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

    def _labelled(self, record, label):
        return {**open_png(record), **({"label": label} if self._classes else {})}


class FromChunks(Prepared, skip_registration=True):
    """Writes the examples that `Chunks` converted.

    Args:
      chunks: the `Chunks`, made.
      source, classes, and what TFDS takes.
    """

    def __init__(self, *, chunks, **kwargs):
        self._chunks = chunks
        super().__init__(**kwargs)

    def _generate_examples(self, split):
        labels = self._source.open().labels(split) if self._classes else None
        for index, record in self._chunks.records(split):
            yield index, self._labelled(record, None if labels is None else int(labels[index]))


class ByBeam(Prepared, skip_registration=True):
    """Converts in a pipeline of Apache Beam; workers need to see the source and `rejects`.

    Args:
      rejects: a folder, where each rejected example leaves a file of its own, so that a worker
        that is tried again counts nothing twice.
      source, classes, and what TFDS takes.
    """

    def __init__(self, *, rejects, **kwargs):
        self._rejects = rejects
        super().__init__(**kwargs)

    def _generate_examples(self, split):
        beam = tfds.core.lazy_imports.apache_beam
        data = self._source.open()
        labels = data.labels(split) if self._classes else [0] * data.size(split)
        todo = [(index, int(label)) for index, label in enumerate(labels)]
        worker = _Convert(self._source, split, self._rejects, bool(self._classes))
        return f"indices of {split}" >> beam.Create(todo) | f"convert {split}" >> beam.FlatMap(
            worker
        )


class _Convert:
    """What a Beam worker does with (index, label): a list of no or one (index, example)."""

    def __init__(self, source, split, rejects, labelled):
        self._source, self._split = source, split
        self._rejects, self._labelled = rejects, labelled

    def __call__(self, job):
        index, label = job
        record, reason = convert(self._source, self._split, index)
        if record is None:
            path = os.path.join(self._rejects, f"{self._split}_{index:09}.json")
            write_bytes(path, json.dumps(reason).encode())
            return []
        return [(index, {**open_png(record), **({"label": label} if self._labelled else {})})]


def named(kind, name):
    """A builder class of that name."""
    return type(name, (kind,), {"name": name, "__module__": __name__}, skip_registration=True)
