"""Reads PyTorch's checkpoint files: tensors only, never code. The one module that needs torch."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lcss_tf.archives import check_unpacked
from lcss_tf.errors import MissingPackageError, UsageError


def read(path: str | os.PathLike) -> Any:
    """The content of a .pth file: dicts, lists and plain values, tensors as NumPy arrays.

    A pickle can name any function for its reader to call. Only tensors, containers and plain
    values are unpickled here. A file that asks for more is refused, and runs nothing.

    Raises:
      FileNotFoundError: no such file.
      ModuleNotFoundError: torch is not installed.
      UsageError: not a checkpoint of PyTorch, a damaged one, or one that asks for code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint file {path}.")
    if zipfile.is_zipfile(path):
        names = check_unpacked(path)  # PyTorch itself does not compress
        if any(name.endswith("/constants.pkl") for name in names):
            raise UsageError(
                f"{path} is refused: it is a TorchScript archive, a program. Save the state_dicts "
                "alone: torch.save(module.state_dict(), path)."
            )
    torch = _torch()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise almost anything in zipfile and pickle
        reason = str(error).strip().split("\n")[0][:300]
        raise UsageError(
            f"{path} is refused: {type(error).__name__}: {reason} A checkpoint may hold tensors, "
            "containers and plain values only. If you made it, save the state_dicts and nothing "
            "more; else download it again."
        ) from error
    return _in_numpy(content, path)


def _torch():
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "Reading a PyTorch checkpoint needs torch, which is not installed: "
            "pip install -e '.[torch]' (the CPU build is enough)."
        ) from error
    return torch


def _in_numpy(value, path):
    if hasattr(value, "detach"):  # a tensor
        value = value.detach()
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UsageError(
                f"{path} is refused: a tensor of shape {tuple(value.shape)} claims more numbers "
                "than the file holds. Save tensor.contiguous()."
            )
        # NumPy has no bfloat16.
        return np.asarray(value.float() if "bfloat16" in str(value.dtype) else value)
    if isinstance(value, Mapping):
        return {key: _in_numpy(part, path) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_numpy(part, path) for part in value]
    return value


__all__ = ["read"]
