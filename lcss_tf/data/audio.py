"""A folder of WAV files, cut to windows."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lcss_tf.data.arrays import Segment, StoredArrays
from lcss_tf.data.files import walk
from lcss_tf.data.wav import Recording, read_wav
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.texts import visible
from lcss_tf.typing import Array


@DATASETS.register
class Audio(StoredArrays):
    """Windows of the WAV files under a folder, as signals (window, channels).

    All files have the same rate, number of channels and type of sample: PCM of 8 to 64 bits, or
    floats. The rest at a file's end
    is dropped. The last windows of every file are held out for testing: neighbouring windows are
    alike, so held-out ones must not overlap those for training.

    Args:
      root: the folder; it need not exist yet.
      window: samples of one example.
      hop: samples from one window to the next; by default `window`.
      channels: of the files.
      sample_rate: in Hz, that the files must have; None: that of the first file that can be used.
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
        name = visible(os.path.basename(self.root))
        super().__init__(name, (window, channels), "signal", None, test_every, on_bad_example)
        self._hop = hop
        self._asked_rate = self.sample_rate = sample_rate

    def segments(self) -> list[Segment]:
        """See `StoredArrays.segments`: one for each file."""
        paths = [p for p in walk(self.root, "Audio.root").paths if p.lower().endswith(".wav")]
        if not paths:
            raise FileNotFoundError(
                f"The folder {self.root} holds no WAV file. Set Audio.root to a folder of them "
                "(other formats: ffmpeg -i in.mp3 -c:a pcm_s16le out.wav)."
            )
        found: dict[str, Recording] = {}
        self._skipped: list[str] = []
        for path in paths:
            with self._left_out():
                found[path] = self._usable(path)
        # Only now: a file that is left out for another reason must not set the rate.
        rates = {path: recording.rate for path, recording in found.items()}
        rate = self._asked_rate or next(iter(rates.values()), None)
        types = (r.samples.dtype for path, r in found.items() if rates[path] == rate)
        dtype = next(types, None)
        segments = []
        for path, recording in found.items():
            with self._left_out():
                segments.append(self._windows(path, recording, rate, dtype))
        for reason in self._skipped:
            warn("Left out: %s", reason)
        if self._skipped:
            warn("%d of %d WAV files are left out.", len(self._skipped), len(paths))
        if not segments:
            raise UsageError(
                f"None of the {len(paths)} WAV files of {self.root} can be used; the log says why "
                f"of each, of the first: {self._skipped[0]}"
            )
        self.sample_rate = rate
        return segments

    @contextlib.contextmanager
    def _left_out(self) -> Iterator[None]:
        """A file that cannot be used is an error, or is left out, as the policy says."""
        try:
            yield
        except (ValueError, OSError) as error:
            if self.on_bad_example == "error":
                raise UsageError(
                    f'{error} Or remove the file, or set Audio.on_bad_example = "skip".'
                ) from error
            self._skipped.append(str(error))

    def _usable(self, path: str) -> Recording:
        """A recording that fits whatever the rate and the type of the others are."""
        recording = read_wav(path)
        (count, channels), (window, wanted) = recording.samples.shape, self.shape
        if channels != wanted:
            raise UsageError(
                f"{visible(path)} has {channels} channels of {recording.samples.dtype} at "
                f"{recording.rate} Hz, and {wanted} are expected. Set Audio.channels, or convert "
                f"it: ffmpeg -i in.wav -ac {wanted} out.wav."
            )
        if count < window:
            raise UsageError(
                f"{visible(path)} holds {count} samples, and a window takes {window}. Lower "
                "Audio.window."
            )
        return recording

    def _windows(self, path: str, recording: Recording, rate: Any, dtype: Any) -> Segment:
        samples = recording.samples
        window, channels = self.shape
        if (recording.rate, samples.dtype) != (rate, dtype):
            raise UsageError(
                f"{visible(path)} has {channels} channels of {samples.dtype} at {recording.rate} "
                f"Hz, and {channels} of {dtype or 'any type'} at {rate} Hz are expected. Convert "
                f"it: ffmpeg -i in.wav -ac {channels} -ar {rate} -c:a pcm_s16le out.wav."
            )
        count = 1 + (len(samples) - window) // self._hop
        views = np.lib.stride_tricks.sliding_window_view(samples, window, axis=0)
        array = views[:: self._hop][:count].transpose(0, 2, 1)
        stride = self._hop * channels * samples.dtype.itemsize
        mapped = recording.offset is not None
        return Segment(array, path if mapped else None, recording.offset or 0, stride)

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


__all__ = ["Audio"]
