"""Training: the step, its distribution over devices, optimiser, average, checkpoints, the loop."""

from lcss_tf.training.checkpoints import CheckpointError, Checkpoints
from lcss_tf.training.diagnostics import GradientDiagnostics
from lcss_tf.training.distribution import Distribution
from lcss_tf.training.interruption import DataTimeoutError
from lcss_tf.training.loop import Periodic, Run, Trainer
from lcss_tf.training.optimizers import WarmUp, default_optimizer
from lcss_tf.training.prior_check import check_prior
from lcss_tf.training.progress import NonFiniteError
from lcss_tf.training.state import TrainState
from lcss_tf.training.step import TrainStep

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "DataTimeoutError",
    "Distribution",
    "GradientDiagnostics",
    "NonFiniteError",
    "Periodic",
    "Run",
    "TrainState",
    "TrainStep",
    "Trainer",
    "WarmUp",
    "check_prior",
    "default_optimizer",
]
