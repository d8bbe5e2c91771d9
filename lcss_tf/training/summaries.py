"""Scalars, pictures and text for TensorBoard, under the workdir."""

from pathlib import Path

import tensorflow as tf
from absl import logging
from tensorboard.plugins.hparams import api as hparams

from lcss_tf import images
from lcss_tf.training.step import NUM_BUCKETS


class Summaries:
    """A TensorBoard event writer, and PNG files beside it.

    Watching must not stop what is watched: what cannot be written is dropped with a warning, the
    first time and then every hundredth.

    Args:
      workdir: where the files go; None: nowhere, as for all workers but the chief.
    """

    def __init__(self, workdir):
        self._workdir = Path(workdir) if workdir else None
        self._failures = 0
        self._writer = None
        if self._workdir:
            self._open()

    def scalars(self, values, step):
        """Writes a dict of floats."""

        def write():
            for name, value in values.items():
                tf.summary.scalar(name, value)

        self._write(write, step)

    def image(self, name, image, step):
        """Writes one uint8 picture [H, W, C]."""
        self._write(lambda: tf.summary.image(name, image[None]), step)

    def picture(self, name, image, step, path):
        """Writes one uint8 picture [H, W, C] as an image, and as the PNG `path` in the workdir."""
        self._write(lambda: images.write_png(self._workdir / path, image), step)
        self.image(name, image, step)

    def text(self, name, text, step=0):
        """Writes a text as a preformatted block of Markdown."""
        block = "\n".join("    " + line for line in text.splitlines())
        self._write(lambda: tf.summary.text(name, block), step)

    def hparams(self, values):
        """Writes hyperparameters: a dict of names to bool, number or text."""
        self._write(lambda: hparams.hparams(values), 0)

    def flush(self):
        """Writes out what is buffered."""
        self._write(lambda: self._writer.flush(), 0)

    def close(self):
        """Flushes and closes."""
        self._write(lambda: self._writer.close(), 0)

    def _open(self):
        self._writer = tf.summary.create_file_writer(str(self._workdir))

    def _write(self, function, step):
        if self._workdir is None:
            return
        try:
            if not any(self._workdir.glob("events.out.tfevents.*")):
                self._open()  # somebody removed the file: the writer would write into nothing
            with self._writer.as_default(step=step):
                function()
        except Exception as error:  # of TensorFlow's writers: almost anything
            if self._failures % 100 == 0:
                logging.warning(
                    "Nothing is lost but pictures and curves: at step %d the writer of %s failed "
                    "(%s). Training goes on.", step, self._workdir, str(error)[:300],
                )  # fmt: skip
            self._failures += 1


def bucket_name(index, sde):
    """The tag of a t-bucket: ``loss_by_t/0.1-0.2``."""
    width = (sde.T - sde.t_min) / NUM_BUCKETS
    return f"loss_by_t/{sde.t_min + index * width:.1f}-{sde.t_min + (index + 1) * width:.1f}"
