"""Trains what a gin file describes."""

import functools
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lcss_tf.archives import ArrayArchive
from lcss_tf.commands import _cli, _gin, _runs
from lcss_tf.commands._processes import own_command, supervise
from lcss_tf.commands.flags.train import FLAGS
from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.losses import LCSSLoss
from lcss_tf.model import ScoreModel
from lcss_tf.training import loop, memory
from lcss_tf.training.checkpoints import Checkpoints, step_of
from lcss_tf.training.optimizers import for_run
from lcss_tf.training.prior_check import report_prior


def main(_: Sequence[str]) -> int | None:
    """The command."""
    if FLAGS.max_restarts:
        command = [*own_command(), *sys.argv[1:], "--max_restarts=0"]
        return supervise(command, FLAGS.max_restarts)
    if FLAGS.deterministic or FLAGS.reproduce:
        tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(0)
    if FLAGS.reproduce:
        reproduce(FLAGS.reproduce, FLAGS.workdir, _cli.bindings(FLAGS))
        return None
    imports = FLAGS["import"].value
    _gin.load(FLAGS.gin_file, _cli.bindings(FLAGS), imports)
    workdir = FLAGS.workdir or _runs.default_workdir(FLAGS.gin_file)
    if FLAGS.dry_run:
        dry_run(workdir)
    else:
        train(workdir, imports, FLAGS.resume)
    return None


def train(workdir: str | Path, imports: Sequence[str] = (), resume: str = "auto") -> ScoreModel:
    """Trains what gin's configuration describes, or resumes it; returns the model.

    Raises:
      ConfigError, UsageError, FileNotFoundError: before any work, with the remedy.
      Others: as `ScoreModel.fit`.
    """
    _gin.share_cores("fit")
    # Several workers must find each other before anything else is computed.
    model, arguments = build()
    _runs.check_configuration(workdir, force=resume == "force")
    trainer = _gin.Trainer(
        make_step=_gin.TrainStep,
        make_checkpoints=_gin.Checkpoints,
        check_prior=functools.partial(report_prior, check=_gin.check_prior),
        resume=resume,
    )
    sampling = _gin.sample()
    own = _made(arguments.pop("callbacks"))
    callbacks = [
        _Records(workdir, imports),
        _gin.Pictures(sampling=sampling),
        _gin.Diagnostics(make=_gin.GradientDiagnostics),
        _gin.Watch(sampling=sampling, references=_gin.References),
        _gin.Snapshots(),
        *own,
    ]
    model.fit(**arguments, workdir=workdir, callbacks=callbacks, trainer=trainer)
    if model.distribution.is_chief:
        newest = Checkpoints(workdir).paths()[-1]
        say(f"Trained {workdir} to step {model.step:,}. Newest checkpoint: {newest}")
    return model


def build() -> tuple[ScoreModel, dict[str, Any]]:
    """(the model, the arguments of its `fit`) that gin's configuration describes."""
    distribution = _gin.Distribution()
    model = _gin.ScoreModel(distribution=distribution)
    arguments = _gin.fit()
    if arguments["steps"] < 1:
        raise UsageError(f"fit.steps must be at least 1; got {arguments['steps']}.")
    return model, arguments


def _made(callbacks: Sequence[Any]) -> list[Any]:
    """The callbacks of ``fit.callbacks``, made of the classes and functions that it names."""
    return [c() if inspect.isclass(c) or not hasattr(c, "set_params") else c for c in callbacks]


class _Records(loop.Periodic):
    """Keeps the configuration beside the run; written when the first step has been taken."""

    def __init__(self, workdir: str | Path, imports: Sequence[str]) -> None:
        super().__init__(0)
        self._workdir, self._imports = workdir, imports

    def started(self) -> None:
        """See `Periodic`."""
        run = self.run
        contents = _runs.records(self._imports)
        _runs.write_records(self._workdir, contents)
        operative = _runs.write_operative(self._workdir)
        run.records |= contents | operative
        run.summaries.text("config", next(iter(operative.values())).decode())
        run.summaries.hparams(_runs.hyperparameters())

    def act(self, step: int) -> None:
        """Never called."""


def dry_run(workdir: str | Path) -> dict[str, str]:
    """Builds everything, runs nothing, and prints what would be run."""
    _gin.share_cores("fit")
    model, arguments = build()
    run = planned(model, arguments)
    data, distribution = run.data, model.distribution
    try:
        data.require("train")
        size = data.size("train")
        available = "endless" if size is None else f"{size:,} examples"
    except FileNotFoundError as error:
        available = f"not there\n{error}"
    loop.check_sde(run)
    replicas = distribution.num_replicas
    distribution.rows_per_replica(run.batch_size, "fit.batch_size")
    footprint = memory.step_footprint(run, _gin.TrainStep)
    rows = run.batch_size // replicas
    parts = _gin.TrainStep(run.state, run.loss, run.batch_size, run.seed).parts_at_once
    at_once = f", {parts} parts at the same time, a core each" if parts > 1 else ""
    lines = {
        "workdir": str(workdir),
        "SDE": type(model.sde).__name__,
        "loss": type(run.loss).__name__,
        "network": f"{type(model.network).__name__}, {run.state.num_parameters():,} parameters",
        "memory": footprint.text(),
        "replicas": distribution.text(),
        "global batch": f"{run.batch_size} ({rows} a replica{at_once})",
        "steps": f"{run.steps:,} ({run.steps * run.batch_size:,} examples)",
        "data": f"{data.name}, {'×'.join(map(str, data.shape))}: {available}",
    }
    for name, value in lines.items():
        say(f"{name + ':':<14}{value}")
    return lines


def planned(model: ScoreModel, arguments: dict[str, Any]) -> loop.Run:
    """The `Run` that `ScoreModel.fit` would train, on data that need not be there."""
    steps = arguments["steps"]
    state = model.build(arguments["data"].shape, arguments["seed"])
    loss = arguments["loss"] or LCSSLoss()
    optimizer = for_run(arguments["optimizer"], steps, state.num_parameters())
    state.attach(optimizer, loss)
    return loop.Run(
        state,
        arguments["data"],
        loss,
        steps,
        arguments["batch_size"],
        arguments["seed"],
    )


def reproduce(
    source: str | Path, workdir: str | Path | None = None, bindings: Sequence[str] = ()
) -> float | None:
    """Trains again what the run `source` trained, in another workdir, deterministically.

    Prints in what versions, commit and machine differ, and at the end whether the checkpoints of
    the last common step are the same to the bit; if not, by how much they differ.

    Args:
      source: the run's workdir.
      workdir: of the new run; ``<source>_again`` by default.
      bindings: over the run's own, e.g. of other devices.

    Returns:
      The largest relative difference of weights, 0 for equal bits; None without a common step.

    Raises:
      FileNotFoundError: `source` holds no run.
    """
    source = Path(source)
    workdir = Path(workdir or source.with_name(source.name + "_again"))
    recorded = _runs.recorded(source)
    imports = _runs.load_configuration(source, [*recorded.get("devices", ()), *bindings])
    changed = _runs.provenance_differences(recorded, _runs.provenance())
    say(f"Running {source} of {recorded.get('started', 'an unknown time')} again in {workdir}.")
    if changed:
        say("\n  ".join(["What differs, and may change the numbers:", *changed]))
    train(workdir, imports)
    return _compare(source, workdir)


def _compare(source: Path, workdir: Path) -> float | None:
    then, now = ({p.name: p for p in Checkpoints(d).paths()} for d in (source, workdir))
    common = sorted(then.keys() & now.keys())
    if not common:
        say(f"{source} and {workdir} have no checkpoint of a common step to compare.")
        return None
    with ArrayArchive(then[common[-1]]) as old, ArrayArchive(now[common[-1]]) as new:
        names = [name for name in new.names if name.startswith("network/")]
        pairs = ((old.read(name, new.claim(name).shape), new.read(name)) for name in names)
        largest = max((_relative(a, b) for a, b in pairs), default=0.0)
    step = step_of(now[common[-1]])
    if largest == 0:
        say(f"At step {step:,} the weights equal those of {source} to the bit.")
    else:
        say(f"At step {step:,} the weights differ from those of {source} by {largest:.1e}.")
    return largest


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    if np.array_equal(a, b):
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(a)), 1e-30)
