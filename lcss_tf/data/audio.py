"""A folder of WAV files, cut to windows."""

import os
import struct
import warnings
from collections.abc import Sequence

import numpy as np
from absl import logging
from scipy.io import wavfile

from lcss_tf.data.arrays import Segment, StoredArrays
from lcss_tf.data.files import permission, shown, walk
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array


@DATASETS.register
class Audio(StoredArrays):
    """Windows of the WAV files under a folder, as signals (window, channels).

    All files have the same rate, number of channels and type of sample. The rest at a file's end
    is dropped. The last windows of every file are held out for testing: neighbouring windows are
    alike, so held-out ones must not overlap those for training.

    Args:
      root: the folder; it need not exist yet.
      window: samples of one example.
      hop: samples from one window to the next; by default `window`.
      channels: of the files.
      sample_rate: in Hz, that the files must have; None: whatever the first has.
      test_every: one in so many windows is held out.
      on_bad_example: ``"error"``, or ``"skip"`` files that cannot be used, and windows with NaN or
        infinity.

    Raises:
      UsageError: an argument out of its range.
    """

    def __init__(
        self,
        root: str,
        window: int,
        hop: int | None = None,
        channels: int = 1,
        sample_rate: int | None = None,
        test_every: int = 10,
        on_bad_example: str = "error",
    ) -> None:
        hop = window if hop is None else hop
        if min(window, hop, channels) < 1:
            raise UsageError(
                "Audio.window, hop and channels must be at least 1; got "
                f"{window}, {hop} and {channels}."
            )
        self.root = os.path.abspath(os.path.expanduser(root))
        name = shown(os.path.basename(self.root))
        super().__init__(name, (window, channels), "signal", None, test_every, on_bad_example)
        self._hop = hop
        self.sample_rate = sample_rate

    def segments(self) -> list[Segment]:
        """See `StoredArrays.segments`: one for each file."""
        paths = [p for p in walk(self.root, "Audio.root").paths if p.lower().endswith(".wav")]
        if not paths:
            raise FileNotFoundError(
                f"The folder {self.root} holds no WAV file. Set Audio.root to a folder of them "
                "(other formats: ffmpeg -i in.mp3 -c:a pcm_s16le out.wav)."
            )
        segments: list[Segment] = []
        skipped = []
        for path in paths:
            try:
                segments.append(self._windows(path, segments))
            except (ValueError, OSError) as error:
                if self.on_bad_example == "error":
                    raise UsageError(
                        f'{error} Or remove the file, or set Audio.on_bad_example = "skip".'
                    ) from error
                skipped.append(str(error))
        for reason in skipped:
            logging.warning("Left out: %s", reason)
        if skipped:
            logging.warning("%d of %d WAV files are left out.", len(skipped), len(paths))
        if not segments:
            raise UsageError(
                f"None of the {len(paths)} WAV files of {self.root} can be used; the log says why "
                "of each. Replace them."
            )
        return segments

    def _windows(self, path: str, segments: Sequence[Segment]) -> Segment:
        found_rate, samples = read_samples(path)
        window, channels = self.shape
        rate = self.sample_rate = self.sample_rate or found_rate
        dtype = segments[0].array.dtype if segments else samples.dtype
        if (found_rate, samples.shape[1], samples.dtype) != (rate, channels, dtype):
            raise UsageError(
                f"{shown(path)} has {samples.shape[1]} channels of {samples.dtype} at "
                f"{found_rate} Hz, and {channels} of {dtype} at {rate} Hz are expected. Convert "
                f"it: ffmpeg -i in.wav -ac {channels} -ar {rate} -c:a pcm_s16le out.wav."
            )
        count = 1 + (len(samples) - window) // self._hop
        if count < 1:
            raise UsageError(
                f"{shown(path)} holds {len(samples)} samples, and a window takes {window}. Lower "
                "Audio.window."
            )
        views = np.lib.stride_tricks.sliding_window_view(samples, window, axis=0)
        array = views[:: self._hop][:count].transpose(0, 2, 1)
        return Segment(array, path, samples.offset, self._hop * channels * dtype.itemsize)

    def splits(self, segments: Sequence[Segment], good: Array) -> dict[str, Array]:
        """See `StoredArrays.splits`: the last windows of every file are for testing."""
        parts: dict[str, list[Array]] = {"train": [], "test": []}
        first = 0
        shared = -(-self.shape[0] // self._hop) - 1  # earlier windows that a window overlaps
        for segment in segments:
            count = len(segment.array)
            test = max(1, count // self._test_every) if count > 1 else 0
            parts["test"].append(np.arange(count - test, count) + first)
            parts["train"].append(np.arange(max(count - test - shared, 0)) + first)
            first += count
        joined = {name: np.concatenate(part) for name, part in parts.items()}
        return {name: part[good[part]] for name, part in joined.items()}


def read_samples(path: str) -> tuple[int, np.memmap]:
    """The sample rate in Hz of a WAV file, and its samples [n, channels], memory-mapped.

    Raises:
      UsageError: not such a file, truncated, or samples that cannot be mapped: those of 24 bits,
        or compressed.
      OSError: it cannot be read.
    """
    try:
        with permission(path), warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks without samples
            rate, samples = wavfile.read(path, mmap=True)
    # SciPy leaves some truncated headers to struct, and to a name that was never bound.
    except (ValueError, EOFError, struct.error, UnboundLocalError) as error:
        raise UsageError(
            f"{shown(path)} cannot be read as a WAV file ({error}). If it is truncated, copy it "
            "again; otherwise convert it to 8, 16 or 32-bit PCM or to floats: ffmpeg -i in.wav "
            "-c:a pcm_s16le out.wav."
        ) from error
    if not samples.size:
        raise UsageError(f"{shown(path)} holds no samples. It may be truncated: copy it again.")
    return rate, samples if samples.ndim == 2 else samples[:, None]


__all__ = ["Audio", "read_samples"]
