"""Gradient variance and bias of one loss of a comparison, by t-bucket."""

import json

import numpy as np

from lcss_tf.compare.contest import entry_workdir
from lcss_tf.experiment.recipe import new_state
from lcss_tf.files import write_bytes
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints
from lcss_tf.training.diagnostics import GradientDiagnostics
from lcss_tf.training.distribution import Distribution

DIAGNOSIS = "diagnosis.json"


class Diagnosis:
    """Measures one loss at the EMA weights of the comparison's first entry.

    The same weights, examples and times for every loss on that entry's SDE; a loss on
    another SDE is measured at its own weights, whose network answers to that SDE.

    Args:
      contest, name, workdir: as for `Entry`.

    Raises:
      CheckpointError: the comparison has not run.
    """

    def __init__(self, contest, name, workdir):
        self._name, self._directory = name, entry_workdir(workdir, name)
        self._recipe = contest.recipe(name)
        loss = contest.entries[name][0] if name in contest.entries else name
        weights_of = name if loss in contest.sdes else next(iter(contest.entries))
        self._state = new_state(self._recipe, Distribution(), self._recipe.data.shape)
        if Checkpoints(entry_workdir(workdir, weights_of)).restore(self._state) is None:
            raise CheckpointError(
                f"{workdir} has no checkpoint of {weights_of!r}: run the comparison first, then "
                "diagnose."
            )

    def run(self):
        """Measures and writes ``diagnosis.json``."""
        diagnostics = GradientDiagnostics(self._state.model, self._recipe.loss)
        data = self._recipe.data
        examples = np.arange(diagnostics.batch_size)
        x0 = data.examples(examples, "train", self._recipe.seed)
        measured = diagnostics.measure(self._state.ema.network, x0, self._recipe.seed)
        result = {
            "name": self._name,
            "buckets": measured.buckets,
            "figures": measured.figures(),
        }
        self._directory.mkdir(parents=True, exist_ok=True)
        write_bytes(self._directory / DIAGNOSIS, json.dumps(result, indent=1).encode())
