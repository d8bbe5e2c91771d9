"""From step reports to figures: means over an interval, and a watch for non-finite steps.

Reports stay on the device until the figures are wanted, so that the loop need not
wait for each step.
"""

import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf.errors import UsageError
from lcss_tf.training.step import NUM_BUCKETS
from lcss_tf.training.summaries import bucket_name


class NonFiniteError(UsageError):
    """Too many steps in a row had a non-finite loss or gradient."""


class Meter:
    """Collects the reports of steps.

    Args:
      sde: names the t-buckets.
      max_nonfinite: stop after so many non-finite steps in a row.
      nonfinite_steps: how many the run had before.
    """

    def __init__(self, sde, max_nonfinite, nonfinite_steps=0):
        self._sde = sde
        self._max_nonfinite = max_nonfinite
        self._in_a_row = 0
        self._pending = []
        self._finished = []
        self.nonfinite_steps = nonfinite_steps
        self.last_loss = float("nan")

    def add(self, step, report):
        """Takes the report of step number `step`."""
        self._pending.append((step, report))

    def drain(self):
        """Waits for the pending reports and looks at them.

        Raises:
          NonFiniteError: `max_nonfinite` in a row; the message names step and t-bucket.
        """
        pending, self._pending = self._pending, []
        for step, report in pending:
            report = tf.nest.map_structure(lambda value: value.numpy(), report)
            if report.finite:
                self._in_a_row = 0
                self._finished.append(report)
                self.last_loss = float(report.loss)
                continue
            self._in_a_row += 1
            self.nonfinite_steps += 1
            where = self._where(report)
            logging.warning("Step %d skipped: non-finite %s.", step, where)
            if self._in_a_row >= self._max_nonfinite:
                raise NonFiniteError(
                    f"{self._in_a_row} steps in a row, up to step {step}, had a non-finite "
                    f"{where}. "
                    "None of them changed the weights, and the last checkpoint is good. Try a "
                    "lower optimizer.learning_rate, a longer warm-up or a larger sde.t_min."
                )

    def _where(self, report):
        bad = np.flatnonzero(~np.isfinite(report.bucket_sums))
        if bad.size:
            names = ", ".join(bucket_name(i, self._sde).split("/")[1] for i in bad)
            return f"loss, in t-bucket {names}"
        counts = np.maximum(report.bucket_counts, 1)
        worst = int(np.argmax(np.abs(report.bucket_sums) / counts))
        name = bucket_name(worst, self._sde).split("/")[1]
        return f"gradient, the losses finite and largest in t-bucket {name}"

    def figures(self):
        """Means over the finite steps since the last call, by TensorBoard tag."""
        finished, self._finished = self._finished, []
        figures = {"nonfinite_steps": float(self.nonfinite_steps)}
        if not finished:
            return figures
        figures["loss/total"] = float(np.mean([r.loss for r in finished]))
        for name in finished[0].terms:
            figures[f"loss/{name}"] = float(np.mean([r.terms[name] for r in finished]))
        figures["gradient_norm"] = float(np.mean([r.gradient_norm for r in finished]))
        figures["learning_rate"] = float(finished[-1].learning_rate)
        sums = np.sum([r.bucket_sums for r in finished], axis=0)
        counts = np.sum([r.bucket_counts for r in finished], axis=0)
        for i in range(NUM_BUCKETS):
            if counts[i]:
                figures[bucket_name(i, self._sde)] = float(sums[i] / counts[i])
        return figures
