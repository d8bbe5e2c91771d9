"""The root `train`: builds everything, resumes, runs the loop."""

import contextlib
from pathlib import Path

import tensorflow as tf

from lcss_tf import config
from lcss_tf.experiment.batches import training_batches
from lcss_tf.experiment.diagnosing import Diagnosing
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.lock import only_process
from lcss_tf.experiment.pictures import Pictures
from lcss_tf.experiment.plan import memory_advice
from lcss_tf.experiment.prior_check import report_prior
from lcss_tf.experiment.recipe import checked_recipe, measure, new_state, write_data_info
from lcss_tf.experiment.watching import Watch
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.step import TrainStep
from lcss_tf.training.summaries import Summaries
from lcss_tf.training.trainer import EveryNSteps, Trainer


def train(workdir, imports=(), resume="auto"):
    """Trains what gin's configuration describes, or goes on where it stopped.

    Args:
      workdir: the run's directory; made if it is not there. One process at a time trains in it;
        of several workers the chief alone reads and writes there.
      imports: users' modules, recorded so that sampling finds them.
      resume: "auto": go on if the configuration is the same; "force": go on with another.

    Returns:
      The `TrainState`.

    Raises:
      ConfigError, ValueError, FileNotFoundError: before any work, with the remedy.
      NonFiniteError: too many non-finite steps in a row.
      DataTimeoutError: the data hang.
      MemoryError: the step does not fit; says what would.
    """
    distribution, recipe = checked_recipe()
    recipe.data.require("train")
    if recipe.num_classes is not None:
        recipe.data.class_labels(recipe.num_classes)
    lock = only_process(workdir) if distribution.is_chief else contextlib.nullcontext()
    with lock:
        return _train(workdir, distribution, recipe, imports, resume)


def _train(workdir, distribution, recipe, imports, resume):
    chief = distribution.is_chief
    checkpoints = Checkpoints(workdir, writes=chief)
    if chief:
        contents = config.claim_workdir(workdir, imports, force=resume == "force")
        checkpoints.keep_beside(contents)
    state = new_state(recipe, distribution, recipe.data.shape)
    checkpoints.prepare(state)
    path = checkpoints.restore(state) if chief else None
    if path is None:
        measure(recipe, state)
    state.share(distribution)  # all workers begin with what the chief has
    if chief:
        checkpoints.keep_beside(write_data_info(workdir, recipe.data))
    if path is not None:
        print(f"Going on from {path} at step {state.step:,}.")
    if state.step >= recipe.total_steps:
        print(f"{workdir} is trained already: step {state.step:,} of {recipe.total_steps:,}.")
        return state
    # Everything is built, and checked, before the first step.
    step = TrainStep(state, recipe.loss, distribution, recipe.batch_size, recipe.seed)
    generation = Generation(state, recipe.data.shape, distribution)
    summaries = Summaries(workdir if chief else None)
    pictures = Pictures(recipe.data, generation, summaries)
    diagnosing = Diagnosing(recipe, state, summaries)
    watch = Watch(recipe, generation, checkpoints, summaries)
    if chief and path is None:
        report_prior(recipe.sde, recipe.data, recipe.seed, summaries)
    batches = training_batches(recipe, distribution, state.step)
    trainer = Trainer(state, step, batches, checkpoints, summaries)
    if chief:
        operative = config.write_operative(workdir)
        checkpoints.keep_beside(operative)
        summaries.text("config", next(iter(operative.values())).decode())
        summaries.hparams(config.hyperparameters())
    actions = [
        EveryNSteps(pictures.every, pictures.save),
        EveryNSteps(diagnosing.every, diagnosing.save),
        EveryNSteps(watch.every, watch.save),
    ]
    try:
        trainer.run(recipe.total_steps, recipe.batch_size, actions)
    except tf.errors.OpError as error:
        if "RESOURCE_EXHAUSTED" in str(error) or error.error_code == tf.errors.RESOURCE_EXHAUSTED:
            raise MemoryError(memory_advice(recipe, state, distribution)) from error
        raise
    finally:
        summaries.close()
    if chief:
        print(
            f"Trained {workdir} to step {state.step:,}. Newest checkpoint: "
            f"{checkpoints.paths()[-1]}"
        )
    return state


def default_workdir(gin_file):
    """runs/<name of the gin file>."""
    return Path("runs") / Path(gin_file).stem


__all__ = ["default_workdir", "train"]
