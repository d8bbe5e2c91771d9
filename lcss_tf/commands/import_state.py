"""Makes a checkpoint of what an exported training step left where it ran."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lcss_tf.archives import ArrayArchive
from lcss_tf.commands import _runs
from lcss_tf.commands.flags.import_state import FLAGS
from lcss_tf.commands.train import build, planned
from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.export.program import read_manifest
from lcss_tf.model import ScoreModel
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.workdir import only_process
from lcss_tf.typing import Array


def main(_: Sequence[str]) -> None:
    """The command."""
    manifest = read_manifest(FLAGS.program)
    if manifest["what"] != "train_step":
        raise UsageError(
            f"{FLAGS.program} holds a {manifest['what']}, which changes no state. Name the folder "
            "of a training step: lcss export --what=train_step."
        )
    imports = _runs.load_configuration(FLAGS.program, FLAGS.gin_bindings)
    with only_process(FLAGS.workdir):
        path, model = import_state(FLAGS.arrays, FLAGS.workdir, imports)
    say(f"Imported {model.state.num_parameters():,} parameters at step {model.step:,}: {path}")
    say(f"Draw samples:  lcss sample --workdir={FLAGS.workdir} --num_samples=64")


def import_state(
    arrays: str | Path, workdir: str | Path, imports: Sequence[str] = ()
) -> tuple[Path, ScoreModel]:
    """Writes a checkpoint with the arrays of a file, under the configuration that gin holds.

    Where the file holds the average of the weights alone, the network takes it over, and the
    optimiser begins anew.

    Args:
      arrays: a .npz: state by its name in a checkpoint, floats of any width, and ``step``.
      workdir: a new run's, or one of this configuration with fewer steps.
      imports: users' modules, recorded with the run.

    Returns:
      The path of the checkpoint written, and the model.

    Raises:
      UsageError: the arrays do not fit the model, or the workdir holds more steps; nothing is
        written then.
      ConfigError: the workdir holds a run of another configuration.
    """
    _runs.check_configuration(workdir)
    model, arguments = build()
    run = planned(model, arguments)
    state = run.state
    variables = state.variables_by_name()
    step, found = _read(arrays, {name: tuple(v.shape) for name, v in variables.items()})
    checkpoints = Checkpoints(workdir)
    if any(path.name >= checkpoints.at(step).name for path in checkpoints.paths()):
        raise UsageError(
            f"{workdir} holds a checkpoint of step {step:,} or later. Choose another --workdir."
        )
    averaged = not any(name.startswith("network/") for name in found)
    if averaged:
        found |= {f"network/{name[4:]}": a for name, a in found.items() if name.startswith("ema/")}
        found |= {n: v.numpy() for n, v in variables.items() if n.startswith("optimizer/")}
    # The moments, and the scaling of the data, are those that the run began with.
    _runs.begin(run, workdir if checkpoints.paths() else None)
    for name, value in found.items():
        variables[name].assign(value)
    if averaged:
        state.optimizer.iterations.assign(step)
        state.begin_averages()
        say("The file holds the average alone: the network is it, and the optimiser begins anew.")
    state.step = step
    model.info = run.data.info()
    return _runs.write_run(workdir, model, imports), model


def _read(path: str | Path, shapes: dict[str, tuple[int, ...]]) -> tuple[int, dict[str, Array]]:
    """(the step, the arrays by name): all of the state, or the average of the weights.

    Raises:
      UsageError: something is missing, of another shape, or not finite.
    """
    with ArrayArchive(path) as archive:
        names = set(archive.names)
        if "step" not in names:
            raise UsageError(f"{path} holds no number of steps (an array `step`).")
        step = int(archive.read("step", ()))
        wanted = set(shapes) if names >= set(shapes) else {n for n in shapes if n[:4] == "ema/"}
        missing = sorted(wanted - names)
        if missing:
            raise UsageError(
                f"{path} lacks {len(missing)} of the {len(wanted)} arrays of this model, such as "
                f"{missing[0]}. It should hold all state of the program, or all of ema/."
            )
        found = {name: archive.read(name, shapes[name]) for name in sorted(wanted)}
    for name, array in found.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UsageError(f"{path}: {name} is not finite. Import an earlier state.")
    return step, found
