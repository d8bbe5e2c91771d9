"""A model in the formats that others run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lcss_tf.data.base import DataInfo
from lcss_tf.errors import UsageError
from lcss_tf.export.onnx import write_onnx
from lcss_tf.export.programs import (
    Function,
    as_program,
    sampler_from,
    save_model,
    score,
)
from lcss_tf.export.programs import sampler as sampler_from_seed
from lcss_tf.inference.sampling import Sampling
from lcss_tf.training.state import TrainState

FORMATS = ("stablehlo", "saved_model", "onnx")


def write_model(
    path: str | Path,
    state: TrainState,
    info: DataInfo | None,
    what: str,
    format: str,
    batch_size: int = 256,
    options: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes the score or a sampler in a format; see `ScoreModel.export`.

    `options` are those of a `Sampling`: its sampler and guidance.

    Raises:
      UsageError: other words, or a part that the format cannot hold.
    """
    if what not in ("score", "sampler") or format not in FORMATS:
        raise UsageError(
            "export expects what = 'score' or 'sampler' and format = 'stablehlo', 'saved_model' or "
            f"'onnx'; got {what!r} and {format!r}. A training step: lcss export --what=train_step."
        )
    if what == "score":
        function = score(state, batch_size, info)
    else:
        sampling = Sampling(state, batch_size=batch_size, jit_compile=True, **dict(options or {}))
        function = sampler_of(state, sampling, info, format)
    return write_function(path, state, function, format)


def sampler_of(state: TrainState, sampling: Sampling, info: Any, format: str) -> Function:
    """The sampler as the format has it: ONNX draws no prior, and takes x_T."""
    make = sampler_from if format == "onnx" else sampler_from_seed
    return make(state, sampling, info)


def write_function(
    path: str | Path, state: TrainState, function: Function, format: str, describe: bool = False
) -> list[Path]:
    """Writes a function in a format; returns the paths written.

    Args:
      path: a folder; of ONNX the file.
      state: whose variables the function reads.
      function: what to write.
      format: of `FORMATS`.
      describe: of StableHLO: see `Program.write`.
    """
    if format == "onnx":
        return write_onnx(path, function)
    if format == "saved_model":
        return save_model(path, state, function)
    return as_program(state, function).write(path, describe)


__all__ = ["FORMATS", "sampler_of", "write_function", "write_model"]
