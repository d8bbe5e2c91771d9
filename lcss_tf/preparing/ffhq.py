"""FFHQ as a TFDS dataset: a builder over the official folder images1024x1024."""

import concurrent.futures
import os
import re

from absl import logging

from lcss_tf.errors import UsageError
from lcss_tf.preparing.builder import FromChunks
from lcss_tf.preparing.source import SPLITS, Source, convert, open_png

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
        import lcss_tf.preparing.ffhq                        # registers "ffhq"
        builder = tfds.builder("ffhq", resolution=256, data_dir="data/tfds")
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir="data/ffhq"))

    reads data/ffhq/images1024x1024; nothing is downloaded. ``bin/prepare_data.py --name=ffhq``
    makes the same, resumes where it was stopped, and writes a report.

    Args:
      source: a `Source`, the folder; None: ``images1024x1024`` in TFDS's manual_dir.
      resolution: of the examples, where no source says it.
      official_split: "train", the images 00000 to 59999, and "validation", the others, as the
        authors appointed them. Otherwise "train" and "test" as all sources here hold out, so
        that training on this dataset, on the folder and on the TFRecords is the same.
      chunks: the `Chunks` of the source, if it is converted already.
      kwargs: what TFDS takes: data_dir, file_format.

    Raises (when it is prepared):
      FileNotFoundError, AssertionError: the folder is not there; says what to put where.
      ValueError: an image that cannot be used, or whose name is no number.
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
        self, *, source=None, resolution=1024, official_split=False, chunks=None, **kwargs
    ):
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
        data = self._source.open_anew()
        jobs = {split: [(split, i) for i in range(data.size(split))] for split in SPLITS}
        count = sum(map(len, jobs.values()))
        if count != _COUNT:
            logging.warning("%s holds %d of %d images.", self._source.path, count, _COUNT)
        if self._official:
            every = [job for part in jobs.values() for job in part]
            numbered = sorted((_number(data.place_of(i, split)), split, i) for split, i in every)
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
                        raise UsageError(f"{reason}. Download it again, or take it out.")
                    yield key, open_png(record)


def _number(path):
    stem = os.path.splitext(os.path.basename(path))[0]
    if not re.fullmatch(r"\d{5}", stem):
        raise UsageError(
            f"{path} is none of FFHQ's files, which are called 00000.png to 69999.png. The "
            "official split goes by these numbers: restore the names, or leave official_split out."
        )
    return int(stem)
