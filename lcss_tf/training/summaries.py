"""Scalars, pictures and text for TensorBoard, under the workdir."""

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from lcss_tf.training.step import NUM_BUCKETS


class Summaries:
    """A TensorBoard event writer.

    Args:
      workdir: where the event files go.
    """

    def __init__(self, workdir):
        self._writer = tf.summary.create_file_writer(str(workdir))

    def scalars(self, values, step):
        """Writes a dict of floats."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def image(self, name, image, step):
        """Writes one uint8 picture [H, W, C]."""
        with self._writer.as_default(step=step):
            tf.summary.image(name, image[None])

    def text(self, name, text, step=0):
        """Writes a text as a preformatted block of Markdown."""
        block = "\n".join("    " + line for line in text.splitlines())
        with self._writer.as_default(step=step):
            tf.summary.text(name, block)

    def hparams(self, values):
        """Writes hyperparameters: a dict of names to bool, number or text."""
        with self._writer.as_default(step=0):
            hparams.hparams(values)

    def flush(self):
        """Writes out what is buffered."""
        self._writer.flush()

    def close(self):
        """Flushes and closes."""
        self._writer.close()


def bucket_name(index, sde):
    """The tag of a t-bucket: ``loss_by_t/0.1-0.2``."""
    width = (sde.T - sde.t_min) / NUM_BUCKETS
    return f"loss_by_t/{sde.t_min + index * width:.1f}-{sde.t_min + (index + 1) * width:.1f}"
