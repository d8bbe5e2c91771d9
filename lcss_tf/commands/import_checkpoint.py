"""Makes a published score_sde checkpoint a run."""

from collections.abc import Sequence
from pathlib import Path

from lcss_tf.commands import _gin, _runs
from lcss_tf.commands._places import called
from lcss_tf.commands.flags.import_checkpoint import FLAGS
from lcss_tf.commands.train import build, planned
from lcss_tf.display import say
from lcss_tf.importers import score_sde, torch_file
from lcss_tf.model import ScoreModel
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.workdir import only_process


def main(_: Sequence[str]) -> None:
    """The command."""
    imports = FLAGS["import"].value
    _gin.load(FLAGS.gin_file, FLAGS.gin_bindings, imports)
    with only_process(FLAGS.workdir):
        path, model = import_checkpoint(FLAGS.source, FLAGS.workdir, imports)
    say(f"Imported {model.state.num_parameters():,} parameters at step {model.step:,}: {path}")
    say(f"Draw samples:  {called('sample')} --workdir={FLAGS.workdir} --num_samples=64")
    say(f"Evaluate:      {called('evaluate')} --workdir={FLAGS.workdir}")
    say(
        f"Fine-tune:     {called('train')} --gin_file={FLAGS.gin_file} "
        f"--workdir={FLAGS.workdir} --resume=force "
        f"--gin_bindings='fit.steps={model.step + 10_000}'"
    )


def import_checkpoint(
    source: str | Path, workdir: str | Path, imports: Sequence[str] = ()
) -> tuple[Path, ScoreModel]:
    """Writes a workdir that holds a score_sde checkpoint's weights, average and optimiser.

    The gin file read before describes the network, the SDE, and what training resumes with. The
    run stands at the checkpoint's step: `fit.steps` beyond it fine-tunes.

    Args:
      source: the .pth file.
      workdir: the run's directory; it must not hold a run.
      imports: users' modules, recorded with the run.

    Returns:
      The path of the checkpoint written, and the model.

    Raises:
      ConfigError: the workdir holds checkpoints, or the preconditioning cannot be the file's.
      UsageError: the file is refused, or does not fit the network; nothing is written then.
    """
    content = torch_file.read(source)
    if Checkpoints(workdir).paths():
        raise _gin.ConfigError(
            f"{workdir} holds checkpoints already. Choose another --workdir for the import."
        )
    model, arguments = build()
    state = planned(model, arguments).state
    if state.score.preconditioning.measured is None:
        raise _gin.ConfigError(
            "A network of score_sde knows nothing of the data's moments, and "
            f"{type(state.score.preconditioning).__name__} is bound: bind "
            "ScoreModel.preconditioning = 'noise' (its VP and sub-VP models) or 'none' (VE)."
        )
    found = score_sde.checkpoint(content, state.network)
    score_sde.fill(found, state.network, state.average, state.optimizer)
    state.begin_averages()
    state.step = found.step
    model.info = arguments["data"].info()
    return _runs.write_run(workdir, model, imports), model
