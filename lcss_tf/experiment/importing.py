"""The root `import_checkpoint`: a published score_sde checkpoint becomes a workdir of ours."""

from lcss_tf import config
from lcss_tf.experiment.recipe import Recipe, new_state, write_data_info
from lcss_tf.importers import score_sde, torch_file
from lcss_tf.importers.score_sde_checkpoint import checkpoint
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.distribution import Distribution


def import_checkpoint(source, workdir, imports=()):
    """Writes a workdir that holds a score_sde checkpoint's weights, average and optimiser.

    The gin file read before describes the network, the SDE, and what training goes on with. The
    run stands at the checkpoint's step: `train.total_steps` beyond it fine-tunes.

    Args:
      source: the .pth file.
      workdir: the run's directory; it must not hold a run.
      imports: users' modules, recorded with the run.

    Returns:
      The path of the checkpoint written, and the `TrainState`.

    Raises:
      ConfigError: the workdir holds checkpoints, or the preconditioning cannot be the file's.
      ValueError: the file is refused, or does not fit the network; nothing is written then.
    """
    content = torch_file.read(source)
    recipe, distribution = Recipe(), Distribution()
    checkpoints = Checkpoints(workdir)
    if checkpoints.paths():
        raise config.ConfigError(
            f"{workdir} holds checkpoints already. Choose another --workdir for the import."
        )
    state = new_state(recipe, distribution, recipe.data.shape)
    if state.model.preconditioning.measured is None:
        raise config.ConfigError(
            "A network of score_sde knows nothing of the data's moments, and "
            f"{type(state.model.preconditioning).__name__} is bound: bind "
            "score.preconditioning = 'noise' (its VP and sub-VP models) or 'none' (VE)."
        )
    _fill(state, checkpoint(content, state.network))
    config.claim_workdir(workdir, imports)
    write_data_info(workdir, recipe.data)
    config.write_operative(workdir)
    return checkpoints.save(state), state


def _fill(state, source):
    """Sets weights, average, optimiser and step of a `TrainState` from a `Checkpoint`."""
    score_sde.load_state(state.network, source.weights)
    score_sde.load_state(state.ema.network, source.average)
    state.step = source.step
    state.optimizer.iterations.assign(source.step)
    if source.moments is not None:
        _fill_moments(state, source.moments)


def _fill_moments(state, moments):
    """Adam's first and second moments, which have the layout of their weights."""
    names = {v.path: name for name, v in score_sde.state_variables(state.network).items()}
    variables = state.network.trainable_variables
    for moment, slot_name in zip(moments, ("_momentums", "_velocities"), strict=True):
        slots = getattr(state.optimizer, slot_name, [])
        if len(slots) != len(variables):
            return  # not Adam: its own state starts anew
        by_name = {names[v.path]: slot for v, slot in zip(variables, slots, strict=True)}
        for name, value in score_sde.fitted(by_name, moment).items():
            by_name[name].assign(value)
