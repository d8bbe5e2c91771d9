"""Makes averages of the weights of other lengths than those that a run kept: post-hoc EMA."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np

from lcss_tf import files
from lcss_tf.commands import _cli, _gin, _runs
from lcss_tf.commands._results import error_text
from lcss_tf.commands.flags.ema import FLAGS, sigma_rels
from lcss_tf.display import say, warn
from lcss_tf.errors import NotFiniteError
from lcss_tf.inference import conditions_of
from lcss_tf.metrics import Metric, MetricSuite, MetricValue, default_metrics
from lcss_tf.model import ScoreModel
from lcss_tf.random import check_seed
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.snapshots import FOLDER, Reconstruction
from lcss_tf.training.workdir import only_process

_BINDING = "PowerFunction.sigma_rels = ({!r},)"


def main(_: Sequence[str]) -> None:
    """The command."""
    workdir, lengths = Path(FLAGS.workdir), sigma_rels()
    bindings = _cli.bindings(FLAGS)
    default = None if FLAGS.measure else workdir / FOLDER / "ema.lcss"
    out = Path(FLAGS.out) if FLAGS.out else default
    several = len(lengths) > 1 or not FLAGS.out
    places = {} if out is None else {s: _place(out, s, several) for s in lengths}
    for place in places.values():
        _check_place(place)
    imports = _runs.load_configuration(workdir, bindings)
    sweep = EMASweep() if FLAGS.measure else None
    path = Checkpoints(workdir).chosen(FLAGS.checkpoint)[-1]
    wanted = {sigma_rel: Reconstruction(path, sigma_rel) for sigma_rel in lengths}
    _gin.share_cores("sample")
    model = ScoreModel.load(path, "newest", _gin.Distribution(), lengths[0])
    measure = sweep.measures(model) if sweep else dict
    rows: list[list] = []
    values: dict[str, MetricValue] = {}
    for sigma_rel, reconstruction in wanted.items():
        error = reconstruction.fill(model.state).error
        model.average = reconstruction.average
        values = measure()
        figures = [f"{found.value:.4g}{error_text(found.error)}" for found in values.values()]
        for name, figure in zip(values, figures, strict=True):  # a sweep may take long
            say(f"relative length {sigma_rel:g}: {name} {figure}")
        rows.append([sigma_rel, sigma_rel * model.step, f"{error:.1e}", *figures])
        if sigma_rel in places:
            _runs.load_configuration(workdir, [*bindings, _BINDING.format(sigma_rel)])
            _write(model, places[sigma_rel], imports)
    header = ["relative length", "standard deviation in steps", "error of the profile", *values]
    table = files.markdown_table(header, rows)
    say(f"\n{path} and {reconstruction.num_snapshots - 1} snapshots\n\n{table}\n")
    if sweep:
        with only_process(workdir / FOLDER):
            say(f"Written: {files.write_text(workdir / FOLDER / 'sweep.md', table)}")
    for place in places.values():
        say(f"Written: {place}")


def _place(out: Path, sigma_rel: float, several: bool) -> Path:
    """Where the average of a length goes: `out`, or a name beside it that tells the length."""
    if not several:
        return out
    suffix = out.suffix if out.suffix == ".lcss" else ""
    return out.with_name(f"{out.name.removesuffix(suffix)}_{sigma_rel:g}{suffix}")


def _check_place(place: Path) -> None:
    """Raises ConfigError or UsageError before any work if nothing can be written there."""
    folder = place.suffix != ".lcss"
    files.check_writable(place, folder=folder)
    if folder and (_runs.is_run(place) or Checkpoints(place).paths()):
        raise _gin.ConfigError(f"{place} holds a run already. Choose another --out.")


def _write(model: ScoreModel, place: Path, imports: Sequence[str]) -> None:
    """A model file, or a run."""
    if place.suffix == ".lcss":
        model.save(place)
        return
    with only_process(place):
        _runs.write_run(place, model, imports)


@gin.configurable
class EMASweep:
    """Metrics of samples that are drawn by averages of several lengths, from one seed.

    The ± is of one value. A difference between two lengths has a smaller one, for both have the
    same noise: measure it over trainings of several seeds.

    Args:
      metric: an object of `METRICS`.
      metrics: several; with neither, the main one of `default_metrics`.
      seed: of the samples, the same for every length.

    Raises:
      UsageError: a metric does not fit the data.
    """

    def __init__(
        self,
        metric: Metric | None = None,
        metrics: Sequence[Metric] | None = None,
        seed: int = 1,
    ) -> None:
        check_seed(seed, "EMASweep.seed")
        self._metrics = list(metrics or []) + ([metric] if metric else [])
        self._seed = seed

    def measures(self, model: ScoreModel) -> Any:
        """() -> {metric: value} of samples by the model's average as it is then."""
        arguments = _gin.fit()
        data = _runs.data_for(model, arguments["data"])
        chosen = self._metrics or default_metrics(data.info(), data)[:1]
        suite = MetricSuite(chosen, _gin.References(data, arguments["seed"]), progress=True)
        draw = model.sampling(**_gin.sample())
        given = conditions_of(model.network, data, suite.num_samples)

        def measure() -> dict[str, MetricValue]:
            try:
                drawn = draw(suite.num_samples, self._seed, given, progress=False)
            except NotFiniteError as error:
                warn("%s", error)
                unknown = MetricValue(np.nan, np.nan)
                return dict.fromkeys((metric.name for metric in chosen), unknown)
            return dict(suite.measure([model.denormalise(drawn.x)]))

        return measure


__all__ = ["EMASweep", "main"]
