"""Scalars, pictures and text for TensorBoard, under the workdir."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from lcss_tf.display import Tolerance
from lcss_tf.plots import images
from lcss_tf.typing import Array


class Summaries:
    """A TensorBoard event writer, and PNG files beside it.

    Watching must not stop what is watched: what cannot be written is dropped with a warning.

    Args:
      workdir: where the files go; None: nowhere, as without a workdir and for all workers but the
        chief.
      tolerance: counts what fails; by default one of its own.
    """

    def __init__(self, workdir: str | Path | None, tolerance: Tolerance | None = None) -> None:
        self._workdir = Path(workdir) if workdir else None
        self._tolerance = tolerance or Tolerance()
        self._writer: Any = None

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Writes a dict of floats."""

        def write() -> None:
            for name, value in values.items():
                tf.summary.scalar(name, value)

        self._write(write, step)

    def image(self, name: str, image: Array, step: int) -> None:
        """Writes one uint8 picture [H, W, C]."""
        self._write(lambda: tf.summary.image(name, image[None]), step)

    def picture(self, name: str, image: Array | Callable[[], Array], step: int, path: str) -> None:
        """Writes one uint8 picture [H, W, C] as an image, and as the PNG `path` in the workdir.

        It may also be a function that draws the picture, and that may fail.
        """
        what = f"The picture {path}"
        drawn: Any = self._tolerance(what, image) if callable(image) else image
        if drawn is None:
            return
        if self._workdir is not None:
            self._tolerance(what, images.write_png, self._workdir / path, drawn)
        self.image(name, drawn, step)

    def text(self, name: str, text: str, step: int = 0) -> None:
        """Writes a text as a preformatted block of Markdown."""
        block = "\n".join("    " + line for line in text.splitlines())
        self._write(lambda: tf.summary.text(name, block), step)

    def hparams(self, values: Mapping[str, Any]) -> None:
        """Writes hyperparameters: a dict of names to bool, number or text."""

        def write() -> None:
            from tensorboard.plugins.hparams import api as hparams  # slow to import

            hparams.hparams(dict(values))

        self._write(write, 0)

    def flush(self) -> None:
        """Writes out what is buffered."""
        if self._writer is not None:
            self._write(lambda: self._writer.flush(), 0)

    def close(self) -> None:
        """Flushes and closes."""
        if self._writer is not None:
            self._write(lambda: self._writer.close(), 0)

    def _write(self, function: Callable[[], Any], step: int) -> None:
        workdir = self._workdir
        if workdir is None:
            return

        def write() -> None:
            # If somebody removed the file, the writer would write into nothing.
            if self._writer is None or not any(workdir.glob("events.out.tfevents.*")):
                self._writer = tf.summary.create_file_writer(str(workdir))
            with self._writer.as_default(step=step):
                function()

        self._tolerance(f"The TensorBoard writer of {self._workdir}", write)


__all__ = ["Summaries"]
