"""A folder of WAV files, cut to windows."""

import os

import numpy as np
from absl import logging

from lcss_tf.data.files import walk
from lcss_tf.data.segments import Segment
from lcss_tf.data.stored_arrays import StoredArrays
from lcss_tf.data.wav import read_header
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS


@DATASETS.register
class Audio(StoredArrays):
    """Windows of the WAV files under a folder, as signals (window, channels).

    All files have one rate, one number of channels and one kind of sample. What is left at a
    file's end is dropped. Of every file the last windows are held out for testing: neighbouring
    windows are alike, so held-out ones must lie apart from those for training.

    Args:
      root: the folder; it need not exist yet.
      window: samples of one example.
      hop: samples from one window to the next; by default `window`.
      channels: of the files.
      sample_rate: frames a second that the files must have; None: whatever the first has.
      test_every: one in so many windows is held out.
      on_bad_example: ``"error"``, or ``"skip"`` files that cannot be used, and windows with
        NaN or infinity.

    Raises:
      ValueError: an argument out of its range.
    """

    def __init__(
        self,
        root,
        window,
        hop=None,
        channels=1,
        sample_rate=None,
        test_every=10,
        on_bad_example="error",
    ):
        hop = window if hop is None else hop
        if min(window, hop, channels) < 1:
            raise UsageError(
                "Audio.window, hop and channels must be at least 1; got "
                f"{window}, {hop} and {channels}."
            )
        self.root = os.path.abspath(os.path.expanduser(root))
        name = os.path.basename(self.root)
        super().__init__(name, (window, channels), "signal", None, test_every, on_bad_example)
        self._hop = hop
        self.sample_rate = sample_rate

    def segments(self):
        """See `StoredArrays.segments`: one for each file."""
        paths = [p for p in walk(self.root, "Audio.root") if p.lower().endswith(".wav")]
        if not paths:
            raise FileNotFoundError(
                f"The folder {self.root} holds no WAV file. Set Audio.root to a folder of them "
                "(other formats: ffmpeg -i in.mp3 -c:a pcm_s16le out.wav)."
            )
        segments, skipped = [], []
        for path in paths:
            try:
                segments.append(self._windows(path, segments))
            except (ValueError, OSError) as error:
                if self.on_bad_example == "error":
                    raise UsageError(
                        f'{error} Or take the file out, or set Audio.on_bad_example = "skip".'
                    ) from error
                skipped.append(str(error))
        for reason in skipped:
            logging.warning("Left out: %s", reason)
        if skipped:
            logging.warning("%d of %d WAV files are left out.", len(skipped), len(paths))
        if not segments:
            raise UsageError(f"None of the {len(paths)} WAV files of {self.root} can be used.")
        return segments

    def _windows(self, path, segments):
        wav = read_header(path)
        window, channels = self.shape
        rate = self.sample_rate = self.sample_rate or wav.rate
        dtype = segments[0].array.dtype if segments else wav.dtype
        if (wav.rate, wav.channels, wav.dtype) != (rate, channels, dtype):
            raise UsageError(
                f"{path} has {wav.channels} channels of {wav.dtype} at {wav.rate} Hz, and "
                f"{channels} of {dtype} at {rate} Hz are expected. Convert it: ffmpeg -i in.wav "
                f"-ac {channels} -ar {rate} -c:a pcm_s16le out.wav."
            )
        count = 1 + (wav.frames - window) // self._hop
        if count < 1:
            raise UsageError(f"{path} holds {wav.frames} frames, and a window takes {window}.")
        frames = np.memmap(path, wav.dtype, "r", wav.offset, (wav.frames, channels))
        views = np.lib.stride_tricks.sliding_window_view(frames, window, axis=0)
        array = views[:: self._hop][:count].transpose(0, 2, 1)
        return Segment(array, path, wav.offset, self._hop * channels * wav.dtype.itemsize)

    def splits(self, segments, good):
        """See `StoredArrays.splits`: the last windows of every file are for testing."""
        parts, first = {"train": [], "test": []}, 0
        shared = -(-self.shape[0] // self._hop) - 1  # windows that a window overlaps behind it
        for segment in segments:
            count = len(segment.array)
            test = max(1, count // self._test_every) if count > 1 else 0
            parts["test"].append(np.arange(count - test, count) + first)
            parts["train"].append(np.arange(max(count - test - shared, 0)) + first)
            first += count
        joined = {name: np.concatenate(part) for name, part in parts.items()}
        return {name: part[good[part]] for name, part in joined.items()}
