"""The root `train`: builds everything, resumes, runs the loop."""

from pathlib import Path

import tensorflow as tf
from absl import logging

from lcss_tf import config, rng
from lcss_tf.experiment.batches import training_batches
from lcss_tf.experiment.diagnosing import Diagnosing
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.pictures import Pictures
from lcss_tf.experiment.prior_check import report_prior
from lcss_tf.experiment.recipe import Recipe, measure, new_state, write_data_info
from lcss_tf.experiment.watching import Watch
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.distribution import Distribution
from lcss_tf.training.footprint import footprint
from lcss_tf.training.step import TrainStep
from lcss_tf.training.summaries import Summaries
from lcss_tf.training.trainer import EveryNSteps, Trainer


def train(workdir, imports=(), resume="auto"):
    """Trains what gin's configuration describes, or goes on where it stopped.

    Args:
      workdir: the run's directory; made if it is not there.
      imports: users' modules, recorded so that sampling finds them.
      resume: "auto": go on if the configuration is the same; "force": go on with another.

    Raises:
      ConfigError, ValueError, FileNotFoundError: before any work, with the remedy.
      NonFiniteError: too many non-finite steps in a row.
    """
    recipe, distribution = _checked()
    recipe.data.require("train")
    if recipe.num_classes is not None:
        recipe.data.class_labels(recipe.num_classes)
    config.claim_workdir(workdir, imports, force=resume == "force")
    state = new_state(recipe, distribution, recipe.data.shape)
    checkpoints = Checkpoints(workdir)
    path = checkpoints.restore(state)
    if path is None:
        measure(recipe, state)
        write_data_info(workdir, recipe.data)
    else:
        print(f"Going on from {path} at step {state.step:,}.")
    if state.step >= recipe.total_steps:
        print(f"{workdir} is trained already: step {state.step:,} of {recipe.total_steps:,}.")
        return state
    # Everything is built, and checked, before the first step.
    step = TrainStep(state, recipe.loss, distribution, recipe.batch_size, recipe.seed)
    generation = Generation(state, recipe.data.shape, distribution)
    summaries = Summaries(workdir)
    pictures = Pictures(workdir, recipe.data, generation, summaries)
    diagnosing = Diagnosing(recipe, state, summaries)
    watch = Watch(recipe, generation, checkpoints, summaries)
    if path is None:
        report_prior(workdir, recipe.sde, recipe.data, recipe.seed, summaries)
    batches = training_batches(recipe, distribution, state.step)
    trainer = Trainer(state, step, batches, checkpoints, summaries)
    summaries.text("config", config.write_operative(workdir))
    summaries.hparams(config.hyperparameters())
    try:
        actions = [
            EveryNSteps(pictures.every, pictures.save),
            EveryNSteps(diagnosing.every, diagnosing.save),
            EveryNSteps(watch.every, watch.save),
        ]
        trainer.run(recipe.total_steps, recipe.batch_size, actions)
    finally:
        _close(summaries)
    print(f"Trained {workdir} to step {state.step:,}. Newest checkpoint: {checkpoints.paths()[-1]}")
    return state


def _close(summaries):
    """Closing must not hide the error that ended training."""
    try:
        summaries.close()
    except Exception as error:
        logging.warning("The TensorBoard writer failed to close: %s", error)


def dry_run(workdir):
    """Builds everything, runs nothing, and prints what would be run."""
    recipe, distribution = _checked()
    state = new_state(recipe, distribution, recipe.data.shape)
    try:
        recipe.data.require("train")
        size = recipe.data.size("train")
        available = "endless" if size is None else f"{size:,} examples"
    except FileNotFoundError as error:
        available = f"not there\n{error}"
    steps = recipe.total_steps
    parameters = state.num_parameters()
    memory = _footprint(recipe, state, distribution)
    lines = {
        "workdir": workdir,
        "SDE": type(recipe.sde).__name__,
        "loss": type(recipe.loss).__name__,
        "network": f"{type(recipe.network).__name__}, {parameters:,} parameters",
        "memory": memory.text(),
        "replicas": distribution.num_replicas,
        "global batch": f"{recipe.batch_size} ({recipe.batch_size // distribution.num_replicas} "
        "a replica)",
        "steps": f"{steps:,} ({steps * recipe.batch_size:,} examples)",
        "data": f"{recipe.data.name}, {'×'.join(map(str, recipe.data.shape))}: {available}",
    }
    for name, value in lines.items():
        print(f"{name + ':':<14}{value}")
    return lines


def _footprint(recipe, state, distribution):
    """The `Footprint` of a step, traced on shapes alone: no data are read, nothing is run."""
    preconditioning = state.model.preconditioning
    if preconditioning.measured is None:
        stand_in = rng.normal(0, (16, *recipe.data.shape))
        preconditioning.prepare(recipe.sde, stand_in, recipe.seed)
    step = TrainStep(state, recipe.loss, distribution, recipe.batch_size, recipe.seed)
    rows = step.part_rows
    batch = tf.TensorSpec([rows, *recipe.data.shape], tf.float32)
    if recipe.num_classes is not None:
        batch = batch, tf.TensorSpec([rows], tf.int32)
    return footprint(state, step, batch)


def _checked():
    """The recipe and the devices, checked against each other."""
    recipe, distribution = Recipe(), Distribution()
    distribution.rows_per_replica(recipe.batch_size)
    recipe.loss.check(recipe.sde)
    if recipe.total_steps < 1:
        raise config.ConfigError(f"train.total_steps must be at least 1; got {recipe.total_steps}.")
    return recipe, distribution


def default_workdir(gin_file):
    """runs/<name of the gin file>."""
    return Path("runs") / Path(gin_file).stem


__all__ = ["default_workdir", "dry_run", "train"]
