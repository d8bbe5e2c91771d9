"""Reads PyTorch's checkpoint files: tensors only, never code. The one module that needs torch."""

from pathlib import Path

import numpy as np

from lcss_tf.errors import UsageError


def read(path):
    """What a .pth file holds: dicts, lists and plain values, its tensors as NumPy arrays.

    A pickle can name any function for its reader to call. Only tensors, containers and plain
    values are unpickled here; a file that asks for more is refused, and nothing of it is run.

    Raises:
      FileNotFoundError: no such file.
      ModuleNotFoundError: torch is not installed.
      ValueError: not a checkpoint of PyTorch, a damaged one, or one that asks for code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint file {path}.")
    torch = _torch()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise almost anything in zipfile and pickle
        reason = str(error).strip().split("\n")[0][:300]
        raise UsageError(
            f"{path} is refused: {type(error).__name__}: {reason} A checkpoint holds tensors, "
            "containers and plain values alone; whatever else it names is not unpickled. If you "
            "made it, save the state_dicts and nothing more; else download it again."
        ) from error
    return _in_numpy(content)


def _torch():
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Reading a PyTorch checkpoint needs torch, which is not installed: "
            "pip install -e '.[torch]' (the CPU build is enough)."
        ) from error
    return torch


def _in_numpy(value):
    if hasattr(value, "detach"):  # a tensor
        value = value.detach()
        # NumPy has no bfloat16.
        return np.asarray(value.float() if "bfloat16" in str(value.dtype) else value)
    if hasattr(value, "items"):
        return {key: _in_numpy(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return [_in_numpy(part) for part in value]
    return value
