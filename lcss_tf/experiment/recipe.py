"""What a gin file composes: the parts of one experiment."""

import math
from dataclasses import dataclass
from pathlib import Path

import gin
import keras
import numpy as np
import tensorflow as tf

from lcss_tf.data.info import DataInfo
from lcss_tf.errors import UsageError
from lcss_tf.files import write_bytes
from lcss_tf.registry import PRECONDITIONINGS
from lcss_tf.score import ScoreModel
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints
from lcss_tf.training.distribution import Distribution
from lcss_tf.training.optimizers import make_optimizer
from lcss_tf.training.state import TrainState

_DATA = "data.json"
_MEASURED_NUMBERS = 2**20  # numbers on which the moments of x_t are measured, at most


@gin.configurable("train")
@dataclass
class Recipe:
    """The root of every gin file, bound as ``train.sde = @sdes.VPSDE()`` and so on.

    Args:
      sde: an object of `SDES`.
      network: an object of `NETWORKS`.
      loss: an object of `LOSSES`.
      data: an object of `DATASETS`.
      total_steps: training steps.
      batch_size: examples per step, over all replicas.
      seed: of everything random.
      deterministic: two runs on the same devices give the same bits: TensorFlow's slower
        deterministic kernels are used. On one CPU they are the same anyway.
    """

    sde: object = gin.REQUIRED
    network: object = gin.REQUIRED
    loss: object = gin.REQUIRED
    data: object = gin.REQUIRED
    total_steps: int = gin.REQUIRED
    batch_size: int = gin.REQUIRED
    seed: int = 0
    deterministic: bool = False

    @property
    def num_classes(self):
        """Of a conditional network; None where it is not."""
        return getattr(self.network, "num_classes", None)


@gin.configurable("score", denylist=["sde"])
def score_model(sde, preconditioning="moments"):
    """The `ScoreModel` of an SDE; `preconditioning`: a name in `PRECONDITIONINGS`, or an object."""
    if callable(preconditioning):
        return ScoreModel(sde, preconditioning)
    return ScoreModel(sde, PRECONDITIONINGS[preconditioning]())


def new_state(recipe, distribution, example_shape):
    """A fresh `TrainState` with an optimiser."""
    model = score_model(recipe.sde)
    with distribution.scope():
        optimizer = make_optimizer()
    return TrainState(model, recipe.network, optimizer, example_shape, distribution, recipe.seed)


def measure(recipe, state):
    """Measures on the training data what the preconditioning needs to know."""
    data = recipe.data
    size = data.size("train")
    count = max(16, min(1024, _MEASURED_NUMBERS // math.prod(data.shape)))
    count = count if size is None else min(count, size)
    # Spread over the whole set: neighbouring examples may be alike.
    step = 1 if size is None else size // count
    examples = data.examples([i * step for i in range(count)], "train", recipe.seed)
    state.model.preconditioning.prepare(recipe.sde, examples, recipe.seed)


def write_data_info(workdir, data):
    """Records what sampling must know of the data, so that it needs none; returns {name: bytes}."""
    contents = {_DATA: data.info().to_json().encode()}
    write_bytes(Path(workdir) / _DATA, contents[_DATA])
    return contents


def devices_and_recipe():
    """(`Distribution`, `Recipe`): several workers must find each other before anything else."""
    distribution = Distribution()
    recipe = Recipe()
    if recipe.deterministic:
        keras.utils.set_random_seed(recipe.seed)
        tf.config.experimental.enable_op_determinism()
    return distribution, recipe


def checked_recipe():
    """The devices and the recipe of a training, checked against each other.

    Raises:
      ValueError: they do not fit, or the loss cannot train on the SDE; with the remedy.
    """
    distribution, recipe = devices_and_recipe()
    distribution.rows_per_replica(recipe.batch_size)
    recipe.loss.check(recipe.sde)
    if recipe.total_steps < 1:
        raise UsageError(f"train.total_steps must be at least 1; got {recipe.total_steps}.")
    return distribution, recipe


def restored(workdir):
    """(recipe, state, data info, distribution) of a run, from its newest checkpoint.

    Raises:
      CheckpointError: the run has no checkpoint.
    """
    distribution, recipe = devices_and_recipe()
    path = Path(workdir) / _DATA
    if not path.is_file():
        raise CheckpointError(f"{workdir} has no {_DATA}: the run ended before its first step.")
    info = DataInfo.from_json(path.read_text())
    state = TrainState(score_model(recipe.sde), recipe.network, None, info.shape, distribution)
    checkpoints = Checkpoints(workdir)
    if distribution.is_chief and checkpoints.restore(state) is None:
        raise CheckpointError(
            f"{workdir} has no checkpoint yet. Train on with bin/train.py, or wait for its first."
        )
    # Of several workers all read what the chief has read, not what is newest a moment later.
    step = int(distribution.from_chief([np.int64(state.step)])[0])
    if not distribution.is_chief:
        checkpoints.load(state, checkpoints.at(step))
    return recipe, state, info, distribution
