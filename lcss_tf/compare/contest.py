"""What a comparison is: the gin root `compare`."""

import re
from dataclasses import dataclass
from pathlib import Path

import gin

from lcss_tf.errors import UnknownNameError, UsageError
from lcss_tf.experiment.recipe import Recipe

RESULT = "result.json"


@gin.configurable("compare")
@dataclass
class Contest:
    """Losses that are trained alike: data, network, batch, steps and seed are `train`'s.

    Each is trained until both budgets are spent, `train.total_steps` and `seconds`, and
    judged at both: at equal steps and at equal wall clock.

    Args:
      losses: objects of `LOSSES` by the names they go under in the tables.
      seconds: training seconds of the equal wall clock; compilation, judging and
        checkpoints do not count.
      sdes: SDEs by name of a loss, where it is not `train.sde`.
      times: at which the score is judged, fractions of T.
      metric: an object of `METRICS`, measured on samples at both budgets; None: none.
      samplers: objects of `SAMPLERS` by name; by default the one bound to `sample`.
      sample_repeats: sets of samples over which the metric is averaged.
      curve_points: how often the score is judged on the way.
      metrics: further objects of `METRICS`.
      seeds: train every loss once with each, in place of `train.seed`; the tables then have means
        over seeds with standard errors.
    """

    losses: dict = gin.REQUIRED
    seconds: float = gin.REQUIRED
    sdes: dict = None
    times: tuple = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
    metric: object = None
    samplers: dict = None
    sample_repeats: int = 1
    curve_points: int = 8
    metrics: tuple = ()
    seeds: tuple = ()

    def __post_init__(self):
        self.sdes = self.sdes or {}
        self.samplers = self.samplers or {"samples": None}
        strangers = sorted(set(self.sdes) - set(self.losses))
        if strangers or not self.losses:
            raise UsageError(
                f"compare.sdes has keys {strangers} that compare.losses has not; the losses are "
                f"{sorted(self.losses)}."
            )
        if self.seconds < 0 or not all(0 < t <= 1 for t in self.times):
            raise UsageError(
                "compare expects seconds >= 0 and times in (0, 1]; got "
                f"seconds={self.seconds}, times={self.times}."
            )
        slugs = {slug(name) for name in self.entries}
        if len(slugs) < len(self.entries):
            raise UsageError(
                f"compare.losses: {sorted(self.entries)} become the folders {sorted(slugs)}; use "
                "names that differ in letters or digits, and seeds that differ."
            )

    @property
    def all_metrics(self):
        """`metric` and `metrics`."""
        return [m for m in (self.metric, *self.metrics) if m is not None]

    @property
    def entries(self):
        """{name: (loss, seed)} of all that is trained; seed None: `train.seed`."""
        if not self.seeds:
            return {name: (name, None) for name in self.losses}
        # By seeds first: a comparison that is stopped early has whole rounds.
        return {f"{loss} (seed {s})": (loss, s) for s in self.seeds for loss in self.losses}

    def recipe(self, name):
        """The `Recipe` of one entry.

        Raises:
          KeyError: no such entry.
        """
        if name not in self.entries:
            raise UnknownNameError(f"No entry named {name!r} in compare: {sorted(self.entries)}.")
        loss, seed = self.entries[name]
        given = {"sde": self.sdes[loss]} if loss in self.sdes else {}
        given |= {} if seed is None else {"seed": seed}
        return Recipe(loss=self.losses[loss], **given)

    def check(self):
        """Raises ValueError, before any work, for a loss that cannot train on its SDE."""
        for name, (loss, _) in self.entries.items():
            recipe = self.recipe(name)
            try:
                recipe.loss.check(recipe.sde)
            except ValueError as error:
                raise UsageError(f"compare.losses[{loss!r}]: {error}") from error


def slug(name):
    """The folder of an entry: its name in small letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def entry_workdir(workdir, name):
    """Where one loss is trained."""
    return Path(workdir) / slug(name)
