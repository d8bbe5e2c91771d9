"""Calls Keras callbacks, each by itself: one that fails keeps no other from its call."""

from collections.abc import Sequence
from typing import Any

import keras

from lcss_tf.display import Tolerance

# Those that only record: a log that cannot be written ends no training.
_RECORDING = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.CSVLogger,
    keras.callbacks.History,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
)
# Packages of which all callbacks do: they tell a service, or a file, what the training says.
_RECORDERS = ("aim", "clearml", "comet_ml", "mlflow", "neptune", "wandb")


def _records(callback: Any) -> bool:
    """Whether a callback only records."""
    package = type(callback).__module__.partition(".")[0]
    return isinstance(callback, _RECORDING) or package in _RECORDERS


class KerasCallbacks:
    """The Keras callbacks of one training.

    An error of a callback that only records is counted, and ends nothing. An error of any other,
    a user's own among them, is raised: whoever wrote it may mean it to end the training.

    Args:
      callbacks: ``keras.callbacks.Callback`` objects.
      tolerance: counts what fails.
      model: what they know as their model.
      params: what they know of the training.
    """

    def __init__(
        self, callbacks: Sequence[Any], tolerance: Tolerance, model: Any, **params: Any
    ) -> None:
        self._tolerance = tolerance
        self._each = [
            (callback, keras.callbacks.CallbackList([callback], model=model, **params))
            for callback in callbacks
        ]

    def __call__(self, hook: str, *arguments: Any) -> None:
        """Calls a method, such as ``"on_epoch_end"``, of all."""
        for callback, alone in self._each:
            call = getattr(alone, hook)
            if _records(callback):
                self._tolerance(f"{type(callback).__name__}.{hook}", call, *arguments)
            else:
                call(*arguments)


__all__ = ["KerasCallbacks"]
