"""What a gin file composes: the parts of one experiment."""

import math
from dataclasses import dataclass
from pathlib import Path

import gin

from lcss_tf.data.info import DataInfo
from lcss_tf.registry import PRECONDITIONINGS
from lcss_tf.score import ScoreModel
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints, write_bytes_whole
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
    """

    sde: object = gin.REQUIRED
    network: object = gin.REQUIRED
    loss: object = gin.REQUIRED
    data: object = gin.REQUIRED
    total_steps: int = gin.REQUIRED
    batch_size: int = gin.REQUIRED
    seed: int = 0

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
    """Records what sampling must know of the data, so that it needs none."""
    write_bytes_whole(Path(workdir) / _DATA, data.info().to_json().encode())


def restored(workdir):
    """(recipe, state, data info, distribution) of a run, from its newest checkpoint.

    Raises:
      CheckpointError: the run has no checkpoint.
    """
    recipe, distribution = Recipe(), Distribution()
    path = Path(workdir) / _DATA
    if not path.is_file():
        raise CheckpointError(f"{workdir} has no {_DATA}: the run ended before its first step.")
    info = DataInfo.from_json(path.read_text())
    state = TrainState(score_model(recipe.sde), recipe.network, None, info.shape, distribution)
    if Checkpoints(workdir).restore(state) is None:
        raise CheckpointError(
            f"{workdir} has no checkpoint yet. Train on with bin/train.py, or wait for its first."
        )
    return recipe, state, info, distribution
