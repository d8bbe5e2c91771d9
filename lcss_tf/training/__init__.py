"""Training: the step, its distribution over devices, optimiser, average, checkpoints, the loop.

Each part is imported on first use: the commands need some that do not import TensorFlow.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcss_tf.training.checkpoints import CheckpointError, Checkpoints
    from lcss_tf.training.diagnostics import GradientDiagnostics
    from lcss_tf.training.distribution import Distribution
    from lcss_tf.training.interruption import DataTimeoutError
    from lcss_tf.training.loop import Periodic, Run, Trainer
    from lcss_tf.training.optimizers import WarmUp, default_optimizer
    from lcss_tf.training.prior_check import check_prior
    from lcss_tf.training.progress import NonFiniteError
    from lcss_tf.training.snapshots import Snapshots
    from lcss_tf.training.state import TrainState
    from lcss_tf.training.step import TrainStep

_HOMES = {
    "CheckpointError": "checkpoints",
    "Checkpoints": "checkpoints",
    "DataTimeoutError": "interruption",
    "Distribution": "distribution",
    "GradientDiagnostics": "diagnostics",
    "NonFiniteError": "progress",
    "Periodic": "loop",
    "Run": "loop",
    "Snapshots": "snapshots",
    "TrainState": "state",
    "TrainStep": "step",
    "Trainer": "loop",
    "WarmUp": "optimizers",
    "check_prior": "prior_check",
    "default_optimizer": "optimizers",
}

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "DataTimeoutError",
    "Distribution",
    "GradientDiagnostics",
    "NonFiniteError",
    "Periodic",
    "Run",
    "Snapshots",
    "TrainState",
    "TrainStep",
    "Trainer",
    "WarmUp",
    "check_prior",
    "default_optimizer",
]


def __getattr__(name: str) -> Any:
    """Imports on demand: ``training.Trainer``, ``training.loop``."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in {module.name for module in pkgutil.iter_modules(__path__)}:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
