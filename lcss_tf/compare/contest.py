"""What a comparison is: the gin root `compare`."""

import re
from dataclasses import dataclass
from pathlib import Path

import gin

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
    """

    losses: dict = gin.REQUIRED
    seconds: float = gin.REQUIRED
    sdes: dict = None
    times: tuple = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
    metric: object = None
    samplers: dict = None
    sample_repeats: int = 1
    curve_points: int = 8

    def __post_init__(self):
        self.sdes = self.sdes or {}
        self.samplers = self.samplers or {"samples": None}
        strangers = sorted(set(self.sdes) - set(self.losses))
        if strangers or not self.losses:
            raise ValueError(
                f"compare.sdes has keys {strangers} that compare.losses has not; the losses are "
                f"{sorted(self.losses)}."
            )
        if self.seconds < 0 or not all(0 < t <= 1 for t in self.times):
            raise ValueError(
                "compare expects seconds >= 0 and times in (0, 1]; got "
                f"seconds={self.seconds}, times={self.times}."
            )
        slugs = {slug(name) for name in self.losses}
        if len(slugs) < len(self.losses):
            raise ValueError(
                f"compare.losses: {sorted(self.losses)} become the folders {sorted(slugs)}; use "
                "names that differ in letters or digits."
            )

    def recipe(self, name):
        """The `Recipe` of one loss.

        Raises:
          KeyError: no such loss.
        """
        if name not in self.losses:
            raise KeyError(f"No loss named {name!r} in compare.losses: {sorted(self.losses)}.")
        given = {"sde": self.sdes[name]} if name in self.sdes else {}
        return Recipe(loss=self.losses[name], **given)

    def check(self):
        """Raises ValueError, before any work, for a loss that cannot train on its SDE."""
        for name in self.losses:
            recipe = self.recipe(name)
            try:
                recipe.loss.check(recipe.sde)
            except ValueError as error:
                raise ValueError(f"compare.losses[{name!r}]: {error}") from error


def slug(name):
    """The folder of an entry: its name in small letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def entry_workdir(workdir, name):
    """Where one loss is trained."""
    return Path(workdir) / slug(name)
