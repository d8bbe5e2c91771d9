"""A model as a folder: weights, what they are of, and a card for people.

``model.safetensors``
    The weights, their averages, and what was measured on the data, under the names of a checkpoint.
``config.json``
    What the model is: registered classes and their arguments, and the scaling of the data.
``README.md``
    The card.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lcss_tf import files
from lcss_tf.errors import UsageError
from lcss_tf.hub.tensors import TensorFile, write_tensors
from lcss_tf.training.checkpoints import (
    CheckpointError,
    check_meta,
    meta_of,
    read_groups,
    values_of,
)
from lcss_tf.training.state import TrainState

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_MOST = 2**24  # bytes of the description


def write(folder: str | Path, state: TrainState, description: dict, card: str) -> list[Path]:
    """Writes the three files; returns their paths. Others of the folder stay.

    What the training data were, names and hashes of files among it, is not written.

    Args:
      folder: made where it is not there.
      state: whose weights they are.
      description: of the model.
      card: Markdown.

    Raises:
      MissingPackageError: safetensors is not installed.
      UsageError: the folder cannot be written.
    """
    folder = Path(folder)
    files.check_writable(folder, folder=True)
    shared = {key: value for key, value in description.items() if key != "source"}
    return [
        write_tensors(folder / WEIGHTS, values_of(state, state.model_groups)),
        files.write_json(folder / CONFIG, meta_of(state) | {"model": shared}, indent=2),
        files.write_text(folder / CARD, card),
    ]


def read_meta(folder: str | Path) -> dict:
    """What a folder says of itself: its step, and the model that it holds.

    Raises:
      CheckpointError: it holds no model, or one of another format.
    """
    path = Path(folder) / CONFIG
    if path.is_file() and path.stat().st_size > _MOST:
        raise CheckpointError(f"its {CONFIG} has more than {_MOST:,} bytes. Do not trust it")
    try:
        meta = files.read_json(path, dict)
    except UsageError as error:
        raise CheckpointError(str(error)) from error
    if meta is None:
        raise CheckpointError(f"it holds no {CONFIG}: name a folder of ScoreModel.save_pretrained")
    return check_meta(meta)


def read(folder: str | Path, variables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The arrays, whose claims are compared with the variables before any is read.

    Raises:
      CheckpointError: arrays that do not fit the variables.
      ArchiveError, OSError: the file is damaged.
    """
    with TensorFile(Path(folder) / WEIGHTS) as stored:
        return {"meta": read_meta(folder), **read_groups(stored, variables)}


__all__ = ["CARD", "CONFIG", "WEIGHTS", "read", "read_meta", "write"]
